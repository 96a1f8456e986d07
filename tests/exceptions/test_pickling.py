"""Errors cross processes: by pickle, copy and a process pool."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import pickle
import subprocess
import sys
import threading
import types

import pytest

from creatormate_resilience.exceptions import (
    ExternalAPIError,
    ExternalAPIUnavailableError,
    NotFoundError,
    ResilienceError,
)


class OrderNotFoundError(NotFoundError):
    """An application's own error, which cannot be made without its arguments."""

    code = "PICKLED_ORDER_NOT_FOUND"

    def __init__(self, order_id: int, *, shop: str) -> None:
        super().__init__(f"order {order_id} of {shop}", context={"order": order_id}, public={"shop": shop})
        self.order_id = order_id
        self.shop = shop


def fail_in_worker() -> None:
    """What a task in another process does."""
    try:
        raise ConnectionRefusedError("postgresql://app:hunter2@db/x")
    except ConnectionRefusedError as error:
        raise OrderNotFoundError(7, shop="books") from error


def seen(error: ResilienceError) -> tuple[object, ...]:
    """What must survive."""
    return (
        type(error), error.code, str(error), error.detail, error.user_message, error.context, error.public,
        error.errors, error.headers, error.retryable, error.retry_after, error.error_id, error.cause_chain,
        getattr(error, "__notes__", None),
    )  # fmt: skip


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_type_survives_every_protocol(error_type, make_error, protocol):
    """Type, fields, id, notes and causes are the same on the other side."""
    error = make_error(error_type, "why", context={"a": [1]}, errors=[{"pointer": "#"}], headers={"Allow": "GET"})
    error.__cause__ = TimeoutError("slow")
    error.add_note("seen twice")
    assert seen(pickle.loads(pickle.dumps(error, protocol))) == seen(error)


def test_a_subclass_with_required_arguments_survives():
    """Its constructor is not called again, its own attributes are kept."""
    error = OrderNotFoundError(7, shop="books")
    other = pickle.loads(pickle.dumps(error))
    assert seen(other) == seen(error)
    assert (other.order_id, other.shop) == (7, "books")


def test_advice_taken_from_a_foreign_cause_is_kept_without_the_cause():
    """The other side cannot see the cause; what it said of retrying is fixed before the journey."""
    error = ExternalAPIError("OpenAI").with_cause(ExternalAPIUnavailableError("OpenAI", retry_after=9.0))
    other = pickle.loads(pickle.dumps(error))
    assert (other.retryable, other.retry_after) == (True, 9.0)


def test_a_cause_of_the_family_travels_along():
    """So `except` code on the other side can look at it."""
    error = ResilienceError("outer").with_cause(OrderNotFoundError(7, shop="books"))
    other = pickle.loads(pickle.dumps(error))
    assert isinstance(other.__cause__, OrderNotFoundError)
    assert other.__cause__.error_id == error.__cause__.error_id


def test_causes_in_a_circle_travel_along():
    """A cycle of causes does not keep an error from being sent."""
    first, second = ResilienceError("first"), ResilienceError("second")
    first.__cause__, second.__cause__ = second, first
    other = pickle.loads(pickle.dumps(first))
    assert str(other.__cause__) == "second"
    assert other.__cause__.__cause__ is other


def test_what_cannot_be_pickled_is_named_instead():
    """A lock in the context, or as the detail, does not keep an error from being sent."""
    error = ResilienceError(threading.Lock(), context={"lock": threading.Lock()})  # type: ignore[arg-type]
    other = pickle.loads(pickle.dumps(error))
    assert other.context == {"lock": "[lock]"}
    assert "lock" in str(other)


def test_an_attribute_that_cannot_be_pickled_is_named_instead():
    """An application's own attribute, such as a connection, does not keep its error from being sent."""
    error = OrderNotFoundError(7, shop="books")
    error.connection = threading.Lock()  # type: ignore[attr-defined]
    other = pickle.loads(pickle.dumps(error))
    assert (other.connection, other.order_id) == ("[lock]", 7)


def test_a_class_that_the_other_side_does_not_have_becomes_its_parent():
    """A rolling deploy: the worker is newer. Id, text and causes arrive all the same."""
    module = types.ModuleType("newer_release")
    exec(
        "from creatormate_resilience.exceptions import NotFoundError\n"
        "class ReelNotFoundError(NotFoundError):\n    code = 'PICKLED_REEL_NOT_FOUND'\n",
        module.__dict__,
    )
    error = module.ReelNotFoundError("reel 7").with_cause(ValueError("gone"))
    data = pickle.dumps(error)
    module.__dict__.clear()
    program = (
        "import pickle, sys; e = pickle.load(sys.stdin.buffer); print(type(e).__name__, e, e.error_id, *e.cause_chain)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=True)
    assert done.stdout.decode().split() == [
        "NotFoundError",
        "reel",
        "7",
        error.error_id,
        "builtins.ValueError:",
        "gone",
    ]


def test_a_class_made_inside_a_function_survives_in_its_own_process():
    """It cannot be imported, but it is known."""

    class LocalError(NotFoundError):
        code = "PICKLED_LOCAL"

    assert type(pickle.loads(pickle.dumps(LocalError("x")))) is LocalError


def test_secrets_in_the_context_stay_here():
    """What is sent is redacted as a log line would be."""
    assert b"hunter2" not in pickle.dumps(ResilienceError("x", context={"password": "hunter2"}))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_is_the_same_error(error_type, make_error, duplicate):
    """Copying keeps what pickling keeps."""
    error = make_error(error_type, "why", public={"a": 1})
    assert seen(duplicate(error)) == seen(error)


@pytest.mark.slow
def test_an_error_comes_back_from_a_process_pool():
    """The parent sees the worker's error: type, id, and the worker's cause, although the pool puts its own there."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool, pytest.raises(OrderNotFoundError) as caught:
        pool.submit(fail_in_worker).result(timeout=30)
    error = caught.value
    assert (error.order_id, error.shop) == (7, "books")
    assert error.cause_chain[0].startswith("builtins.ConnectionRefusedError")
    assert "hunter2" not in error.cause_chain[0]
