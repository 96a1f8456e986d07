"""What every engine does alike. Whoever writes another one runs these."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import fleet_tasks as fleet
from creatormate_resilience.exceptions import (
    ExternalAPIUnavailableError,
    TaskCancelledError,
    TaskError,
    TaskExpiredError,
    TaskNotFoundError,
    TaskResultTimeoutError,
    TaskTimeoutError,
    UnsupportedOptionError,
)
from creatormate_resilience.policies import Retry
from creatormate_resilience.tasks import Capability, TaskExecutor, TaskHandle, TaskPriority, TaskProgress, TaskStatus
from fleet_tasks import traces

pytestmark = pytest.mark.anyio

PATIENCE = 20.0


async def reaches(handle: TaskHandle[object], status: TaskStatus) -> None:
    """Wait until the task is in a status."""
    async with asyncio.timeout(PATIENCE):
        while await handle.status() is not status:
            await asyncio.sleep(0.01)


async def leaves(trail: str, lines: list[str]) -> None:
    """Wait until the tasks have left these traces."""
    async with asyncio.timeout(PATIENCE):
        while traces(trail) != lines:
            await asyncio.sleep(0.01)


async def status_of_end(handle: TaskHandle[object]) -> TaskStatus:
    try:
        await handle.result(PATIENCE)
    except TaskResultTimeoutError:
        raise
    except TaskError:
        pass
    return await handle.status()


async def test_functions_of_every_kind_return(start, tmp_path):
    """Async, thread and process functions give their results back."""
    async with start() as executor:
        handles = [
            await executor.submit(fleet.add, 2, other=3),
            await executor.submit(fleet.double, 4),
            await executor.submit(fleet.triple, 5),
        ]
        assert [await handle.result(PATIENCE) for handle in handles] == [5, 8, 15]
        assert {await handle.status() for handle in handles} == {TaskStatus.SUCCEEDED}


async def test_many_are_taken_at_once(start):
    """One submission, many tasks, results in their order."""
    async with start() as executor:
        handles = await executor.submit_many(fleet.double, [(number,) for number in range(20)])
        assert [await handle.result(PATIENCE) for handle in handles] == [2 * number for number in range(20)]


async def test_an_error_comes_back(start):
    """A foreign error as a TaskError that names it, in the record too."""
    async with start() as executor:
        handle = await executor.submit(fleet.fail, "no such channel")
        with pytest.raises(TaskError, match="ValueError"):
            await handle.result(PATIENCE)
        record = await handle.record()
        assert (record.status, record.attempts) == (TaskStatus.FAILED, 1)
        assert "ValueError" in record.error


async def test_an_error_of_the_family_comes_back_as_what_it_is(start):
    """With its advice, so that who waits can act on it."""
    async with start() as executor:
        handle = await executor.submit(fleet.fail_upstream)
        with pytest.raises(ExternalAPIUnavailableError) as caught:
            await handle.result(PATIENCE)
        assert (caught.value.retryable, caught.value.retry_after) == (True, 7.0)


async def test_a_timeout_strikes(start, tmp_path):
    """Async and thread tasks are TIMED_OUT at their deadline."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with start() as executor:
        timed = executor.options(timeout=0.1)
        for fn in (fleet.hold, fleet.hold_thread):
            handle = await timed.submit(fn, trail, fn.__name__, str(gate))
            with pytest.raises(TaskTimeoutError):
                await handle.result(PATIENCE)
            assert await handle.status() is TaskStatus.TIMED_OUT
        gate.touch()


async def test_a_retry_counts_its_attempts(start, tmp_path):
    """As declared with the function; the attempt's number is known inside."""
    async with start() as executor:
        handle = await executor.submit(fleet.fail_until, str(tmp_path / "good"), 3)
        assert await handle.result(PATIENCE) == 3
        assert (await handle.record()).attempts == 3

        handle = await executor.submit(fleet.fail_until, str(tmp_path / "bad"), 4)
        assert await status_of_end(handle) is TaskStatus.DEAD
        assert traces(tmp_path / "bad") == ["attempt"] * 3


async def test_an_open_circuit_costs_no_attempt(start, tmp_path):
    """It puts the task off."""
    async with start() as executor:
        handle = await executor.submit(fleet.meet_open_circuit, str(tmp_path / "trail"))
        assert await handle.result(PATIENCE) == 1
        assert len(traces(tmp_path / "trail")) == 4


async def test_a_delay_is_kept(start, tmp_path):
    """The task is SCHEDULED, and others overtake it."""
    trail = str(tmp_path / "trail")
    async with start() as executor:
        late = await executor.options(delay=0.5).submit(fleet.note, trail, "late")
        assert await late.status() is TaskStatus.SCHEDULED
        await (await executor.submit(fleet.note, trail, "soon")).result(PATIENCE)
        await late.result(PATIENCE)
        assert traces(trail) == ["soon", "late"]


async def test_what_expires_never_starts(start, tmp_path):
    """Nobody runs it any more, also when there is room again."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with start(slots=1) as executor:
        await reaches(await executor.submit(fleet.hold, trail, "first", str(gate)), TaskStatus.RUNNING)
        handle = await executor.options(expires=0.1).submit(fleet.note, trail, "late")
        with pytest.raises(TaskExpiredError):
            await handle.result(PATIENCE)
        gate.touch()
        await (await executor.submit(fleet.note, trail, "last")).result(PATIENCE)
        assert await handle.status() is TaskStatus.EXPIRED
        assert "late" not in traces(trail)


async def test_the_urgent_ones_start_first(start, tmp_path):
    """HIGH overtakes NORMAL, and NORMAL overtakes LOW, in their order among themselves."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with start(slots=1) as executor:
        await reaches(await executor.submit(fleet.hold, trail, "first", str(gate)), TaskStatus.RUNNING)
        handles = []
        for priority in (TaskPriority.LOW, TaskPriority.NORMAL, TaskPriority.HIGH):
            submitter = executor.options(priority=priority)
            handles += [await submitter.submit(fleet.note, trail, f"{priority.name}{n}") for n in (1, 2)]
        gate.touch()
        for handle in handles:
            await handle.result(PATIENCE)
        assert traces(trail)[2:] == ["HIGH1", "HIGH2", "NORMAL1", "NORMAL2", "LOW1", "LOW2"]


async def test_a_unique_key_is_taken_once(start, tmp_path):
    """A second submission gets the handle of the first; after its end the key is free."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with start() as executor:
        unique = executor.options(unique_key="report-7")
        first = await unique.submit(fleet.hold, trail, "one", str(gate))
        second = await unique.submit(fleet.hold, trail, "two", str(gate))
        assert second.id == first.id
        gate.touch()
        assert await second.result(PATIENCE) == "one"
        third = await unique.submit(fleet.hold, trail, "three", str(gate))
        assert third.id != first.id
        assert await third.result(PATIENCE) == "three"
        assert executor.statistics().joined == 1


async def test_tasks_of_a_key_take_turns(start, tmp_path):
    """Where a key may have one at a time, no two of them run together, and other keys do not wait."""
    trail = str(tmp_path / "trail")
    async with start() as executor:
        keyed = executor.options(key="tenant-1")
        handles = [await keyed.submit(fleet.sleep, trail, f"mine{number}", 0.05) for number in range(3)]
        handles.append(await executor.options(key="tenant-2").submit(fleet.sleep, trail, "other", 0.0))
        for handle in handles:
            await handle.result(PATIENCE)
        mine = [line for line in traces(trail) if line.startswith("mine")]
        assert mine == [f"mine{number} {what}" for number in range(3) for what in ("begins", "ends")]
        assert traces(trail).index("other ends") < traces(trail).index("mine2 begins")


async def test_what_waits_can_be_cancelled(start, tmp_path):
    """It never starts; a second call finds that it has ended."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with start(slots=1) as executor:
        await reaches(await executor.submit(fleet.hold, trail, "first", str(gate)), TaskStatus.RUNNING)
        handle = await executor.submit(fleet.note, trail, "never")
        assert await handle.cancel() is True
        assert await handle.cancel() is False
        with pytest.raises(TaskCancelledError):
            await handle.result(PATIENCE)
        gate.touch()
        await (await executor.submit(fleet.note, trail, "last")).result(PATIENCE)
        assert "never" not in traces(trail)


async def test_what_runs_can_be_cancelled(start, tmp_path):
    """CANCELLED at once, and the function is stopped."""
    trail = str(tmp_path / "trail")
    async with start() as executor:
        handle = await executor.submit(fleet.hold, trail, "one", str(tmp_path / "gate"))
        await leaves(trail, ["one begins"])
        assert await executor.cancel(handle.id) is True
        assert await handle.status() is TaskStatus.CANCELLED
        await leaves(trail, ["one begins", "one ends"])


async def test_an_unknown_id_is_not_found(start):
    """Never "pending"."""
    async with start() as executor:
        for unknown in ("deadbeef-0123", "01a21867-b145-7c9c-a05a-50022efdca4d", ""):
            for ask in (executor.get, executor.result, executor.cancel):
                with pytest.raises(TaskNotFoundError):
                    await ask(unknown)


async def test_tasks_are_found_by_status_and_tags(start):
    """By all of the tags given; the newest first."""
    async with start() as executor:
        tagged = executor.options(tags={"user": "u1", "size": 3})
        one = await tagged.submit(fleet.add, 1)
        two = await tagged.submit(fleet.add, 2)
        other = await executor.options(tags={"user": "u2"}).submit(fleet.fail, "no")
        for handle in (one, two, other):
            await status_of_end(handle)
        assert {record.id for record in await executor.list(tag={"user": "u1"})} == {one.id, two.id}
        assert {record.id for record in await executor.list(tag={"user": "u1", "size": 4})} == set()
        assert [record.id for record in await executor.list(TaskStatus.FAILED)] == [other.id]
        assert [record.id for record in await executor.list(TaskStatus.SUCCEEDED, limit=1)] == [two.id]
        assert (await executor.get(one.id)).tags == {"user": "u1", "size": 3}


async def test_waiting_never_cancels(start, tmp_path):
    """Neither a wait that times out nor one that is cancelled touches the task."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with start() as executor:
        handle = await executor.submit(fleet.hold, trail, "one", str(gate))
        for timeout in (0, 0.05):
            with pytest.raises(TaskResultTimeoutError):
                await handle.result(timeout)
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.touch()
        assert await handle.result(PATIENCE) == "one"


async def test_progress_is_seen(start, tmp_path):
    """While it runs."""
    async with start() as executor:
        handle = await executor.submit(fleet.advance, str(tmp_path / "gate"))
        async with asyncio.timeout(PATIENCE):
            while await handle.progress() is None:
                await asyncio.sleep(0.01)
        assert await handle.progress() == TaskProgress(0.25, "a quarter")
        (tmp_path / "gate").touch()
        await handle.result(PATIENCE)


async def test_a_task_knows_itself(start):
    """Its id is the one that the submitter holds."""
    async with start() as executor:
        handle = await executor.options(name="me", tags={"a": 1}).submit(fleet.who_am_i)
        assert await handle.result(PATIENCE) == [handle.id, "me", 1, {"a": 1}]


async def test_what_an_engine_cannot_do_it_refuses(start):
    """At the submission, by what its capabilities say."""
    async with start() as executor:
        capabilities = executor.engine.capabilities
        if Capability.RETRY not in capabilities:
            with pytest.raises(UnsupportedOptionError, match="retry"):
                await executor.options(retry=Retry(2)).submit(fleet.add, 1)
        if Capability.ANY_FUNCTION not in capabilities:
            with pytest.raises(TypeError, match="lambda"):
                await executor.submit(lambda: 1)
            with pytest.raises(TypeError, match="JSON"):
                await executor.submit(fleet.add, object())
        if Capability.TRANSACTION not in capabilities:
            with pytest.raises(UnsupportedOptionError, match="connection"):
                await executor.options(connection=object()).submit(fleet.add, 1)
        assert (await executor.list()) == []


async def test_statistics_count_what_was_done(start):
    """Of this process."""
    async with start() as executor:
        for handle in await executor.submit_many(fleet.add, [(number,) for number in range(5)]):
            await handle.result(PATIENCE)
        await status_of_end(await executor.submit(fleet.fail, "no"))
        seen = executor.statistics()
        assert (seen.submitted, seen.succeeded, seen.failed, seen.running) == (6, 5, 1, 0)


async def test_drain_waits_and_takes_no_more(start, tmp_path):
    """What runs ends by itself."""
    trail, gate = str(tmp_path / "trail"), tmp_path / "gate"
    async with start() as executor:
        handle = await executor.submit(fleet.hold, trail, "one", str(gate))
        await reaches(handle, TaskStatus.RUNNING)
        assert await executor.drain(0.05) is False
        gate.touch()
        assert await executor.drain(PATIENCE) is True
        assert await handle.result(PATIENCE) == "one"


def test_executors_of_both_engines_are_one_type():
    """An application can change its mind."""
    assert TaskExecutor.__init__.__kwdefaults__["engine"] is None


def test_the_harness_is_where_workers_find_it():
    """Its functions must be importable by name."""
    assert Path(fleet.__file__).parent.name == "harness"
