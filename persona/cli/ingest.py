"""`persona ingest`: read what is new in the allowed channels, once, then exit."""

import argparse
import json
import os
import sys

from persona.cli.ingest_screen import IngestScreen, as_json, summary
from persona.config import load_settings, secret
from persona.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, ConfigError

_TOKEN = "DISCORD_TOKEN"  # noqa: S105 - the name of the secret


def run(arguments: argparse.Namespace) -> int:
    """Catch up once; return 0 when everything was read, 1 when some channel was not, 130 after Ctrl-C.

    Raises:
        PersonaError: the settings or the token are wrong, or Discord or the database failed for good.
    """
    settings = load_settings(arguments.config)
    token = secret(_TOKEN, os.environ)
    if token is None:
        cure = "set it in the environment, or give it as a systemd credential"
        raise ConfigError(f"{_TOKEN} is not set: there is nothing to read history with", cure=cure)
    from persona.app import run_ingest  # noqa: PLC0415 - a missing token needs none of it

    with IngestScreen(sys.stderr) as screen:
        try:
            status = run_ingest(settings, token, screen.show, debug=arguments.debug)
        except KeyboardInterrupt:
            screen.close()
            print("persona: interrupted; what was stored stays, run it again to go on", file=sys.stderr)
            return EXIT_INTERRUPTED
    if arguments.json:
        print(json.dumps(as_json(status, screen.seconds)))
    else:
        print(summary(status, screen.seconds))
    for trouble in status.troubles:
        print(f"persona: {trouble}", file=sys.stderr)
    return EXIT_FAILED if status.troubles else EXIT_DONE
