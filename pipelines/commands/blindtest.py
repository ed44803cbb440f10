"""`python -m pipelines blindtest make | score`: can people tell the model's replies from their own?"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona.config import load_settings
from persona.domain.lineage import LINEAGE_FILE, decode_lineage
from persona.domain.quiz import write_quiz
from persona.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from pipelines.evaluation.blindtest import BlindTest

_EPILOG = """examples:
  python -m pipelines blindtest make models/server.gguf --run runs/server --questions 50
  python -m pipelines blindtest score runs/server/blindtest/key.json answers-*.json
`make` writes test.html, to be sent to people, and key.json, which nobody who answers may see. The number of questions
is fixed before anybody answers. Each person opens the page, answers, and sends back the file that it saves.
quiz.json is the same test for Discord: copied to [storage] quiz in config.toml, the bot asks it (/quizcard)."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `python -m pipelines`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "blindtest",
        help="make a blind test for people, or score what they answered",
        description="Can people tell the model's replies from their own?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    make = actions.add_parser("make", help="write the page, its key, and the quiz for Discord")
    make.add_argument("model", type=Path, metavar="MODEL", help="the GGUF file")
    make.add_argument("--run", type=Path, dest="run_folder", metavar="RUN", help="run folder, or its name")
    make.add_argument("--questions", type=int, default=30, metavar="N", help="how many (30)")
    make.add_argument("--split", choices=("test", "validation"), default="test", help="held-out part (test)")
    make.add_argument("--server", default="", metavar="NAME", help="what the page calls the server")
    make.add_argument("--seed", type=int, default=7, help="the same seed makes the same test (7)")
    make.add_argument("--output", type=Path, metavar="DIR", help="where it goes (RUN/blindtest)")
    make.add_argument("--slots", type=int, default=4, metavar="N", help="replies written at a time (4)")
    make.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (all cores but one)")
    make.add_argument("--gpu-layers", type=int, default=0, metavar="N", help="layers on the GPU; -1 is all (0)")
    make.add_argument("--config", type=Path, metavar="PATH", help="settings (./config.toml)")
    score = actions.add_parser("score", help="print how often people were right, with intervals")
    score.add_argument("key", type=Path, metavar="KEY", help="key.json")
    score.add_argument("answers", type=Path, nargs="+", metavar="ANSWERS", help="the files that people sent back")
    score.add_argument("--json", action="store_true", help="print the score as one JSON object")
    parser.set_defaults(module="pipelines.commands.blindtest")


def run(arguments: argparse.Namespace) -> int:
    """Make or score; return 0.

    Raises:
        PersonaError: something is missing, damaged, or belongs to another test.
    """
    return _make(arguments) if arguments.action == "make" else _score(arguments)


def _make(arguments: argparse.Namespace) -> int:
    from pipelines.evaluation.asking import ModelFile, Request, write_samples  # noqa: PLC0415 - heavy
    from pipelines.evaluation.blindtest import make, page  # noqa: PLC0415 - only when it runs
    from pipelines.evaluation.progress import quiet, watching  # noqa: PLC0415 - only when it runs
    from pipelines.evaluation.running import FOLDER, find_run, sampling_of  # noqa: PLC0415 - heavy
    from pipelines.train.files import write_text  # noqa: PLC0415 - only when it runs

    quiet()
    if arguments.questions < 1:
        raise UsageError(f"--questions {arguments.questions} is less than 1")
    settings = load_settings(arguments.config)
    folder = find_run(arguments.run_folder, arguments.model, settings.storage.runs)
    request = Request(
        run=folder,
        split=arguments.split,
        folder=folder / FOLDER,
        models=(ModelFile(key="model", path=arguments.model),),
        # Some contexts fall away where both replies are the same, or the model is silent.
        contexts=2 * arguments.questions,
        rounds=1,
        ranked=0,
        seed=arguments.seed,
        draws=0,
        sampling=sampling_of(settings),
        slots=arguments.slots,
        threads=arguments.threads,
        gpu_layers=arguments.gpu_layers,
    )
    with watching(sys.stderr) as watcher:
        pairs = write_samples(request, watcher)
    test = make(pairs.replies, pairs.human, questions=arguments.questions, seed=arguments.seed)
    output = arguments.output or folder / "blindtest"
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "test.html", page(test, server=arguments.server or pairs.server or "this server"))
    write_text(output / "key.json", test.key() + "\n")
    print(f"send to people: {output / 'test.html'}\nkeep to yourself: {output / 'key.json'}")
    _write_quiz(test, pairs.marks, _read_at(folder), output / "quiz.json", settings.storage.quiz)
    return EXIT_DONE


def _write_quiz(
    test: "BlindTest", marks: Mapping[str, Sequence[str]], read_at: datetime | None, file: Path, wanted: Path
) -> None:
    """Write what the bot needs to ask the same test on the server, and say what to do with it."""
    from pipelines.evaluation.blindtest import BlindTestError  # noqa: PLC0415 - only when it runs
    from pipelines.train.files import write_text  # noqa: PLC0415 - only when it runs

    try:
        quiz = test.quiz(marks, read_at=read_at)
    except BlindTestError as error:
        file.unlink(missing_ok=True)
        print(f"no quiz for Discord: {error}; it needs a new `python -m pipelines prepare`")
        return
    write_text(file, write_quiz(quiz) + "\n")
    print(f"to ask it on Discord: copy {file} (it holds the key) to {wanted}, then give /quizcard there")


def _read_at(run: Path) -> datetime | None:
    """Return when a run's messages were read; None where nobody knows: what was ever edited is not asked."""
    try:
        return decode_lineage((run / LINEAGE_FILE).read_bytes()).read_at
    except (OSError, ValueError):
        return None


def _score(arguments: argparse.Namespace) -> int:
    from pipelines.evaluation.blindtest import score  # noqa: PLC0415 - only when it runs

    found = score(_text(arguments.key), [_text(file) for file in arguments.answers])
    if arguments.json:
        raters = {name: asdict(share) for name, share in found.raters.items()}
        print(json.dumps({"overall": asdict(found.overall), "raters": raters}, ensure_ascii=False))
        return EXIT_DONE
    for name, share in found.raters.items():
        print(f"{name}: {_range(share.value, share.low, share.high)}")
    overall = found.overall
    print(f"overall: {_range(overall.value, overall.low, overall.high)} right; 50 % is guessing")
    return EXIT_DONE


def _range(value: float, low: float, high: float) -> str:
    return f"{value:.0%} ({low:.0%} to {high:.0%})"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
