"""`python -m persona`: parse the command line, run one command, turn errors into one clear line."""

import gc
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from persona.cli.parser import build_parser
from persona.errors import EXIT_FAILED, EXIT_INTERRUPTED, HungError, PersonaError

# Looking for cyclic garbage at every 700 new objects, as Python does by itself, takes a sixth of an import's time.
_YOUNG_OBJECTS = 20_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 1 failed, 2 usage, 75 busy, 78 configuration."""
    arguments = build_parser().parse_args(argv)
    gc.set_threshold(_YOUNG_OBJECTS)
    return report(lambda: int(arguments.run(arguments)), debug=arguments.debug)


def report(command: Callable[[], int], *, debug: bool) -> int:
    """Run a command; print what went wrong as one line (with its traceback when `debug`), return the exit code."""
    try:
        return command()
    except PersonaError as error:
        from persona.log_safety import Redactor  # noqa: PLC0415 - not needed for --help

        redact = Redactor([os.environ.get("DISCORD_TOKEN", "")]).redact
        if debug:
            print(redact(traceback.format_exc()), file=sys.stderr)
        print(redact(f"persona: {error}"), file=sys.stderr)
        if isinstance(error, HungError):
            sys.stderr.flush()
            os._exit(error.exit_code)  # a hung native call would hold up every gentler way out
        return error.exit_code
    except KeyboardInterrupt:
        print("persona: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; give the interpreter's last flush somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
