"""Asks models: what is asked for, what they read, and what they answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from persona.adapters.llama import LlamaSettings, check_model, llama_engine_factory
from persona.domain.prompt import Turn
from persona.ports import Sampling
from pipelines.evaluation.heldout import Context, Drawn, draw, read_split, who
from pipelines.evaluation.measures import Contender
from pipelines.evaluation.prompting import as_trained, learn_voice, with_voice
from pipelines.evaluation.replies import as_sent, cache_file, write_replies
from pipelines.evaluation.samples import Sample

Prompt = Callable[[Context], tuple[Turn, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model to be evaluated; `voice` None tells it the style of the server when it was not trained on one."""

    key: str
    path: Path
    name: str = ""
    voice: bool | None = None

    @property
    def title(self) -> str:
        """What it is called in tables."""
        return self.name or self.path.stem


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        run: the run folder whose held-out part is used; `split` is which part.
        folder: where replies and likelihoods are kept.
        models: the model first, then what it is compared with.
        contexts: how many places; `rounds` replies to each; `ranked` of them for the ranks by likelihood.
        seed: decides contexts, replies and draws.
        draws: how often conversations are drawn again for the intervals.
        sampling: how the models draw words, as the running bot would.
        slots, threads, gpu_layers: how the models run.
        database: where the messages are that copies are looked for in; None where there is none.
        parts: into how many parts people's replies are cut: the contexts, the ceiling, and more to check measures with.
    """

    run: Path
    split: str
    folder: Path
    models: tuple[ModelFile, ...]
    contexts: int
    rounds: int
    ranked: int
    seed: int
    draws: int
    sampling: Sampling
    slots: int = 4
    threads: int = 0
    gpu_layers: int = 0
    database: Path | None = None
    parts: int = 2


class Watcher:
    """Learns how far it is; this one does nothing."""

    def step(self, name: str, total: int) -> None:
        """A step begins, of so many parts."""

    def advanced(self) -> None:
        """One part is done."""


def answer(
    request: Request, model: ModelFile, drawn: Drawn, training: Sequence[Context], watcher: Watcher
) -> tuple[Contender, int, str]:
    """Let a model answer; return its replies, how many of them are empty or were cut off, and its hash.

    Raises:
        PersonaError: it cannot be loaded, or fails.
    """
    settings = llama_settings(request, model)
    engine = llama_engine_factory(settings, check_model(settings))()
    try:
        sha256, prompt_hash = engine.info.sha256, engine.info.prompt_hash
        watcher.step(f"{model.title} writes replies", len(drawn.asked) * request.rounds)
        written = write_replies(
            drawn.asked,
            engine,
            cache=cache_file(request.folder, "replies", sha256),
            prompt=prompt_of(model, prompt_hash, training, seed=request.seed),
            sampling=request.sampling,
            rounds=request.rounds,
            seed=request.seed,
            slots=request.slots,
            advanced=watcher.advanced,
        )
    finally:
        engine.close()
    clusters = drawn.clusters
    replies = tuple(
        tuple(
            as_sent(context, one, cluster=clusters[context.context_id])
            for context, one in zip(drawn.asked, once, strict=True)
        )
        for once in written
    )
    silent = sum(not one.ended or not one.text for once in written for one in once)
    about = (
        "told the server's style and shown examples"
        if _told(model, prompt_hash)
        else "reads the prompt of its training"
    )
    return (
        Contender(key=model.key, name=model.title, about=f"{model.path.name}: {about}.", replies=replies),
        silent,
        sha256,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """A model's replies that are not empty, people's to the same contexts, and the server's name.

    `marks` are the hashes of the messages of each context, by its id, where the run has them.
    """

    replies: tuple[Sample, ...]
    human: tuple[Sample, ...]
    server: str
    marks: Mapping[str, tuple[str, ...]]


def write_samples(request: Request, watcher: Watcher) -> Pairs:
    """Let the first model answer.

    Raises:
        PersonaError: the run has no such part, or the model fails.
    """
    drawn = draw(read_split(request.run, request.split), wanted=request.contexts, seed=request.seed)
    contender, _, _ = answer(request, request.models[0], drawn, read_split(request.run, "train", brief=True), watcher)
    return Pairs(
        replies=tuple(sample for sample in contender.replies[0] if sample.text.strip()),
        human=tuple(context.sample() for context in drawn.asked),
        server=who(drawn.asked[0].turns)[1] if drawn.asked else "",
        marks={context.context_id: context.marks for context in drawn.asked},
    )


def prompt_of(model: ModelFile, prompt_hash: str | None, training: Sequence[Context], *, seed: int) -> Prompt:
    """Return what a model reads: with the style card where it was not trained here, as the running bot decides."""
    return with_voice(learn_voice(training, seed=seed)) if _told(model, prompt_hash) else as_trained


def llama_settings(request: Request, model: ModelFile) -> LlamaSettings:
    """Return how a model is run."""
    return LlamaSettings(
        path=model.path, slots=request.slots, threads=request.threads, gpu_layers=request.gpu_layers, resident=0
    )


def _told(model: ModelFile, prompt_hash: str | None) -> bool:
    return prompt_hash is None if model.voice is None else model.voice
