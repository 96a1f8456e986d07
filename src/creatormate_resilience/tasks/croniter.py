"""Schedules in the language of cron, read by croniter."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from importlib.util import find_spec
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from creatormate_resilience.exceptions import MissingDependencyError

_INSTALLED = find_spec("croniter") is not None
if TYPE_CHECKING or _INSTALLED:
    from croniter import croniter

__all__ = ("cron",)


class cron:  # noqa: N801 - used like a function: cron("0 3 * * *")
    """A schedule for `TaskExecutor.repeat`: `cron("0 3 * * *", timezone="Europe/Vienna")`.

    Args:
        expression: Five fields: minute, hour, day of month, month, day of week; or six, with seconds at the end.
        timezone: Its name in the IANA database, or a `tzinfo`. A moment that the change to summer time leaves out comes
            at the change, and one that the change back repeats comes twice; schedule around two and three o'clock in
            UTC where that matters.

    Raises:
        ValueError: The expression or the time zone is not accepted, or never comes.
        MissingDependencyError: croniter is not installed.
    """

    __slots__ = ("expression", "timezone")

    def __init__(self, expression: str, timezone: str | tzinfo = UTC) -> None:
        if not _INSTALLED:
            raise MissingDependencyError("croniter", extra="cron", needed_by="cron()")
        self.expression = expression
        self.timezone = _zone(timezone)
        try:
            self.next(datetime.now(UTC))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(
                f"expression is {expression!r:.200}, which is no cron expression: {error!s:.200}"
            ) from None

    def next(self, after: datetime) -> datetime:
        """The first moment after another one.

        Args:
            after: It knows its time zone.
        """
        moment: datetime = croniter(self.expression, after.astimezone(self.timezone)).get_next(datetime)
        return moment

    def __repr__(self) -> str:
        return f"cron({self.expression!r}, timezone={str(self.timezone)!r})"


def _zone(timezone: str | tzinfo) -> tzinfo:
    if isinstance(timezone, tzinfo):
        return timezone
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, TypeError):
        raise ValueError(f"timezone is {timezone!r:.100}; accepted is a name such as 'Europe/Vienna'") from None
