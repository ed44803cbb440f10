"""`python -m pipelines all`: from the store to a published model with one command."""

import argparse
import json
import sys
from typing import Any

from persona.config import Settings, load_settings
from persona.config_tables import TrainingSection
from persona.errors import EXIT_DONE
from pipelines.commands.prepare import add_options, options_given

_EPILOG = """example:
  python -m pipelines all --name server --pull
prepare, train (SFT), let the model answer, train on preferences where there are enough reactions, export, publish.
Whatever is done already and would come out the same is not done again: after an interruption, the same command goes
on. `--from STEP` does a step and all that follow anew (prepare, sft, export-sft, sample, preference, export, gate,
publish). Needs the extras `prepare`, `train` and, with --gate, `evaluate`."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `python -m pipelines`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "all",
        help="from the stored messages to a published model",
        description="From the stored messages to a published model, resumable at every step.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--backend", choices=["unsloth", "hf-qlora", "hf-cpu"], help="instead of [training] backend")
    parser.add_argument("--preset", choices=["8gb", "12gb", "24gb", "cpu"], help="instead of [training] preset")
    parser.add_argument(
        "--train-examples", type=int, metavar="N", help="train on so many at most ([training] max_examples)"
    )
    parser.add_argument("--pull", action="store_true", help="download the base model if it is not here")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (each step as it chooses)")
    parser.add_argument("--gpu-layers", type=int, default=0, metavar="N", help="layers on the GPU when it answers (0)")
    parser.add_argument("--quantization", default="Q4_K_M", metavar="TYPE", help="of the published file (Q4_K_M)")
    parser.add_argument("--model", metavar="NAME", help="what the published model is called (the run's name)")
    parser.add_argument("--gate", action="store_true", help="publish only what is not worse than the model in use")
    parser.add_argument("--no-publish", action="store_true", help="end after the export")
    parser.add_argument("--from", dest="begin", metavar="STEP", help="do this step and all that follow anew")
    parser.add_argument(
        "--fresh", dest="begin", action="store_const", const="prepare", help="all of it anew, as --from prepare"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(module="pipelines.commands.all")


def run(arguments: argparse.Namespace) -> int:
    """Do what is left to do; return 0.

    Raises:
        PersonaError: a step failed, or a signal came; the next time it goes on from there.
    """
    from pipelines.whole.journal import Journal, run_steps  # noqa: PLC0415 - only when it runs
    from pipelines.whole.process import locked  # noqa: PLC0415 - as above
    from pipelines.whole.steps import steps  # noqa: PLC0415 - as above
    from pipelines.whole.working import Worker, published_as, steps_from, summary  # noqa: PLC0415 - as above

    settings = load_settings(arguments.config)
    course = _course(arguments, settings)
    anew = steps_from(arguments.begin)
    with locked(course.run) as held:
        journal = Journal(course.run)
        worker = Worker(course=course, held=held, stream=sys.stderr)
        worked = run_steps(steps(course), journal, worker.do, anew=anew, said=worker.say)
    if arguments.json:
        told = {"run": str(course.run), "done": worked, "seconds": dict(journal.seconds())}
        print(json.dumps({**told, "published": published_as(course.run)}))
    else:
        print(summary(course, journal))
    return EXIT_DONE


def _course(arguments: argparse.Namespace, settings: Settings) -> Any:
    from pipelines.whole.steps import Course  # noqa: PLC0415 - only when it runs

    given = {name: value for name in ("backend", "preset", "base") if (value := getattr(arguments, name))}
    if arguments.train_examples is not None:
        given["max_examples"] = arguments.train_examples
    training = TrainingSection.model_validate({**settings.training.model_dump(), **given})
    config = [] if arguments.config is None else [f"--config={arguments.config}"]
    threads = [f"--threads={arguments.threads}"] if arguments.threads else []
    layers = [f"--gpu-layers={arguments.gpu_layers}"] if arguments.gpu_layers else []
    pull = ["--pull"] * arguments.pull
    return Course(
        run=settings.storage.runs / arguments.name,
        training=training,
        config=config,
        prepare=["prepare", *options_given(arguments), *pull],
        train=[*config, *threads, *(_option(name, value) for name, value in given.items()), *pull],
        export=[*config, f"--quantization={arguments.quantization}"],
        sample=[*config, *threads, *layers],
        evaluate=[*config, *threads, *layers],
        model=arguments.model or "",
        gate=arguments.gate,
        publish=not arguments.no_publish,
    )


def _option(name: str, value: object) -> str:
    return f"--{name.replace('_', '-')}={value}"
