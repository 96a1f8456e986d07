"""What may be asked for, and what is said when it may not."""

from __future__ import annotations

from typing import Any

import pytest

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.tasks import HistoryLimits, TaskExecutor, TaskOptions, TaskPriority, task


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("timeout", -1, ValueError),
        ("timeout", 0, ValueError),
        ("timeout", float("nan"), ValueError),
        ("timeout", float("inf"), ValueError),
        ("timeout", "5", TypeError),
        ("timeout", True, TypeError),
        ("delay", -0.1, ValueError),
        ("delay", float("nan"), ValueError),
        ("priority", 2, TypeError),
        ("priority", "HIGH", TypeError),
        ("retry", 3, TypeError),
        ("run_in", "fork", ValueError),
        ("tags", ["a"], TypeError),
        ("tags", {"user": object()}, TypeError),
        ("tags", {1: "a"}, TypeError),
        ("name", "", ValueError),
    ],
)
def test_a_bad_option_is_refused_where_it_is_given(option: str, value: Any, error: type[Exception]) -> None:
    """`options` and `task` name the option and what is accepted."""
    with pytest.raises(error, match=rf"{option}.*accepted"):
        TaskExecutor().options(**{option: value})
    with pytest.raises(error, match=rf"{option}.*accepted"):
        task(**{option: value})


def test_an_unknown_option_is_refused() -> None:
    """An option that does not exist is not taken silently."""
    with pytest.raises(TypeError, match="prioritty"):
        TaskExecutor().options(prioritty=TaskPriority.HIGH)  # type: ignore[call-arg]


@pytest.mark.parametrize("limit", ["max_concurrent", "max_threads", "max_processes", "max_queue"])
@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_bad_limit_is_refused(limit: str, value: Any, error: type[Exception]) -> None:
    """The constructor names the limit and what is accepted."""
    with pytest.raises(error, match=rf"{limit} is .*accepted"):
        TaskExecutor(**{limit: value})


def test_bad_history_limits_are_refused() -> None:
    """So do the limits of the history."""
    with pytest.raises(ValueError, match="max_count"):
        HistoryLimits(max_count=0)
    with pytest.raises(ValueError, match="max_age"):
        HistoryLimits(max_age=-1.0)


def test_tags_cannot_be_changed_from_outside_afterwards() -> None:
    """Options keep a copy of the tags."""
    tags = {"user_id": 7}
    options = TaskOptions(tags=tags)
    tags["user_id"] = 8
    assert options.tags == {"user_id": 7}


async def add(a: int, b: int = 1) -> int:
    return a + b


def test_a_declared_function_is_the_same_function() -> None:
    """`@task` marks; it does not wrap."""
    assert task(timeout=5.0)(add) is add


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": 5}, {"clock": 5}, {"listeners": 5}, {"listeners": (5,)},
        {"engine": object(), "max_concurrent": 5}, {"engine": object(), "listeners": (print,)},
        {"engine": object(), "history": HistoryLimits(max_count=1)}, {"engine": object(), "max_loop_lag": None},
    ],
)  # fmt: skip
def test_what_an_executor_cannot_use_is_refused_where_it_is_made(wrong: dict[str, Any]) -> None:
    """Nothing is ignored: limits beside an engine would be, because that has its own."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        TaskExecutor(**wrong)
