"""Tasks on an event loop that the application has started itself, not the test runner.

anyio's test runner names its event loop to sniffio, for everything that runs in it. `asyncio.run` does not; and where
sniffio is installed (trio and openai bring it), anyio then knows where it is inside of asyncio tasks only.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context

import anyio.from_thread
import pytest

from creatormate_resilience.exceptions import TaskCancelledError, TaskTimeoutError
from creatormate_resilience.policies import Retry, constant
from creatormate_resilience.tasks import KeyLimits, TaskExecutor, TaskStatus


def run_plain(main: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run as a script does: in a context in which nobody has said which event loop it is."""
    Context().run(asyncio.run, asyncio.wait_for(main(), 20))


def test_threads_that_waited_for_a_slot_start() -> None:
    """A thread task starts when another's end makes room, not only inside of `submit`."""

    async def main() -> None:
        async with TaskExecutor(max_threads=1) as executor:
            handles = [await executor.submit(len, "a" * length) for length in range(5)]
            assert [await handle for handle in handles] == [0, 1, 2, 3, 4]

    run_plain(main)


def test_threads_start_after_a_delay_and_after_a_failed_attempt() -> None:
    """A timer starts a thread task as well as a submission does."""
    tries: list[int] = []

    def second_time_lucky() -> str:
        tries.append(1)
        if len(tries) < 2:
            raise ConnectionError("reset")
        return "here"

    async def main() -> None:
        async with TaskExecutor() as executor:
            assert await (await executor.options(delay=0.01).submit(len, "abc")) == 3
            assert await (await executor.options(retry=Retry(2, constant(0.01))).submit(second_time_lucky)) == "here"

    run_plain(main)


def test_threads_of_a_key_start_when_its_rate_lets_them() -> None:
    """What a key held back starts by time."""

    async def main() -> None:
        async with TaskExecutor(key_limits=KeyLimits(rate=1, per=0.01)) as executor:
            handles = [await executor.options(key="k").submit(len, "a") for _ in range(3)]
            assert [await handle for handle in handles] == [1, 1, 1]

    run_plain(main)


@pytest.mark.slow
def test_processes_that_waited_for_a_slot_start() -> None:
    """A process task starts when another's end makes room."""

    async def main() -> None:
        async with TaskExecutor(max_processes=1) as executor:
            process = executor.options(run_in="process")
            handles = [await process.submit(abs, -number) for number in range(3)]
            assert [await handle for handle in handles] == [0, 1, 2]

    run_plain(main)


def test_a_thread_cancelled_before_its_first_step_never_starts() -> None:
    """Cancelling in the same moment as submitting leaves nothing running and no warning."""
    ran = threading.Event()

    async def main() -> None:
        async with TaskExecutor(max_threads=1) as executor:
            handle = await executor.submit(ran.set)
            assert await handle.cancel()
            with pytest.raises(TaskCancelledError):
                await handle
            assert await (await executor.submit(len, "ab")) == 2

    run_plain(main)
    assert not ran.is_set()


def test_threads_that_waited_for_a_slot_are_told_of_their_deadline() -> None:
    """The deadline reaches a thread that a callback started."""
    told = threading.Event()

    def looks() -> None:
        try:
            while True:
                anyio.from_thread.check_cancelled()
        finally:
            told.set()

    async def main() -> None:
        async with TaskExecutor(max_threads=1) as executor:
            await executor.submit(len, "a")
            handle = await executor.options(timeout=0.02).submit(looks)
            with pytest.raises(TaskTimeoutError):
                await handle
            assert await handle.status() is TaskStatus.TIMED_OUT
            assert await executor.drain(timeout=10)

    run_plain(main)
    assert told.is_set()
