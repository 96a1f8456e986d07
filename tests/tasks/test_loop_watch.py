"""Who blocks the event loop is named; who does not, is not."""

from __future__ import annotations

import asyncio
import fnmatch
import functools
import logging
import threading
import time
from typing import Any

import anyio
import pytest
import uvloop

from creatormate_resilience.events import Event
from creatormate_resilience.tasks import LoopBlocked, TaskExecutor
from creatormate_resilience.tasks._loop_watch import LoopWatch, _look

pytestmark = pytest.mark.anyio
LAG = 0.03


async def heard(events: list[LoopBlocked]) -> LoopBlocked:
    with anyio.fail_after(10):
        while not events:
            await asyncio.sleep(0.001)
    return events[0]


def executor_and_events() -> tuple[TaskExecutor, list[LoopBlocked]]:
    events: list[LoopBlocked] = []

    def listen(event: Event) -> None:
        if isinstance(event, LoopBlocked):
            events.append(event)

    return TaskExecutor(name="jobs", max_loop_lag=LAG, listeners=(listen,)), events


def stand_still(until: list[bool]) -> None:
    """Until something else says so; the watching thread has seen it by then."""
    while not until:
        pass


def seen_by_the_watch(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """No longer empty when the watch has seen somebody: a blocking function ends when it was noticed, not by time."""
    looked: list[bool] = []

    def look(loop: Any, thread: int, base: Any) -> Any:
        sight = _look(loop, thread, base)
        if sight is not None:
            looked.append(True)
        return sight

    monkeypatch.setattr("creatormate_resilience.tasks._loop_watch._look", look)
    return looked


async def test_a_task_that_blocks_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Its id, its name, and the line; in the event, the log and the statistics."""
    caplog.set_level(logging.WARNING, logger="creatormate_resilience.tasks")
    looked = seen_by_the_watch(monkeypatch)
    executor, events = executor_and_events()

    async def blocks() -> None:
        stand_still(looked)

    async with executor:
        handle = await executor.options(name="import").submit(blocks)
        await handle
        event = await heard(events)
        assert (event.source, event.task_id, event.name) == ("jobs", handle.id, "import")
        assert event.where.startswith(f"{__name__}.stand_still:")
        assert event.seconds >= LAG
        assert executor.statistics().blocked == 1
    assert "the event loop stood still" in caplog.text
    assert "import" in caplog.text


async def test_a_request_handler_that_is_no_task_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name asyncio has for it; it has no task id."""
    looked = seen_by_the_watch(monkeypatch)
    executor, events = executor_and_events()

    async def handler() -> None:
        stand_still(looked)

    async with executor:
        await asyncio.create_task(handler(), name="GET /users")
        event = await heard(events)
        assert (event.task_id, event.name) == (None, "GET /users")
        assert event.where.startswith(f"{__name__}.stand_still:")


async def test_the_line_is_the_application_s_not_the_library_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """What blocks is often deep in the standard library; who called it is what has to be changed."""
    looked = seen_by_the_watch(monkeypatch)
    executor, events = executor_and_events()

    async def reads() -> None:
        functools.reduce(lambda seen, _: seen, iter(lambda: fnmatch.filter(["a"] * 1000, "b*") or not looked, False))

    async with executor:
        await (await executor.submit(reads))
        assert (await heard(events)).where.startswith(f"{__name__}.")


async def test_a_callback_that_blocks_is_seen_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no asyncio task; the line says where."""
    looked = seen_by_the_watch(monkeypatch)
    executor, events = executor_and_events()
    async with executor:
        asyncio.get_running_loop().call_soon(stand_still, looked)
        event = await heard(events)
        assert (event.task_id, event.name) == (None, None)
        assert event.where.startswith(f"{__name__}.stand_still:")


def look_often(watch: LoopWatch, loop: asyncio.AbstractEventLoop, thread: int, seen: list[object]) -> None:
    """As the watch does when no sign of life comes, which is also so where the whole machine has no time for us."""
    alive = threading.Event()
    loop.call_soon_threadsafe(watch._answer, alive)
    assert alive.wait(10)
    for _ in range(40):
        time.sleep(0.002)
        if (sight := _look(loop, thread, watch._base)) is not None:
            seen.append(sight)


async def test_an_idle_loop_is_not_blocking() -> None:
    """Who looks at it while it waits sees nobody: a machine that is only busy gives no alarm."""
    seen: list[object] = []
    watch = LoopWatch("idle", 1.0, lambda *_: None)
    await asyncio.to_thread(look_often, watch, asyncio.get_running_loop(), threading.get_ident(), seen)
    assert seen == []


async def test_a_loop_run_by_hand_is_not_blocking_while_it_waits(anyio_backend: tuple[str, dict[str, bool]]) -> None:
    """`loop.run_forever()` in the application's own code: that line is no culprit."""
    seen: list[object] = []
    make = uvloop.new_event_loop if anyio_backend[1]["use_uvloop"] else asyncio.new_event_loop

    def service() -> None:
        loop = make()
        watch = LoopWatch("by-hand", 1.0, lambda *_: None)

        def look_and_stop(thread: int) -> None:
            try:
                look_often(watch, loop, thread, seen)
            finally:
                loop.call_soon_threadsafe(loop.stop)

        looking = threading.Thread(target=look_and_stop, args=(threading.get_ident(),))
        looking.start()
        try:
            loop.run_forever()
        finally:
            looking.join()
            loop.close()

    await asyncio.to_thread(service)
    assert seen == []


async def test_many_short_steps_are_no_blocking() -> None:
    """A loop that is always busy with short steps answers the watch in time."""
    executor, events = executor_and_events()
    async with executor:

        async def steps() -> None:
            for _ in range(2000):
                await asyncio.sleep(0)

        for handle in await executor.submit_many(steps, [()] * 5):
            await handle
    assert [event for event in events if event.seconds > 10] == []


async def test_the_watch_outlives_neither_loop_nor_executor() -> None:
    """A loop that is closed under it ends the thread without a word."""
    errors: list[Any] = []
    hook, threading.excepthook = threading.excepthook, errors.append
    try:

        def elsewhere() -> None:
            async def main() -> None:
                executor = TaskExecutor(name="orphan", max_loop_lag=0.01)
                await executor.start()
                await asyncio.sleep(0.03)
                executor.engine._lifecycle.close()  # nobody closed it; only the warning about that is not wanted here

            asyncio.run(main())

        await asyncio.to_thread(elsewhere)
        with anyio.fail_after(10):
            while any(thread.name.startswith("orphan") for thread in threading.enumerate()):
                await asyncio.sleep(0.001)
    finally:
        threading.excepthook = hook
    assert not errors


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), "soon"])
async def test_a_bad_lag_is_refused(wrong: Any) -> None:
    """None is the way to switch it off."""
    with pytest.raises((ValueError, TypeError), match=r"max_loop_lag is .*accepted"):
        TaskExecutor(max_loop_lag=wrong)
    async with TaskExecutor(name="unwatched", max_loop_lag=None):
        assert not any(thread.name.startswith("unwatched") for thread in threading.enumerate())
