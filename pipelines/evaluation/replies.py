"""A model's replies to held-out contexts, through the live engine; what was written is never written twice.

`replies-<model>.jsonl` in the evaluation's folder holds one line a reply: the hash of everything that decides it
(model, prompt, sampling, seed), the context's id and the text. Killed at any time, the next run goes on from there.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from persona.domain.delivery import DeliveryLimits, plan
from persona.domain.prompt import Turn
from persona.errors import PersonaError, PromptTooLongError
from persona.ports import ChatEngine, ChatRequest, Finished, FinishReason, Sampling, TextDelta
from pipelines.evaluation.heldout import Context, who
from pipelines.evaluation.samples import Sample

STOP = ("<|im_end|>", "<|im_start|>")
_NAME_DIGITS = 16
_LIMITS = DeliveryLimits(max_burst=10)
"""A burst may be as long as people's are: how many messages the owner allows is not the model's merit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One reply as the model drafted it; `ended` when it ended by itself, `refused` when the prompt did not fit."""

    text: str
    ended: bool
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One reply to write: to a context, read as these turns, with a seed of its own."""

    context: Context
    turns: tuple[Turn, ...]
    seed: int
    round: int


class JsonLines:
    """A file of keyed JSON lines that is only ever appended to; a torn last line is cut off when it is opened."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.known: dict[str, dict[str, Any]] = {}
        if file.is_file():
            with file.open("r+b") as stream:
                stream.truncate(sum(len(line) for line in stream if line.endswith(b"\n")))
            with file.open(encoding="utf-8") as stream:
                for number, line in enumerate(stream, start=1):
                    try:
                        row = json.loads(line)
                        self.known[row["key"]] = row
                    except (ValueError, KeyError, TypeError) as error:
                        raise PersonaError(
                            f"{file}:{number} cannot be read: {error}", cure=f"remove {file} and run again"
                        ) from None
        self._stream = file.open("a", encoding="utf-8")

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Append a row; it is flushed at once."""
        self.known[key] = {"key": key, **row}
        self._stream.write(json.dumps(self.known[key], ensure_ascii=False) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def cache_file(folder: Path, kind: str, model_sha256: str) -> Path:
    """Return where what a model wrote or scored is kept."""
    return folder / f"{kind}-{model_sha256[:_NAME_DIGITS]}.jsonl"


def write_replies(
    contexts: Sequence[Context],
    engine: ChatEngine,
    *,
    cache: Path,
    prompt: Callable[[Context], tuple[Turn, ...]],
    sampling: Sampling,
    rounds: int,
    seed: int,
    slots: int,
    advanced: Callable[[], None] = lambda: None,
) -> list[tuple[Written, ...]]:
    """Return for each round the model's reply to each context, in order; what the cache holds is not written again.

    Every reply is drawn with a seed made of `seed`, its context and the round. `prompt` is what the model reads.

    Raises:
        InferenceError: the engine fails.
        PersonaError: the cache is damaged.
    """
    wanted = [
        Wanted(context=context, turns=prompt(context), seed=_seed(seed, context.context_id, number), round=number)
        for number in range(rounds)
        for context in contexts
    ]
    keys = [_key(engine.info.sha256, one, sampling) for one in wanted]
    lines = JsonLines(cache)
    try:
        missing = [(key, one) for key, one in zip(keys, wanted, strict=True) if key not in lines.known]
        for _ in range(len(wanted) - len(missing)):
            advanced()
        for key, one, written in _generate(engine, missing, sampling, slots):
            lines.add(key, {"context": one.context.context_id, "round": one.round, **asdict(written)})
            advanced()
        found = [lines.known[key] for key in keys]
    finally:
        lines.close()
    replies = [Written(text=row["text"], ended=row["ended"], refused=row["refused"]) for row in found]
    return [tuple(replies[number * len(contexts) : (number + 1) * len(contexts)]) for number in range(rounds)]


def as_sent(context: Context, written: Written, *, cluster: str = "") -> Sample:
    """Return a draft as the bot would send it: cleaned and split into messages; nothing left is an empty message."""
    name = who(context.turns)[0] or "Persona"
    speakers = {line.split(":", 1)[0].split(" (to ")[0] for line in context.said if ":" in line} - {name}
    sent = plan(written.text, persona_name=name, names=speakers, limits=_LIMITS, complete=written.ended)
    messages = [line for one in sent.messages for line in one.text.split("\n") if line.strip()]
    return context.sample(messages or ("",), cluster=cluster)


def _generate(
    engine: ChatEngine, missing: Sequence[tuple[str, Wanted]], sampling: Sampling, slots: int
) -> Iterator[tuple[str, Wanted, Written]]:
    """Yield replies as they are done, `slots` of them written at a time."""
    waiting = iter(enumerate(missing))
    running: dict[int, tuple[str, Wanted, list[str]]] = {}
    while True:
        batch = list(islice(waiting, slots - len(running)))
        for job, (key, one) in batch:
            drawn = replace(sampling, seed=one.seed)
            try:
                engine.submit(job, ChatRequest(turns=one.turns, sampling=drawn, stop=STOP))
            except PromptTooLongError:
                # It is silent there, as the bot would be; the report counts how often.
                yield key, one, Written(text="", ended=False, refused=True)
            else:
                running[job] = (key, one, [])
        if not running and not batch:
            return
        for job, event in engine.step() if running else ():
            key, one, texts = running[job]
            match event:
                case TextDelta(text=text):
                    texts.append(text)
                case Finished(reason=reason):
                    del running[job]
                    ended = reason in {FinishReason.END, FinishReason.STOP}
                    yield key, one, Written(text="".join(texts).strip(), ended=ended)
                case Exception() as error:
                    raise error


def _seed(seed: int, context_id: str, number: int) -> int:
    return int.from_bytes(blake2b(f"{seed}:{context_id}:{number}".encode(), digest_size=4).digest(), "big")


def _key(model: str, one: Wanted, sampling: Sampling) -> str:
    """Return the hash of everything that decides a reply."""
    settings = {name: value for name, value in asdict(sampling).items() if name != "seed"}
    said = json.dumps([model, one.seed, settings, [[str(turn.role), turn.text] for turn in one.turns]])
    return blake2b(said.encode(), digest_size=16).hexdigest()
