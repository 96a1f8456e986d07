"""An application's own mappers: what they decide, and what they cannot break."""

from __future__ import annotations

import logging

import pytest

from creatormate_resilience.exceptions import (
    BusinessRuleError,
    ConflictError,
    InternalError,
    NotFoundError,
    OperationTimeoutError,
    error_mapper,
    map_exception,
)
from creatormate_resilience.outcome import Outcome, OutcomeKind, classify


class ShopError(Exception):
    """Of a library that nobody knows here."""


class SoldOutError(ShopError):
    """A special case of it."""


class SlowShopError(TimeoutError):
    """Known to this library by its parent."""


class BrokenShopError(Exception):
    """Its mapper raises."""


class OddShopError(Exception):
    """Its mapper returns something else."""


@error_mapper(ShopError)
def shop_error(exc: ShopError) -> BusinessRuleError:
    return BusinessRuleError(str(exc), public={"shop": "books"})


@error_mapper(SlowShopError, "a.module.that.is.not.There")
def slow(exc: SlowShopError) -> ConflictError | None:
    return ConflictError("slow") if exc.args else None


@error_mapper(f"{BrokenShopError.__module__}.BrokenShopError")
def broken(exc: BrokenShopError) -> NotFoundError:
    raise KeyError("bug")


@error_mapper(OddShopError)
def odd(exc: OddShopError) -> NotFoundError:
    return "no error"  # type: ignore[return-value]


def test_a_mapper_decides_for_its_class_and_subclasses():
    """The error it returns is caused by the exception; everything that asks what it means is told the same."""
    exc = SoldOutError("last one gone")
    error = map_exception(exc)
    assert type(error) is BusinessRuleError
    assert (error.detail, error.__cause__) == ("last one gone", exc)
    assert classify(Outcome(exception=exc)) is OutcomeKind.IGNORED


def test_a_mapper_may_pass():
    """None leaves the exception to this library's own rule for its parent class."""
    assert type(map_exception(SlowShopError("x"))) is ConflictError
    assert type(map_exception(SlowShopError())) is OperationTimeoutError


@pytest.mark.parametrize(
    ("exc", "logged"), [(BrokenShopError(), "shop_error mapper raised"), (OddShopError(), "returned a str")]
)
def test_a_mapper_that_fails_is_logged_and_does_not_hide_the_error(exc, logged, caplog):
    """The exception is then unknown, which it would have been without the mapper."""
    with caplog.at_level(logging.ERROR):
        error = map_exception(exc)
    assert type(error) is InternalError
    assert error.__cause__ is exc
    assert "raised on" in caplog.text or logged in caplog.text
    assert "test_mappers" in caplog.text


@pytest.mark.parametrize("named", [(), ("ShopError",), ("a b.C",), (int,), (7,), (NotFoundError,)])
def test_what_is_no_foreign_exception_is_refused(named):
    """At the decorator, with what is accepted."""
    with pytest.raises(TypeError, match="accepted are"):
        error_mapper(*named)


def test_two_mappers_for_one_exception_are_refused():
    """Which one decides would depend on the order of imports."""
    with pytest.raises(TypeError, match=r"ShopError is mapped by .*shop_error already"):

        @error_mapper(ShopError)
        def another(exc):
            return None


def test_a_module_may_be_loaded_again():
    """The same function under the same name takes its own place."""
    assert error_mapper(ShopError)(shop_error) is shop_error
