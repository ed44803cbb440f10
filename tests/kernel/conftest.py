import asyncio
import sys

import pytest
from structlog.contextvars import clear_contextvars, merge_contextvars
from structlog.testing import capture_logs

LOOPS = {"asyncio": asyncio.new_event_loop}
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture(autouse=True)
def logs():
    """The log entries of a test, with what was bound to the context."""
    clear_contextvars()
    with capture_logs(processors=[merge_contextvars]) as entries:
        yield entries
    clear_contextvars()


@pytest.fixture(params=sorted(LOOPS))
def run(request):
    """Run a coroutine on a real loop, once with each implementation."""

    def run_with(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main)

    return run_with
