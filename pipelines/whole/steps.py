"""The steps from the store to a published model, in order; what comes next depends on what came out before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona.config_tables import TrainingSection
from persona.domain.lineage import LINEAGE_FILE
from pipelines.commands.publish import PUBLISHED_FILE
from pipelines.gguf.exporting import EXPORT
from pipelines.preferences.sampling import LIKED_FILE, PAIRS_FOLDER, REPLIES_FILE
from pipelines.run import MANIFEST_FILE
from pipelines.train.plan import Method
from pipelines.train.rows import KINDS, data_files
from pipelines.train.stage_files import StageFiles
from pipelines.whole.journal import Step

NAMES = ("prepare", "sft", "export-sft", "sample", "preference", "export", "gate", "publish")
"""The steps, as `--from` names them."""

_FRESH = ("--fresh",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is to be done in one run, and with what.

    Attributes:
        run: the run folder.
        training: settings that training depends on, with the options put over them.
        config: the option that names config.toml, for every step.
        prepare: the command that makes the data set.
        train: options of `train`.
        export: options of `export`.
        sample: options of `sample`.
        evaluate: options of `evaluate`.
        model: what the model is called in the registry.
        gate: whether it must not be worse than the published one.
        publish: whether it is published at all.
    """

    run: Path
    training: TrainingSection
    config: Sequence[str]
    prepare: Sequence[str]
    train: Sequence[str]
    export: Sequence[str]
    sample: Sequence[str]
    evaluate: Sequence[str]
    model: str
    gate: bool = False
    publish: bool = True


def steps(course: Course) -> Iterator[Step]:
    """Yield one step after the other; each one is made when those before it are done."""
    yield _prepare(course)
    yield _train(course, Method.SFT)
    last = Method.SFT
    if _wants_pairs(course):
        yield _export(course, Method.SFT, "export-sft")
        yield _sample(course)
    preference = preference_method(course.run, course.training)
    if preference is not None:
        yield _train(course, preference)
        last = preference
    yield _export(course, last, "export")
    model = gguf_of(course.run, last)
    if course.gate:
        yield _gate(course, model)
    if course.publish:
        yield _publish(course, model)


def preference_method(run: Path, training: TrainingSection) -> Method | None:
    """Return what follows SFT; None when nothing does.

    With `auto` that is DPO where there are pairs for at least one step, else KTO where there are rows for one.
    """
    if training.preference != "auto":
        return None if training.preference == "none" else Method(training.preference)
    for method in (Method.DPO, Method.KTO):
        if _rows(run, method) >= training.batch:
            return method
    return None


def why_none(run: Path, training: TrainingSection) -> str:
    """Say why no preferences are trained on."""
    if training.preference == "none":
        return "[training] preference = none"
    pairs, rows = _rows(run, Method.DPO), _rows(run, Method.KTO)
    return f"too few reactions: {pairs} pairs and {rows} rows, one step takes {training.batch}"


def gguf_of(run: Path, method: Method) -> Path:
    """Return where `export` leaves the model of a stage."""
    return run / EXPORT / f"{method}.gguf"


def _prepare(course: Course) -> Step:
    run = course.run
    command = [*course.prepare, *(["--quiet"] if (run / MANIFEST_FILE).is_file() else [])]
    outputs = [run / MANIFEST_FILE, run / LINEAGE_FILE, run / "sft"]
    return Step(name="prepare", command=command, inputs=(), outputs=outputs, settings={}, always=True, fresh=_FRESH)


def _train(course: Course, method: Method) -> Step:
    run, folder = course.run, StageFiles(course.run, method)
    data = [file for split in ("train", "validation") for file in data_files(run, method, split)]
    command = ["train", str(run), "--method", str(method), *course.train]
    after = [] if method is Method.SFT else [StageFiles(run, Method.SFT).merged]
    return Step(
        name="sft" if method is Method.SFT else "preference",
        command=command,
        inputs=[*(data or [run / KINDS[method]]), *after],
        outputs=[folder.adapter, *([folder.merged] if method is Method.SFT else [])],
        settings=_trained_with(course.training, method),
        fresh=_FRESH,
    )


def _trained_with(training: TrainingSection, method: Method) -> Mapping[str, Any]:
    """Return the settings that have a say in a stage."""
    other = "preference_" if method is Method.SFT else "sft_"
    left_out = {"preference"}
    found = {key: value for key, value in training.model_dump().items() if not key.startswith(other)}
    return {"method": str(method), **{key: value for key, value in found.items() if key not in left_out}}


def _wants_pairs(course: Course) -> bool:
    """Whether the model has to answer for itself: only pairs need that."""
    liked = course.run / LIKED_FILE
    return course.training.preference in {"auto", "dpo", "orpo"} and liked.is_file() and liked.stat().st_size > 0


def _export(course: Course, method: Method, name: str) -> Step:
    model = gguf_of(course.run, method)
    return Step(
        name=name,
        command=["export", str(course.run), "--method", str(method), *course.export],
        inputs=[StageFiles(course.run, method).adapter, course.run / MANIFEST_FILE],
        outputs=[model, model.with_suffix(".json")],
        settings={"options": list(course.export)},
        fresh=_FRESH,
    )


def _sample(course: Course) -> Step:
    run, model = course.run, gguf_of(course.run, Method.SFT)
    return Step(
        name="sample",
        command=["sample", str(run), "--model", str(model), *course.sample],
        inputs=[run / LIKED_FILE, model],
        outputs=[run / REPLIES_FILE, run / PAIRS_FOLDER],
        settings={"options": list(course.sample)},
    )


def _gate(course: Course, model: Path) -> Step:
    run = course.run
    return Step(
        name="gate",
        command=["evaluate", str(model), "--run", str(run), "--gate", *course.evaluate],
        inputs=[model, run / MANIFEST_FILE],
        outputs=[run / "evaluation"],
        settings={},
    )


def _publish(course: Course, model: Path) -> Step:
    run = course.run
    name = ["--model", course.model] if course.model else []
    return Step(
        name="publish",
        command=["publish", str(run), str(model), *name, *course.config],
        inputs=[model, run / MANIFEST_FILE, run / LINEAGE_FILE],
        outputs=[run / PUBLISHED_FILE],
        settings={"model": course.model},
    )


def _rows(run: Path, method: Method) -> int:
    count = 0
    for file in data_files(run, method, "train"):
        with file.open("rb") as stream:
            count += sum(1 for _ in stream)
    return count
