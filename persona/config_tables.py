"""The tables of config.toml: every setting with its default, its range and what it does."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A table of config.toml: frozen, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PersonaSection(Section):
    """Who the persona is."""

    name: str = Field("", max_length=32, description='Its name in the chat; "" takes the name stored in the model.')
    server: str = Field("", max_length=100, description='The server it belongs to; "" takes the one in the model.')
    nicknames: tuple[str, ...] = Field((), description="Other words that count as calling it by name.")


class ModelSection(Section):
    """The language model."""

    path: str = Field("", description='A GGUF file; "" takes the model chosen with `persona model use`, else the demo.')
    repo: str = Field("Qwen/Qwen2.5-3B-Instruct-GGUF", description="Hugging Face repo that `persona model pull` reads.")
    file: str = Field("qwen2.5-3b-instruct-q4_k_m.gguf", description="The file of that repo.")
    sha256: str = Field("", pattern="^([0-9a-fA-F]{64})?$", description="Checked before the model is loaded, if given.")
    context_tokens: int = Field(0, ge=0, le=1_048_576, description="Context window; 0: the model's own, up to 4096.")
    slots: int = Field(2, ge=1, le=32, description="Conversations that are answered at the same time.")
    threads: int = Field(0, ge=0, le=512, description="CPU threads; 0 takes all cores but one.")
    gpu_layers: int = Field(0, ge=-1, le=1000, description="Layers to put on the GPU; -1 puts all of them there.")
    batch_tokens: int = Field(512, ge=32, le=8192, description="Prompt tokens read in one step.")
    template: Literal["auto", "chatml"] = Field("auto", description="Chat template: the model's own, or ChatML.")
    style_card: Literal["auto", "always", "never"] = Field(
        "auto", description="Describe the server's style in the prompt; auto: when the model was not trained for it."
    )


class SamplingSection(Section):
    """How the next word is chosen."""

    temperature: float = Field(0.7, ge=0, le=2, description="0 always takes the likeliest word; higher is livelier.")
    top_p: float = Field(0.95, gt=0, le=1, description="Keep the likeliest words up to this share of probability.")
    top_k: int = Field(40, ge=0, le=1000, description="Keep at most this many words; 0 keeps all.")
    min_p: float = Field(0.05, ge=0, le=1, description="Drop words less likely than this share of the best one.")
    repetition_penalty: float = Field(1.05, ge=1, le=2, description="Makes repeated words less likely; 1 is off.")
    max_tokens: int = Field(120, ge=1, le=4096, description="Longest reply, in tokens (about 4 letters each).")
    seed: int = Field(-1, ge=-1, le=2**32 - 2, description="A fixed number repeats the same replies; -1 draws one.")


class SpeakingSection(Section):
    """When it speaks. It always answers a mention, a reply and its name."""

    enabled: bool = Field(default=True, description="false silences it everywhere.")
    rate: float = Field(
        0.03, ge=0, le=1, description="Chance to join in unasked; 0 means never, in a running talk too."
    )
    active_rate: float = Field(
        0.25, ge=0, le=1, description="The same in a talk that it is part of, where that is higher."
    )
    active_minutes: float = Field(5, ge=0, le=1440, description="How long it counts as part of a talk.")
    cooldown_seconds: float = Field(
        30, ge=0, le=86_400, description="After it spoke, it does not join in unasked for so long."
    )
    max_age_seconds: float = Field(600, ge=1, le=86_400, description="Older messages are not answered any more.")
    mentions_only: bool = Field(default=False, description="true: never joins in unasked.")


class ReplySection(Section):
    """How a reply is made."""

    window_messages: int = Field(30, ge=1, le=500, description="Recent messages that the model gets to read.")
    deadline_seconds: float = Field(120, ge=1, le=3600, description="Give up on a reply that takes longer.")
    max_burst: int = Field(3, ge=1, le=10, description="Most messages one reply may be split into.")
    typing_characters_per_second: float = Field(25, ge=1, le=1000, description="How fast it pretends to type.")
    examples: int = Field(3, ge=0, le=10, description="Exchanges from history that show the style (style card only).")


class MemorySection(Section):
    """What it remembers of the server's history."""

    enabled: bool = Field(default=True, description="false answers from the recent talk alone.")
    limit: int = Field(4, ge=0, le=50, description="Old messages shown to the model with each reply.")
    timeout_seconds: float = Field(1.5, ge=0.05, le=30, description="A slower search is answered without memory.")
    embedding: str = Field(
        "BAAI/bge-small-en-v1.5",
        description='Finds what means the same; "" goes by words alone. Not only English: '
        '"sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2".',
    )
    embedding_path: str = Field(
        "", description="Folder with that model's files; empty: where `persona model pull --embedding` puts them."
    )
    embedding_threads: int = Field(0, ge=0, le=512, description="CPU threads for it; 0 takes half the cores.")
    uri: str = Field(
        "", description='Object storage for the search index, "s3://bucket/prefix"; empty: [storage] memory.'
    )
    storage_options: str = Field(
        "", description="For the object storage: key=value, key=value (region, endpoint, ...)."
    )


class StorageSection(Section):
    """Where things are kept. Relative paths start at the folder of config.toml."""

    database: Path = Field(Path("data/persona.db"), description="The message store (SQLite).")
    memory: Path = Field(Path("data/memory.lance"), description="The search index; can be rebuilt at any time.")
    models: Path = Field(Path("models"), description="Downloaded and trained models.")
    runs: Path = Field(Path("runs"), description="Datasets and trainings, one folder each.")
    quiz: Path = Field(
        Path("data/quiz.json"), description="The blind test that /quizcard asks; `pipelines blindtest make` makes it."
    )


class LogSection(Section):
    """The log."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")
    file: Path = Field(Path("data/logs/persona.jsonl"), description="JSON lines, 10 MB each, five kept.")
    content: bool = Field(default=False, description="true writes what people say into the log. Think twice.")


class SupervisionSection(Section):
    """How often a failed part is restarted before the process gives up (and systemd starts it anew)."""

    intensity: int = Field(
        4, ge=0, le=1000, description="Restarts allowed within the period; one more failure ends it."
    )
    period_seconds: float = Field(3600, ge=1, le=604_800, description="The period.")
    backoff_seconds: float = Field(1, ge=0, le=600, description="Longest wait before the second restart; then doubles.")
    start_timeout_seconds: float = Field(300, ge=1, le=3600, description="A part that starts slower has failed.")
    drain_seconds: float = Field(20, ge=0, le=600, description="Time to finish running replies when told to stop.")


class HeartbeatSection(Section):
    """How the process watches itself."""

    interval_seconds: float = Field(10, ge=0.1, le=600, description="Time between two looks.")
    ping_timeout_seconds: float = Field(5, ge=0.1, le=600, description="A part that answers slower is unhealthy.")
    stall_seconds: float = Field(120, ge=1, le=3600, description="A model without progress for so long hangs.")


class TerminalSection(Section):
    """Talking in the terminal."""

    speaker: str = Field("you", min_length=1, max_length=32, description="Your name for lines without `name:`.")
    answer_everything: bool = Field(default=True, description="false: it follows [speaking] here, too.")


Snowflake = Annotated[int, Field(ge=1, lt=2**63)]


class DiscordSection(Section):
    """Life on Discord; the token comes from DISCORD_TOKEN or a systemd credential, never from this file."""

    channels: tuple[Snowflake, ...] = Field((), description="Channel ids to put on the allow-list at the start.")
    prefix: str = Field("!", min_length=1, max_length=5, description="What commands typed as messages start with.")
    admins: tuple[Snowflake, ...] = Field((), description="User ids that may use the admin commands.")
    admin_roles: tuple[Snowflake, ...] = Field((), description="Role ids whose members may do so, too.")
    contact: str = Field("", max_length=200, description='Whom members ask about their data; "": its admins.')
    requests_per_second: float = Field(
        47, ge=0.1, le=50, description="Requests used for reading history; Discord allows 50, replies need some."
    )
    reconcile_hours: float = Field(
        48, ge=0, le=8760, description="After an outage, look for edits and deletions this far back."
    )
    reconcile_messages: int = Field(1000, ge=0, le=1_000_000, description="The same, in messages of each channel.")
    heartbeat_seconds: float = Field(
        60, ge=1, le=600, description="A connection that is silent for so long counts as lost."
    )
    session_pause_seconds: float = Field(
        5, ge=0, le=600, description="Least time between two new sessions; Discord demands 5."
    )
    longest_wait_seconds: float = Field(
        60, ge=0.1, le=3600, description="Longest wait between two tries to connect again."
    )
    api_url: str = Field("", description='Another Discord-compatible server, such as https://host/api/v10; "" is none.')
    gateway_url: str = Field("", description='Its gateway, such as wss://host/; "" asks the API.')


class TrainingSection(Section):
    """Training a model of your own on a run folder (`python -m pipelines train`)."""

    base: str = Field("Qwen/Qwen2.5-3B-Instruct", description="The model to start from: a folder, or a Hub id.")
    backend: Literal["auto", "unsloth", "hf-qlora", "hf-cpu"] = Field(
        "auto", description="What trains; auto: the fastest that is installed and has a card to run on."
    )
    preset: Literal["auto", "8gb", "12gb", "24gb", "cpu"] = Field(
        "auto", description="Rows at a time and longest example, by card memory; auto: looks at the card."
    )
    gpus: int = Field(0, ge=0, le=64, description="How many GPUs train together; 0 takes all of them.")
    lora_rank: int = Field(64, ge=1, le=1024, description="Size of the adapter: higher learns more, needs more memory.")
    lora_alpha: int = Field(128, ge=1, le=4096, description="Weight of the adapter; usually twice its size.")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="Share of the adapter left out at random in each step.")
    train_embeddings: bool = Field(
        default=False, description="true trains word embeddings and output layer, too: several GB more memory."
    )
    batch: int = Field(32, ge=1, le=4096, description="Examples in one step, over all GPUs.")
    micro_batch: int = Field(0, ge=0, le=1024, description="Examples on a GPU at the same time; 0: as the preset says.")
    warmup: float = Field(0.03, ge=0, le=0.5, description="Share of the steps in which the learning rate rises.")
    sft_epochs: float = Field(5, gt=0, le=100, description="How often the replies are gone through.")
    sft_learning_rate: float = Field(1e-4, gt=0, le=1, description="Peak learning rate; falls along a cosine.")
    sft_tokens: int = Field(
        2048, ge=16, le=131_072, description="Longer examples are left out; the preset may lower it."
    )
    preference: Literal["auto", "dpo", "kto", "orpo", "none"] = Field(
        "auto", description="What follows SFT with --method all; auto: dpo where there are pairs, else kto, else none."
    )
    preference_beta: float = Field(0.1, gt=0, le=10, description="How closely to stay with the model that SFT made.")
    preference_epochs: float = Field(2, gt=0, le=100, description="How often the preferences are gone through.")
    preference_learning_rate: float = Field(5e-5, gt=0, le=1, description="Peak learning rate of that stage.")
    preference_tokens: int = Field(1024, ge=16, le=131_072, description="Longest prompt and reply of that stage.")
    max_examples: int = Field(0, ge=0, description="Train on so many examples, drawn by the seed; 0 takes all.")
    eval_examples: int = Field(256, ge=0, description="Examples of the validation part that each evaluation looks at.")
    save_steps: int = Field(
        0, ge=0, le=100_000, description="Steps between checkpoints and evaluations; 0: a twentieth, at most 100."
    )
    patience: int = Field(
        3, ge=0, le=1000, description="Stop after so many evaluations that bring nothing better; 0 never does."
    )
    seed: int = Field(7, ge=0, le=2**32 - 1, description="The same seed, data and settings give the same model.")


class Settings(Section):
    """Everything that can be set; one attribute for each table of config.toml."""

    persona: PersonaSection = PersonaSection()
    model: ModelSection = ModelSection()
    sampling: SamplingSection = SamplingSection()
    speaking: SpeakingSection = SpeakingSection()
    reply: ReplySection = ReplySection()
    memory: MemorySection = MemorySection()
    storage: StorageSection = StorageSection()
    log: LogSection = LogSection()
    supervision: SupervisionSection = SupervisionSection()
    heartbeat: HeartbeatSection = HeartbeatSection()
    terminal: TerminalSection = TerminalSection()
    discord: DiscordSection = DiscordSection()
    training: TrainingSection = TrainingSection()


def sections() -> dict[str, type[Section]]:
    """Return the tables of config.toml in order, by name."""
    annotations = {name: info.annotation for name, info in Settings.model_fields.items()}
    return {name: kind for name, kind in annotations.items() if isinstance(kind, type) and issubclass(kind, Section)}


def allowed_range(info: FieldInfo) -> str:
    """Say which values a setting takes: '0 to 2', 'one of auto, chatml', or '' when any will do."""
    choices = get_args(info.annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return "one of " + ", ".join(choices)
    low = next((str(m.ge) for m in info.metadata if isinstance(m, Ge)), "")
    low = low or next((f"more than {m.gt}" for m in info.metadata if isinstance(m, Gt)), "")
    high = next((str(m.le) for m in info.metadata if isinstance(m, Le)), "")
    high = high or next((f"less than {m.lt}" for m in info.metadata if isinstance(m, Lt)), "")
    return f"{low} to {high}" if low and high else low or high
