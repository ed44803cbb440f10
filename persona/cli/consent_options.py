"""The options of `persona consent` and `persona forget`: light enough to load for every `--help`."""

import argparse
from pathlib import Path

_USER = "a user id, or the name of somebody whose messages are stored"


def add_consent_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `persona consent`, each with its own options."""
    from persona.cli.parser import add_common  # noqa: PLC0415 - the parser is made of modules like this one

    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="who has made which choice, as it holds now")
    listing.add_argument("--json", action="store_true", help="print one JSON object")
    show = actions.add_parser("show", help="what holds for a person, their entries, and how much is kept of them")
    show.add_argument("user", metavar="USER", help=_USER)
    show.add_argument("--json", action="store_true", help="print one JSON object")
    _add_record_options(actions.add_parser("record", help="write down what a person told you"))
    export = actions.add_parser("export", help="write the ledger as CSV, or as JSON when FILE ends in .json")
    export.add_argument("file", type=Path, nargs="?", metavar="FILE", help="default: CSV on the terminal")
    taking = actions.add_parser("import", help="add the entries of an exported ledger; newer choices stay in force")
    taking.add_argument("file", type=Path, metavar="FILE", help="a .csv or .json file as `export` writes it")
    person = actions.add_parser("export-person", help="write what is kept of a person as JSON, as /mydata does")
    person.add_argument("user", metavar="USER", help=_USER)
    person.add_argument("file", type=Path, nargs="?", metavar="FILE", help="default: USER-ID.json")
    for action in actions.choices.values():
        add_common(action, default=argparse.SUPPRESS)


def _add_record_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", nargs="?", metavar="USER", help=_USER)
    parser.add_argument(
        "--permission",
        metavar="TEXT",
        help="instead of USER: the permission to train on what came through Discord's API: who gave it, when, where it "
        "can be found; with --choice no it is taken back",
    )
    parser.add_argument("--scope", choices=["store", "train"], help="being kept, or training a model")
    parser.add_argument("--choice", choices=["yes", "no"], help="what they said")
    parser.add_argument("--guild", type=int, default=0, metavar="ID", help="the server it is for (default: everywhere)")
    parser.add_argument("--note", default="", help="where their words can be found; a yes to train needs it")


def add_forget_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `persona forget`."""
    parser.add_argument("user", nargs="?", metavar="USER", help=_USER)
    parser.add_argument(
        "--message", type=int, action="append", default=[], metavar="ID", help="a single message; may be repeated"
    )
    parser.add_argument("--finish", action="store_true", help="finish what was left undone; look at all runs again")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print what came of it as one JSON object")
