"""Does what `pipelines evaluate` asks for: judges, audits, compares with the published model, writes the report."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from persona.adapters.llama import LlamaSettings, check_model
from persona.adapters.llama.gguf_header import read_header
from persona.adapters.llama.scoring import ReplyScorer
from persona.config import Settings
from persona.domain.speaking import SpeakingRules
from persona.errors import ConfigError, EmbedderError, PersonaError, UsageError
from persona.memory_setup import embedder_for
from persona.ports import Sampling
from pipelines.evaluation.asking import ModelFile, Request, Watcher
from pipelines.evaluation.canaries import Found, audit, read_canaries
from pipelines.evaluation.comparing import Comparison, gate
from pipelines.evaluation.judging import AGAINST, BASE, MODEL, Judge, Judgement
from pipelines.evaluation.outcome import outcome
from pipelines.evaluation.published import published_model
from pipelines.evaluation.report import page
from pipelines.evaluation.speaking import Speaking, predict
from pipelines.evaluation.statistics import Interval
from pipelines.evaluation.vectors import LetterVectors, ModelVectors, TextVectors
from pipelines.run import MANIFEST_FILE, file_sha256, now
from pipelines.train.files import write_json, write_text

FOLDER = "evaluation"
REPORT, TWIN = "report.html", "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command was given; paths are as typed, 0 threads takes as many as the model deserves."""

    model: Path
    against: Path | None = None
    base: Path | None = None
    run: Path | None = None
    split: str = "test"
    contexts: int = 100
    samples: int = 3
    ranked: int = 40
    seed: int = 7
    draws: int = 1000
    output: Path | None = None
    slots: int = 4
    threads: int = 0
    gpu_layers: int = 0
    gate: bool = False
    letters: bool = False
    blindtest: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What came of it; `worse` are the measures in which it is worse than the published model (with `gate`)."""

    folder: Path
    outcome: dict[str, Any]
    worse: Sequence[Comparison] = field(default=())
    published: Path | None = None


def evaluate(options: Options, settings: Settings, watcher: Watcher | None = None) -> Evaluated:
    """Evaluate a model and write `report.html` and `report.json`.

    Raises:
        PersonaError: something is missing, damaged or too little; names it and the cure.
    """
    require_libraries()
    checked = check_model(LlamaSettings(path=options.model))
    run = find_run(options.run, options.model, settings.storage.runs)
    published = published_model(settings.storage.models) if options.gate else None
    models = [ModelFile(key=MODEL, path=options.model)]
    notes: list[str] = []
    if published is not None and not published.is_file():
        raise PersonaError(f"the published model {published} is missing", cure="python -m persona model list")
    compared = options.against or published
    if options.gate and published is None:
        notes.append("no model is published yet: there is nothing to be worse than")
    if compared is not None:
        if check_model(LlamaSettings(path=compared)).sha256 == checked.sha256:
            notes.append(f"{compared} is the same model: it is not measured twice")
        else:
            models.append(ModelFile(key=AGAINST, path=compared, name=_other_name(options.model, compared)))
    if options.base is not None:
        models.append(ModelFile(key=BASE, path=options.base, name=f"{options.base.stem}, prompted", voice=True))
    request = request_of(options, settings, run, tuple(models))
    vectors = open_vectors(settings, letters=options.letters, noted=notes.append)
    try:
        judge = Judge(request, vectors, watcher)
        found: list[Found] = []
        judgement = judge.judge(canaries=lambda scorer: found.extend(_audit(run, scorer, options.seed)))
        speaking = _speaking(judge, request, settings)
    finally:
        vectors.close()
    judgement.notes.extend(notes + _doubts(checked.prompt_hash, run, speaking, request))
    folder = options.output or run / FOLDER / f"{options.model.stem}-{checked.sha256[:8]}"
    told = outcome(
        judgement,
        about=_about(options, checked.sha256, run, request),
        speaking=speaking,
        canaries=found,
        detected=_detected(options.blindtest),
    )
    worse = _worse(judgement) if options.gate else []
    told["gate"] = [comparison.measure.key for comparison in worse] if options.gate else None
    # The page is made of what the twin holds, so that it can be made again from it.
    told = json.loads(json.dumps(told, sort_keys=True))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / TWIN, told)
    write_text(folder / REPORT, page(told))
    return Evaluated(folder=folder, outcome=told, worse=worse, published=published)


def require_libraries() -> None:
    """Refuse to begin what would fail after minutes.

    Raises:
        ConfigError: an extra is missing.
    """
    for name, package, extra in (
        ("sklearn", "scikit-learn", "evaluate"),
        ("detect_secrets", "detect-secrets", "prepare"),
        ("phonenumbers", "phonenumbers", "prepare"),
    ):
        if find_spec(name) is None:
            raise ConfigError(f"{package} is not installed", cure=f"pip install 'persona[{extra}]'")


def find_run(wanted: Path | None, model: Path, runs: Path) -> Path:
    """Return the run folder: the one that was asked for, the one the model was made from, or the only one.

    Raises:
        UsageError: there is none, or nobody can tell which.
    """
    if wanted is not None:
        run = wanted if wanted.is_dir() else runs / wanted
        if not run.is_dir():
            raise UsageError(f"there is no run folder {wanted}", cure="make one: python -m pipelines prepare")
        return run
    known = sorted(file.parent for file in runs.glob(f"*/{MANIFEST_FILE}"))
    made_from = read_header(model).text("persona.manifest_sha256")
    for run in known:
        if made_from and file_sha256(run / MANIFEST_FILE) == made_from:
            return run
    if len(known) == 1:
        return known[0]
    raise UsageError(
        f"nobody can tell which run {model} is to be held against ({len(known)} in {runs})", cure="give --run RUN"
    )


def open_vectors(settings: Settings, *, letters: bool, noted: Callable[[str], None]) -> TextVectors:
    """Return the embedding model of the settings, or letters where there is none; that is noted."""
    build = None if letters else embedder_for(settings)
    if build is not None:
        try:
            return ModelVectors(build())
        except EmbedderError as error:
            noted(f"no embedding model ({error}): vectors are made of letters, relevance is shared words only")
    elif not letters:
        noted("no embedding model is set: vectors are made of letters, relevance is shared words only")
    return LetterVectors()


def sampling_of(settings: Settings) -> Sampling:
    """Return how the running bot draws words."""
    section = settings.sampling
    return Sampling(
        temperature=section.temperature,
        top_p=section.top_p,
        top_k=section.top_k,
        min_p=section.min_p,
        repetition_penalty=section.repetition_penalty,
        max_tokens=section.max_tokens,
    )


def request_of(
    options: Options,
    settings: Settings,
    run: Path,
    models: tuple[ModelFile, ...],
    *,
    split: str = "",
    ranked: int | None = None,
) -> Request:
    """Return what to ask for; `split` and `ranked` instead of the options'."""
    database = settings.storage.database
    return Request(
        run=run,
        split=split or options.split,
        folder=run / FOLDER,
        models=models,
        contexts=options.contexts,
        rounds=options.samples,
        ranked=options.ranked if ranked is None else ranked,
        seed=options.seed,
        draws=options.draws,
        sampling=sampling_of(settings),
        slots=options.slots,
        threads=options.threads,
        gpu_layers=options.gpu_layers,
        database=database if database.is_file() else None,
    )


def _audit(run: Path, scorer: ReplyScorer, seed: int) -> list[Found]:
    return audit(read_canaries(run), scorer, seed=seed)


def _speaking(judge: Judge, request: Request, settings: Settings) -> Speaking | None:
    if request.database is None or judge.held_out_from is None:
        return None
    section = settings.speaking
    rules = SpeakingRules(
        rate=section.rate,
        active_rate=section.active_rate,
        active_minutes=section.active_minutes,
        cooldown_seconds=section.cooldown_seconds,
        max_age_seconds=section.max_age_seconds,
        mentions_only=section.mentions_only,
    )
    return predict(request.database, since=judge.held_out_from, rules=rules, seed=request.seed, rounds=request.draws)


def _doubts(prompt_hash: str | None, run: Path, speaking: Speaking | None, request: Request) -> list[str]:
    """Return what a reader should know before believing the figures."""
    doubts = []
    manifest = run / MANIFEST_FILE
    wanted = json.loads(manifest.read_text(encoding="utf-8")).get("prompt_hash") if manifest.is_file() else None
    if prompt_hash is None:
        doubts.append("the model was not trained here: it was told the server's style, as the running bot would")
    elif wanted and prompt_hash != wanted:
        doubts.append("the model was trained with another prompt or tokenizer than this run's")
    if request.database is None:
        doubts.append("no database: copies were looked for in the training part only, and speaking was not measured")
    elif speaking is None:
        doubts.append("too few replies of regulars on the held-out days to measure when to speak")
    return doubts


def _worse(judgement: Judgement) -> list[Comparison]:
    model, published = judgement.of(MODEL), judgement.of(AGAINST)
    if model is None or published is None:
        return []
    return gate(model.figures, published.figures, judgement.people)


def _about(options: Options, sha256: str, run: Path, request: Request) -> dict[str, Any]:
    return {
        "model": {"name": options.model.stem, "path": str(options.model), "sha256": sha256},
        "run": str(run),
        "split": request.split,
        "rounds": request.rounds,
        "draws": request.draws,
        "seed": request.seed,
        "sampling": {key: value for key, value in asdict(request.sampling).items() if key != "seed"},
        "made_at": now().strftime("%Y-%m-%d %H:%M UTC"),
    }


def _detected(score: Path | None) -> Interval | None:
    """Return a blind test's detection rate, as `blindtest score --json` printed it.

    Raises:
        UsageError: it is no such file.
    """
    if score is None:
        return None
    try:
        overall = json.loads(score.read_text(encoding="utf-8"))["overall"]
        return Interval(value=float(overall["value"]), low=float(overall["low"]), high=float(overall["high"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{score} is no score of a blind test: {error}", cure="python -m pipelines blindtest score --json > FILE"
        ) from None


def _other_name(model: Path, other: Path) -> str:
    return other.stem if other.stem != model.stem else f"{other.parent.name}/{other.stem}"
