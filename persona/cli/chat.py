"""`persona chat`: talk in the terminal."""

import argparse
import sys

from persona.app import run_terminal
from persona.config import load_settings
from persona.demo import PERSONA_NAME, demo_model_path
from persona.model_choice import Source, choose_model
from persona.options import TerminalOptions

_BANNER = """\
This is {name}, the built-in demo: a {size:.0f} MB toy model that runs anywhere and knows a made-up server.
It shows how everything works; for real talk get a real model:  python -m persona model pull
"""


def run(arguments: argparse.Namespace) -> int:
    """Run the conversation; return the exit code."""
    settings = load_settings(arguments.config)
    options = TerminalOptions(as_json=arguments.json, debug=arguments.debug)
    if options.interactive and choose_model(settings).source is Source.DEMO:
        size = demo_model_path().stat().st_size / 1e6
        print(_BANNER.format(name=PERSONA_NAME, size=size), file=sys.stderr)
    return run_terminal(settings, options)
