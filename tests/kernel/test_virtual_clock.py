import asyncio
import time

import pytest

from tests.kernel.virtual_clock import DeadlockError, now, run_virtual, settle


def test_hours_pass_at_once():
    async def main():
        began = now()
        await asyncio.sleep(36_000)
        return now() - began

    began = time.monotonic()
    assert run_virtual(main()) == pytest.approx(36_000)
    assert time.monotonic() - began < 5


def test_a_cancelled_timer_does_not_make_time_pass():
    async def main():
        asyncio.get_running_loop().call_later(1000, print).cancel()
        await asyncio.sleep(1)
        return now()

    assert run_virtual(main()) == pytest.approx(1)


def test_a_deadlock_is_an_error():
    async def main():
        await asyncio.Event().wait()

    loop_error = None
    try:
        run_virtual(main())
    except DeadlockError as error:
        loop_error = error
    assert loop_error is not None


def test_a_cancelled_timer_does_not_hide_a_deadlock():
    async def main():
        asyncio.get_running_loop().call_later(1000, print).cancel()
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError):
        run_virtual(main())


def test_settling_runs_everything_that_is_ready_but_no_timer():
    async def main():
        seen = []

        async def steps():
            for number in range(20):
                seen.append(number)
                await asyncio.sleep(0)
            await asyncio.sleep(1)
            seen.append("later")

        task = asyncio.create_task(steps())
        await settle()
        quick = list(seen)
        await task
        return quick, seen[-1]

    assert run_virtual(main()) == (list(range(20)), "later")
