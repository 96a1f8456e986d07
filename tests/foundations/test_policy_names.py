"""What an error calls a function."""

from __future__ import annotations

import functools

import pytest

from creatormate_resilience.policies import Retry


async def log_in(user: str, password: str) -> None:
    """Somebody's."""


def test_an_error_names_a_partial_by_its_function_and_shows_no_argument() -> None:
    """The repr of a partial holds its arguments, which may be secrets."""
    with pytest.raises(TypeError, match="_not_async returned an awaitable") as caught:
        Retry(2).call(functools.partial(_not_async, "ann", "hunter2"))
    assert "hunter2" not in str(caught.value)


def _not_async(user: str, password: str) -> object:
    return log_in(user, password)
