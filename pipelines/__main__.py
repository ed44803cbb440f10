"""`python -m pipelines`: the offline work; each pipeline is loaded only when it runs."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from persona.errors import PersonaError
from pipelines.commands import all as whole
from pipelines.commands import blindtest, canaries, evaluate, export, prepare, publish, sample, train


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all pipelines."""
    parser = argparse.ArgumentParser(prog="pipelines", description="Offline work around the persona.")
    subparsers = parser.add_subparsers(title="pipelines", metavar="PIPELINE", required=True)
    demo = subparsers.add_parser(
        "demo",
        help="make the built-in demo persona: its language model and its history",
        description="Make the built-in demo persona from nothing: corpus, tokenizer, model, GGUF, history, score.",
        epilog="example:\n  python -m pipelines demo --output persona/demo\nneeds the extra `demo` (torch, tokenizers, "
        "gguf); takes about three quarters of an hour on two cores, goes on where it was interrupted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where demo.gguf and the rest go")
    demo.add_argument("--work", type=Path, default=Path("runs/demo"), metavar="FOLDER", help="checkpoints (runs/demo)")
    demo.add_argument("--seed", type=int, default=7, help="the same seed makes the same corpus (7)")
    demo.add_argument("--steps", type=int, default=5300, help="training steps (5300)")
    demo.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    demo.set_defaults(module="pipelines.demo.pipeline")
    score = subparsers.add_parser(
        "demo-score",
        help="score the demo persona on fresh conversations",
        description="Let a demo model answer freshly made conversations and count what it got right.",
        epilog="example:\n  python -m pipelines demo-score persona/demo/demo.gguf --conversations 300",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    score.add_argument("model", type=Path, metavar="GGUF", help="the model file")
    score.add_argument("--conversations", type=int, default=300, help="how many (300)")
    score.add_argument("--seed", type=int, default=1_000_003, help="seed of the conversations, not one trained on")
    score.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    score.set_defaults(module="pipelines.demo.score")
    prepare.add_parser(subparsers)
    train.add_parser(subparsers)
    sample.add_parser(subparsers)
    export.add_parser(subparsers)
    evaluate.add_parser(subparsers)
    blindtest.add_parser(subparsers)
    canaries.add_parser(subparsers)
    publish.add_parser(subparsers)
    whole.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one pipeline and return its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        return int(importlib.import_module(arguments.module).run(arguments))
    except PersonaError as error:
        print(f"pipelines: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
