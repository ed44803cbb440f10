"""`persona` without a command: Discord when there is a token, otherwise the terminal."""

import argparse
import os
import sys

from persona.cli import chat
from persona.config import load_settings, secret
from persona.errors import UsageError

_TOKEN = "DISCORD_TOKEN"  # noqa: S105 - the name of the secret


def run(arguments: argparse.Namespace) -> int:
    """Run until told to stop; return the exit code. Told to restart, the process begins anew in its own place.

    Raises:
        UsageError: `--json` together with a token: there is nothing to print.
    """
    token = secret(_TOKEN, os.environ)
    if token is None:
        return chat.run(arguments)
    if arguments.json:
        raise UsageError("--json is for the terminal", cure="use `persona chat --json`, or unset DISCORD_TOKEN")
    from persona.app import Ending, run_discord  # noqa: PLC0415 - the terminal needs none of it

    ending = run_discord(load_settings(arguments.config), token, debug=arguments.debug)
    if ending is Ending.RESTART:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command line
    return 0
