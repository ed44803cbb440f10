"""What the standard library leaves out: clean up in spite of cancellation, and kill tasks."""

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run clean-up to its end, however often the caller is cancelled meanwhile; the cancellation comes afterwards.

    The work runs in a task of its own: a second cancellation cannot interrupt it half-way and leave children behind.

    Raises:
        asyncio.CancelledError: the caller was cancelled; the work is done all the same.
        Exception: whatever the work raises.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            # Unlike `await task`, this never hands a cancellation on to the work.
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None or (not task.cancelled() and task.exception() is not None):
        return task.result()
    raise cancelled


async def kill(tasks: Collection[asyncio.Task[Any]], *, timeout: float) -> set[asyncio.Task[Any]]:  # noqa: ASYNC109
    """Cancel tasks and wait for their end, at most `timeout` seconds; return those that ignored it.

    They are cancelled again at half-time: libraries have been seen to lose a single cancellation.
    """
    for _ in range(2):
        alive = {task for task in tasks if not task.done()}
        if not alive:
            break
        for task in alive:
            task.cancel()
        await asyncio.wait(alive, timeout=timeout / 2)
    return {task for task in tasks if not task.done()}


def error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """Return what a finished task ended with; a cancellation counts as an error."""
    if task.cancelled():
        return asyncio.CancelledError(f"{task.get_name()} was cancelled")
    return task.exception()
