"""Making an error, reading it, printing it."""

from __future__ import annotations

import uuid

import pytest

from creatormate_resilience.exceptions import (
    AuthorizationError,
    CircuitOpenError,
    ExternalAPIError,
    MissingDependencyError,
    NotFoundError,
    ResilienceError,
)


class Unprintable:
    """Fails whoever prints it."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


def test_what_was_given_can_be_read(error_type, make_error):
    """Every option is kept; what was left out has its default."""
    error = make_error(
        error_type,
        "why",
        user_message="Sorry.",
        context={"order": 7},
        public={"limit": 3},
        errors=[{"pointer": "#/age"}],
        headers={"Allow": "GET"},
        retryable=True,
        retry_after=2.5,
        error_id="id-1",
    )
    assert (error.user_message, error.context, error.public) == ("Sorry.", {"order": 7}, {"limit": 3})
    assert (error.errors, error.headers) == (({"pointer": "#/age"},), {"Allow": "GET"})
    assert (error.retryable, error.retry_after, error.error_id) == (True, 2.5, "id-1")
    assert isinstance(str(error), str)


def test_without_arguments_the_class_speaks():
    """The text of an error without detail is the class's message for users."""
    error = NotFoundError()
    assert str(error) == error.user_message == NotFoundError.default_user_message


def test_an_unknown_option_is_refused(error_type, make_error):
    """A misspelt option is an error at the call, not a silent nothing."""
    with pytest.raises(TypeError, match="retry_afer"):
        make_error(error_type, "why", retry_afer=3)


def test_the_id_is_made_once():
    """An error has one id, another error another."""
    error = ResilienceError()
    assert error.error_id == error.error_id != ResilienceError().error_id


@pytest.mark.parametrize("wait", [float("nan"), float("inf"), -float("inf")])
def test_a_wait_that_is_no_time_counts_as_unknown(wait):
    """`retry_after` is computed in error paths; nonsense there must reach no sleep and no header."""
    assert NotFoundError("x", retry_after=wait).retry_after is None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("retry_after", "5"), ("retry_after", True), ("retryable", 1), ("context", 7), ("public", [1]),
        ("errors", "wrong"), ("errors", 3), ("headers", "Allow: GET"), ("user_message", 5), ("error_id", 7),
    ],
)  # fmt: skip
def test_an_option_of_the_wrong_kind_is_refused_by_name(option, value):
    """It would be lost, or break the answer; the message names the option and what is accepted."""
    with pytest.raises(TypeError, match=rf"NotFoundError: {option} is of type .*; accepted"):
        NotFoundError("x", **{option: value})


def test_an_option_may_be_none():
    """As if it had been left out."""
    error = NotFoundError("x", retry_after=None, context=None, public=None, errors=None, headers=None, error_id=None)
    assert (error.retry_after, error.context, error.errors) == (None, {}, ())


def test_an_id_is_a_random_uuid():
    """Version 4 of RFC 9562, so that `urn:uuid:` before it is true."""
    made = uuid.UUID(ResilienceError().error_id)
    assert (made.version, made.variant) == (4, uuid.RFC_4122)


def test_a_group_among_the_causes_is_told_with_what_is_in_it():
    """Three levels and five leaves of it; a hostile tower of groups ends."""
    group = ExceptionGroup("several", [ValueError("a"), ExceptionGroup("inner", [KeyError("b"), OSError("c")])])
    told = ResilienceError("x").with_cause(group).cause_chain[0]
    assert told.startswith("builtins.ExceptionGroup: several (2 sub-exceptions) [builtins.ValueError: a; ")
    assert "builtins.KeyError: 'b'; builtins.OSError: c]" in told
    tower: Exception = ValueError("deep")
    for _ in range(500):
        tower = ExceptionGroup("level", [tower] * 20)
    assert len(ResilienceError("x").with_cause(tower).cause_chain[0]) < 3500


def test_concealing_an_authorization_error_shows_that_there_is_nothing():
    """Clients see the 404 of a thing that does not exist, operators the 403, both the same id."""
    error = AuthorizationError("not the owner", conceal=True, public={"owner": "jane"})
    document = error.to_problem()
    assert (document["status"], document["code"]) == (404, "RESOURCE_NOT_FOUND")
    assert document | {"instance": "", "error_id": ""} == NotFoundError().to_problem() | {
        "instance": "",
        "error_id": "",
    }
    assert document["error_id"] == error.error_id
    assert error.status_code == 403
    assert AuthorizationError("not the owner").to_problem()["status"] == 403


def test_a_concealing_error_can_show_the_error_that_is_raised_where_there_is_nothing():
    """With the same public data and message, or the two could be told apart; the id is its own."""
    missing = NotFoundError("no row", public={"video": "v1"}, user_message="No such video.")
    concealing = AuthorizationError("not yours", conceal=missing)
    shown, told = concealing.to_problem(), missing.to_problem()
    assert shown | {"instance": "", "error_id": ""} == told | {"instance": "", "error_id": ""}
    assert shown["error_id"] == concealing.error_id != missing.error_id
    with pytest.raises(TypeError, match="conceal is 'no'; accepted"):
        AuthorizationError("x", conceal="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("error_id", ["", "a\nb", "x" * 129, "<script>"])
def test_an_id_that_could_break_a_line_is_refused(error_id):
    """It stands in logs and documents."""
    with pytest.raises(ValueError, match=r"error_id is .*; accepted"):
        NotFoundError(error_id=error_id)


def test_a_negative_wait_is_none_at_all():
    """A moment that has passed means: now."""
    assert NotFoundError("x", retry_after=-3.0).retry_after == 0.0


def test_an_error_can_be_printed_whatever_its_detail_is():
    """`str` and `repr` of an error never raise, as they run in the error path."""
    error = ExternalAPIError("OpenAI", Unprintable())  # type: ignore[arg-type]
    assert "OpenAI" in str(error)
    assert "UPSTREAM_ERROR" in repr(error)


def test_a_repr_shows_no_secret():
    """The repr is redacted, as it lands in logs."""
    assert "hunter2" not in repr(ResilienceError("postgresql://app:hunter2@db/x refused"))


def test_a_circuit_open_error_tells_who_and_when():
    """The text names the breaker, the wait and the last failure; `retry_after` is always a number."""
    error = CircuitOpenError("openai", 12.0, "TimeoutError: read")
    assert "openai" in str(error)
    assert "12 s" in str(error)
    assert "TimeoutError: read" in str(error)
    assert isinstance(CircuitOpenError("openai").retry_after, float)


def test_a_missing_dependency_says_what_to_run():
    """The message is the command that helps."""
    error = MissingDependencyError("redis", extra="redis", needed_by="the cache")
    assert 'pip install "creatormate-resilience[redis]"' in str(error)


def test_the_cause_chain_is_redacted_and_ends():
    """Causes are told by dotted type and redacted message; a cycle and an unprintable cause end no report."""
    first, second, third = ValueError("redis://:hunter2@h/0"), KeyError("k"), Exception(Unprintable())
    first.__cause__, second.__cause__, third.__cause__ = second, third, first
    chain = ResilienceError("x").with_cause(first).cause_chain
    kinds = [line.partition(":")[0] for line in chain]
    assert kinds == ["builtins.ValueError", "builtins.KeyError", "builtins.Exception"]
    assert "hunter2" not in "".join(chain)
    assert "__str__ raised" in chain[2]


def test_the_cause_chain_is_bounded():
    """Of a thousand causes ten are told."""
    error = cause = ResilienceError("x")
    for number in range(1000):
        cause.__cause__ = ValueError(str(number))
        cause = cause.__cause__
    assert len(error.cause_chain) == 10


def test_a_suppressed_context_is_not_told():
    """`raise ... from None` hides what was being handled."""
    with pytest.raises(ResilienceError) as caught:
        try:
            raise ValueError("hidden")
        except ValueError:
            raise ResilienceError("x") from None
    assert caught.value.cause_chain == ()


def test_a_falsy_exception_is_a_cause_too():
    """An exception class with a length of nought is still what happened."""

    class EmptyError(Exception):
        def __len__(self) -> int:
            return 0

    assert len(ResilienceError("x").with_cause(EmptyError()).cause_chain) == 1
