"""Evaluates one model, and whatever it is compared with, on the same contexts and the same draws."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from persona.adapters.llama import check_model
from persona.adapters.llama.scoring import Likelihood, ReplyScorer
from persona.errors import PersonaError
from pipelines.evaluation import baselines
from pipelines.evaluation.asking import ModelFile, Request, Watcher, answer, llama_settings, prompt_of
from pipelines.evaluation.heldout import Drawn, draw, read_split
from pipelines.evaluation.leaks import Leak, LeakFinder, find_leaks
from pipelines.evaluation.likelihoods import CachedScorer, fit_ranks, people_likelihoods
from pipelines.evaluation.measures import Contender
from pipelines.evaluation.measuring import Yardstick
from pipelines.evaluation.replies import cache_file
from pipelines.evaluation.resampling import Draws, Figure, draws, figure
from pipelines.evaluation.samples import Sample
from pipelines.evaluation.usage import Vocabulary, vocabulary
from pipelines.evaluation.vectors import LetterVectors, TextVectors

MODEL, AGAINST, BASE = "model", "against", "base"
FEWEST_CLUSTERS = 10
_MANY_SILENT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One contender with its figures; `silent` counts replies that were empty, refused or not finished."""

    contender: Contender
    figures: Mapping[str, Figure]
    habits: Sequence[float]
    leaks: Sequence[Leak] = ()
    silent: int = 0
    sha256: str = ""


@dataclass(slots=True, kw_only=True)
class Judgement:
    """Everything that came of an evaluation; the first of `judged` is the model itself."""

    drawn: Drawn
    human: Sequence[Sample]
    judged: list[Judged]
    people: Mapping[str, Figure]
    people_habits: Sequence[float]
    vectors: str
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, key: str) -> Judged | None:
        """Return a contender by its key."""
        return next((one for one in self.judged if one.contender.key == key), None)


class Judge:
    """Evaluates; keeps what takes long on disk, so that it goes on where it was interrupted."""

    def __init__(self, request: Request, vectors: TextVectors, watcher: Watcher | None = None) -> None:
        """Read the data set and choose the contexts.

        Raises:
            PersonaError: the run has no such part, or too little in it.
        """
        self._request = request
        self._vectors = vectors
        self._watcher = watcher or Watcher()
        self._seconds: dict[str, float] = {}
        self._notes: list[str] = []
        self.training = read_split(request.run, "train", brief=True)
        heldout = read_split(request.run, request.split)
        self.drawn = draw(heldout, wanted=request.contexts, seed=request.seed, parts=request.parts)
        self._contexts = {one.context_id: one for one in (*self.drawn.asked, *self.drawn.others, *self.drawn.further)}
        self.human = [one.sample(cluster=self.drawn.clusters[one.context_id]) for one in self.drawn.asked]
        names = list(dict.fromkeys(sample.conversation_id for sample in self.human))
        if len(names) < FEWEST_CLUSTERS:
            raise PersonaError(
                f"the {request.split} part of {request.run} has {len(heldout)} replies, {len(names)} groups of "
                f"them drawn: too few to tell anything ({FEWEST_CLUSTERS} groups of 2 to 12 neighbours are the least)",
                cure="prepare a larger history, or ask for more --contexts",
            )
        if len(self.drawn.asked) < request.contexts:
            self._notes.append(
                f"{request.contexts} contexts were asked for, {len(self.drawn.asked)} are there (the other half of "
                f"{len(heldout)} held-out replies is the human ceiling)"
            )
        self._draws: Draws = draws(len(names), rounds=request.draws, seed=request.seed)
        self._known: Vocabulary = vocabulary(context.reply for context in self.training)
        self._yardstick = Yardstick(self.human, clusters=names, draws=self._draws, known=self._known, vectors=vectors)
        starts = [context.created_at for context in heldout if context.created_at is not None]
        self.held_out_from = min(starts) if starts else None

    def judge(self, *, canaries: Callable[[ReplyScorer], None] = lambda _: None) -> Judgement:
        """Evaluate every model and every baseline; `canaries` gets the first model's scorer while it is loaded.

        Raises:
            PersonaError: a model cannot be loaded or fails.
        """
        answered = [self._write(model) for model in self._request.models]
        contenders = [contender for contender, _, _ in answered] + self.baselines()
        figures: list[dict[str, Figure]] = [{} for _ in contenders]
        for place, model in enumerate(self._request.models):
            self._likelihoods(model, place, contenders, figures, canaries)
        self._watcher.step("measuring", len(contenders))
        judged = []
        for place, contender in enumerate(contenders):
            silent, sha256 = answered[place][1:] if place < len(answered) else (0, "")
            judged.append(self.measured(contender, figures[place], silent=silent, sha256=sha256))
            self._watcher.advanced()
        habits = self._yardstick.habits(self.human)[0]
        return Judgement(
            drawn=self.drawn,
            human=self.human,
            judged=judged,
            people=self.people(),
            people_habits=[float(share) for share in habits],
            vectors=self._vectors.name,
            seconds=self._seconds,
            notes=self._notes,
        )

    @property
    def further(self) -> tuple[Sample, ...]:
        """Replies of people that are neither the contexts' nor the ceiling's (with three parts)."""
        return tuple(one.sample(cluster=self.drawn.clusters[one.context_id]) for one in self.drawn.further)

    def people(self) -> Mapping[str, Figure]:
        """Return the figures of people alone."""
        return self._yardstick.people()

    @cached_property
    def _leaks(self) -> LeakFinder:
        with self._timed("reading what could be copied"):
            return LeakFinder(self.training, database=self._request.database, before=self.held_out_from)

    def _write(self, model: ModelFile) -> tuple[Contender, int, str]:
        """Let a model answer; return its replies, how many are empty or were cut off, and its hash."""
        with self._timed(f"replies of {model.title}"):
            found = answer(self._request, model, self.drawn, self.training, self._watcher)
        contender, silent, _ = found
        if silent > _MANY_SILENT * len(contender.all):
            self._notes.append(
                f"{silent:,} of {len(contender.all):,} replies of {model.title} are empty, cut off, or "
                "never written because the prompt does not fit its window: its figures say little about its style"
            )
        return found

    def baselines(self) -> list[Contender]:
        """Return the copy machine, any other reply, and the human ceiling, in this order."""
        seed = self._request.seed
        with self._timed("baselines"):
            return [
                baselines.copy_machine(self.drawn, self.training, LetterVectors(), seed=seed),
                baselines.random_reply(self.drawn, self.training, rounds=self._request.rounds, seed=seed),
                baselines.ceiling(self.drawn),
            ]

    def _likelihoods(
        self,
        model: ModelFile,
        place: int,
        contenders: Sequence[Contender],
        figures: list[dict[str, Figure]],
        canaries: Callable[[ReplyScorer], None],
    ) -> None:
        """Add what only a model's likelihoods tell; the first model also ranks everybody's replies."""
        request = self._request
        settings = llama_settings(request, model)
        checked = check_model(settings)
        ranked = self._ranked(contenders) if not place else []
        with ReplyScorer(settings, checked) as scorer, self._timed(f"likelihoods of {model.title}"):
            cache = cache_file(request.folder, "likelihoods", checked.sha256)
            with CachedScorer(scorer, cache) as cached:
                prompt = prompt_of(model, checked.prompt_hash, self.training, seed=request.seed)
                total = len(self.drawn.asked) + sum(len(samples) for _, samples in ranked)
                self._watcher.step(f"{model.title} reads replies", total)
                people = people_likelihoods(self.drawn.asked, cached, prompt=prompt, advanced=self._watcher.advanced)
                figures[place] |= self._perplexity(people, model.title)
                for number, samples in ranked:
                    ranks = fit_ranks(
                        samples,
                        self._contexts,
                        cached,
                        prompt=prompt,
                        seed=request.seed,
                        advanced=self._watcher.advanced,
                    )
                    known = [(rank, one) for rank, one in zip(ranks, samples, strict=True) if rank == rank]  # noqa: PLR0124 - not nan
                    if known:
                        values, said = zip(*known, strict=True)
                        figures[number]["relevance_model"] = self._yardstick.own_mean(values, said)
            if not place:
                canaries(scorer)

    def _ranked(self, contenders: Sequence[Contender]) -> list[tuple[int, list[Sample]]]:
        """Return a few replies of each contender, spread evenly over the conversations."""
        most = self._request.ranked
        if not most:
            return []
        found = []
        for place, one in enumerate(contenders):
            said = one.replies[0]
            few = min(most, len(said))
            found.append((place, [said[number * len(said) // few] for number in range(few)]))
        return found

    def _perplexity(self, people: Sequence[Likelihood | None], name: str) -> dict[str, Figure]:
        lost = sum(one is None for one in people)
        if lost:
            self._notes.append(f"{lost} replies of people are too long for {name} to be scored")
        clusters = self._yardstick.clusters
        sums = np.zeros((3, len(clusters)))
        for sample, one in zip(self.human, people, strict=True):
            if one is not None:
                sums[:, clusters[sample.conversation_id]] += (-one.log_probability, one.tokens, one.characters)
        drawn = self._draws.weights @ sums.T
        with np.errstate(divide="ignore", invalid="ignore"):
            token, character = np.exp(drawn[:, 0] / drawn[:, 1]), np.exp(drawn[:, 0] / drawn[:, 2])
        return {"perplexity_token": figure(token), "perplexity_character": figure(character)}

    def measured(
        self, contender: Contender, known: Mapping[str, Figure] | None = None, *, silent: int = 0, sha256: str = ""
    ) -> Judged:
        """Return a contender with its figures; `known` are those that only a model's likelihoods tell."""
        with self._timed("measures"):
            leaks, copies, personal = find_leaks(contender, self._contexts, self._leaks)
            figures = {
                **(known or {}),
                **self._yardstick.measure(contender),
                "copied": self._yardstick.shares(contender, copies),
                "personal": self._yardstick.shares(contender, personal),
            }
            habits = self._yardstick.habits(contender.all)[0]
        return Judged(
            contender=contender,
            figures=figures,
            habits=[float(share) for share in habits],
            leaks=leaks,
            silent=silent,
            sha256=sha256,
        )

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = round(self._seconds.get(name, 0.0) + time.monotonic() - began, 2)
