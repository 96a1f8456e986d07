"""Health: three questions, bounded checks, one run for many askers."""

from __future__ import annotations

import asyncio

import pytest

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.health import CheckResult, HealthRegistry, HealthStatus
from creatormate_resilience.testing import FakeClock

pytestmark = pytest.mark.anyio


class Check:
    """A check that counts its runs and answers what it is told."""

    def __init__(self, status: HealthStatus = HealthStatus.PASS) -> None:
        self.status = status
        self.runs = 0
        self.gate: asyncio.Event | None = None

    async def __call__(self) -> CheckResult:
        self.runs += 1
        if self.gate is not None:
            await self.gate.wait()
        return CheckResult(self.status, {"url": "redis://u:hunter2@h"})


def started(clock: FakeClock | None = None) -> HealthRegistry:
    registry = HealthRegistry(clock=clock or FakeClock())
    registry.started = True
    return registry


async def test_a_failing_critical_check_makes_the_process_not_ready_but_keeps_it_alive():
    """Readiness follows what the process needs, liveness never does."""
    registry = started()
    registry.register("database", Check(HealthStatus.FAIL), critical=True)
    report = await registry.ready()
    assert (report.status, report.status_code) == (HealthStatus.FAIL, 503)
    assert registry.live().status is HealthStatus.PASS


async def test_a_failing_check_that_is_not_critical_is_a_warning():
    """A process that can answer without its cache gets traffic."""
    registry = started()
    registry.register("cache", Check(HealthStatus.FAIL), critical=False)
    report = await registry.ready()
    assert (report.status, report.status_code) == (HealthStatus.WARN, 200)


async def test_a_process_that_starts_or_drains_is_not_ready():
    """No traffic before start-up has finished, none while stopping."""
    registry = HealthRegistry()
    assert (await registry.ready()).status is HealthStatus.FAIL
    assert registry.startup().status is HealthStatus.FAIL
    registry.started = True
    assert (await registry.ready()).status is HealthStatus.PASS
    registry.draining = True
    assert (await registry.ready()).status is HealthStatus.FAIL


async def test_many_askers_share_one_run_and_its_result_is_kept_for_a_while():
    """Probes cannot load what they probe."""
    clock, check = FakeClock(), Check()
    registry = started(clock)
    registry.register("database", check, cache_ttl=2.0)
    await asyncio.gather(*(registry.ready() for _ in range(50)))
    assert check.runs == 1
    clock.advance(1.9)
    await registry.ready()
    assert check.runs == 1
    clock.advance(0.2)
    await registry.ready()
    assert check.runs == 2


async def test_an_asker_who_leaves_does_not_end_the_check_for_the_others():
    """A cancelled probe takes nobody with it."""
    check = Check()
    check.gate = asyncio.Event()
    registry = started()
    registry.register("database", check)
    leaver = asyncio.create_task(registry.ready())
    stayer = asyncio.create_task(registry.ready())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaver.cancel()
    check.gate.set()
    assert (await stayer).status is HealthStatus.PASS
    assert check.runs == 1


async def test_a_check_that_raises_or_hangs_fails_and_shows_only_the_name_of_its_error():
    """Reports carry no exception text."""
    registry = started()

    async def raises() -> CheckResult:
        raise RuntimeError("postgresql://u:hunter2@h")

    async def hangs() -> CheckResult:
        await asyncio.sleep(3600)
        raise AssertionError

    registry.register("raises", raises)
    registry.register("hangs", hangs, timeout=0.01)
    document = (await registry.ready()).to_document(details=True)
    assert document["checks"]["raises"] == [{"error": "RuntimeError", "status": "fail"}]
    assert document["checks"]["hangs"] == [{"error": "TimeoutError", "status": "fail"}]


async def test_details_are_shown_only_on_request_and_redacted():
    """By default a document shows names and states only."""
    registry = started()
    registry.register("cache", Check())
    report = await registry.ready()
    assert report.to_document() == {"status": "pass", "checks": {"cache": [{"status": "pass"}]}}
    assert "hunter2" not in str(report.to_document(details=True))


async def test_closing_ends_checks_that_still_run():
    """Nothing outlives the registry."""
    check = Check()
    check.gate = asyncio.Event()
    registry = started()
    registry.register("database", check, timeout=60)
    asker = asyncio.create_task(registry.ready())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await registry.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asker


async def test_a_name_is_registered_once_and_times_are_checked():
    """A second check of one name would hide the first."""
    registry = started()
    registry.register("database", Check())
    with pytest.raises(ConfigurationError, match="'database' is registered already"):
        registry.register("database", Check())
    with pytest.raises(ConfigurationError, match="timeout and cache_ttl"):
        registry.register("cache", Check(), timeout=0)


async def test_a_check_that_answers_nonsense_or_is_cancelled_inside_has_failed():
    """Readiness answers whatever a check does."""
    registry = started()

    async def nonsense() -> CheckResult:
        return None  # type: ignore[return-value]

    async def cancelled_inside() -> CheckResult:
        raise asyncio.CancelledError

    registry.register("nonsense", nonsense, critical=False)
    registry.register("cancelled", cancelled_inside, critical=False)
    report = await registry.ready()
    assert report.status is HealthStatus.WARN
    assert {result.status for result in report.checks.values()} == {HealthStatus.FAIL}
    with pytest.raises(ValueError, match="junk"):
        CheckResult("junk")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="details is int"):
        CheckResult(HealthStatus.PASS, 3)  # type: ignore[arg-type]


async def test_asking_from_another_event_loop_breaks_nothing():
    """A probe thread with a loop of its own gets an answer, and closing here still works."""
    registry = started()
    registry.register("database", Check(), cache_ttl=0)
    report = await asyncio.to_thread(lambda: asyncio.run(registry.ready()))
    assert report.status is HealthStatus.PASS
    assert (await registry.ready()).status is HealthStatus.PASS
    await registry.aclose()
