"""Is this process alive, may it get traffic, has it started: checks with a bound on time, run once for many askers."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from creatormate_resilience.clock import Clock, SystemClock
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.log import get_logger
from creatormate_resilience.redaction import redact

__all__ = ("CheckResult", "HealthCheck", "HealthRegistry", "HealthReport", "HealthStatus")

_log = get_logger("health")


class HealthStatus(enum.StrEnum):
    """The words of the health+json draft."""

    PASS = "pass"  # noqa: S105 - a status, no password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        status: PASS, WARN (works, worse than it should) or FAIL.
        details: Plain data for operators, shown only where details are asked for; redacted there.
    """

    status: HealthStatus
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", HealthStatus(self.status))
        if not isinstance(self.details, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"details is {type(self.details).__name__}; accepted is a mapping")


HealthCheck: TypeAlias = Callable[[], Awaitable[CheckResult]]


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The answer to one question about the whole process."""

    status: HealthStatus
    checks: Mapping[str, CheckResult] = field(default_factory=dict[str, CheckResult])

    @property
    def status_code(self) -> int:
        """For HTTP: 200, or 503 where the status is FAIL."""
        return 503 if self.status is HealthStatus.FAIL else 200

    def to_document(self, *, details: bool = False) -> dict[str, Any]:
        """The report as an `application/health+json` document.

        Args:
            details: Whether to show what the checks found besides their status.

        Returns:
            JSON-safe data without secrets.
        """
        checks: dict[str, list[dict[str, Any]]] = {}
        for name, result in self.checks.items():
            shown: dict[str, Any] = redact(dict(result.details)) if details else {}
            shown["status"] = result.status.value
            checks[name] = [shown]
        return {"status": self.status.value} | ({"checks": checks} if checks else {})


@dataclass(slots=True, eq=False)
class _Registered:
    check: HealthCheck
    critical: bool
    timeout: float
    cache_ttl: float
    result: CheckResult | None = None
    expires: float = 0.0
    running: asyncio.Task[CheckResult] | None = field(default=None, repr=False)


class HealthRegistry:
    """Collects the checks of a process and answers the three questions of an orchestrator.

    Args:
        clock: For the time results are kept.

    Liveness never depends on anything outside the process, or an outage of the database would restart every instance.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._checks: dict[str, _Registered] = {}
        self.started = False
        """Whether start-up has finished; `Resilience` sets it."""
        self.draining = False
        """Whether the process is stopping and wants no new traffic; `Resilience` sets it."""

    def register(
        self, name: str, check: HealthCheck, *, critical: bool = True, timeout: float = 1.0, cache_ttl: float = 2.0
    ) -> None:
        """Add a check.

        Args:
            name: Shown in reports.
            check: An async function that returns a `CheckResult`; what it raises counts as FAIL.
            critical: Whether its failure makes the process not ready; otherwise it makes a warning.
            timeout: Seconds it may take; longer counts as FAIL.
            cache_ttl: Seconds its result is kept, so that probes cannot load what they probe.

        Raises:
            ConfigurationError: The name is taken, or a time is out of range.
        """
        if name in self._checks:
            raise ConfigurationError(f"health check {name!r} is registered already; give this one another name")
        if not 0 < timeout <= 60 or not 0 <= cache_ttl <= 3600:
            raise ConfigurationError("timeout and cache_ttl of a health check: accepted are up to 60 and 3600 seconds")
        self._checks[name] = _Registered(check, critical, timeout, cache_ttl)

    def live(self) -> HealthReport:
        """Whether the process should go on living. That this answers is the answer."""
        return HealthReport(HealthStatus.PASS)

    def startup(self) -> HealthReport:
        """Whether start-up has finished."""
        return HealthReport(HealthStatus.PASS if self.started else HealthStatus.FAIL)

    async def ready(self) -> HealthReport:
        """Whether the process should get traffic: FAIL where a critical check fails or the process is stopping."""
        names = list(self._checks)
        results = await asyncio.gather(*(self._result(self._checks[name]) for name in names))
        checks = dict(zip(names, results, strict=True))
        status = HealthStatus.PASS
        for name, result in checks.items():
            if result.status is HealthStatus.FAIL and self._checks[name].critical:
                status = HealthStatus.FAIL
            elif result.status is not HealthStatus.PASS and status is HealthStatus.PASS:
                status = HealthStatus.WARN
        return HealthReport(HealthStatus.FAIL if self.draining or not self.started else status, checks)

    async def _result(self, registered: _Registered) -> CheckResult:
        if registered.result is not None and self._clock.monotonic() < registered.expires:
            return registered.result
        running = registered.running
        if running is None or running.done() or running.get_loop() is not asyncio.get_running_loop():
            running = registered.running = asyncio.create_task(self._run(registered))
        return await asyncio.shield(running)  # one asker who leaves must not end it for the others

    async def _run(self, registered: _Registered) -> CheckResult:
        try:
            async with asyncio.timeout(registered.timeout):
                result = _checked(await registered.check())
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            result = _failed(error)  # something inside the check was cancelled, not the check
        except Exception as error:  # noqa: BLE001 - a check that raises is a check that fails, and is logged
            result = _failed(error)
        registered.result = result
        registered.expires = self._clock.monotonic() + registered.cache_ttl
        return result

    async def aclose(self) -> None:
        """End the checks that are still running."""
        here = asyncio.get_running_loop()
        tasks = (check.running for check in self._checks.values())
        running = [task for task in tasks if task is not None and task.get_loop() is here]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def __repr__(self) -> str:
        return f"<HealthRegistry {', '.join(self._checks) or 'empty'}{' draining' if self.draining else ''}>"


def _checked(result: object) -> CheckResult:
    if not isinstance(result, CheckResult):
        raise TypeError(f"a health check returned {type(result).__name__}; accepted is a CheckResult")
    return result


def _failed(error: BaseException) -> CheckResult:
    _log.warning("a health check failed", error=type(error).__name__, reason=str(error))
    return CheckResult(HealthStatus.FAIL, {"error": type(error).__name__})
