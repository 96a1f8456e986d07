"""The tree of errors: what every type says about itself, and what a new type must say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest

from creatormate_resilience import exceptions
from creatormate_resilience.exceptions import (
    ErrorCategory,
    ExternalAPIError,
    NotFoundError,
    OperationTimeoutError,
    ResilienceError,
    Severity,
)

# The canonical codes of google.rpc.Code, without OK.
GRPC_CODES = frozenset(
    {"CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "ABORTED",
     "PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "OUT_OF_RANGE",
     "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)  # fmt: skip


def test_codes_are_unique(all_types):
    """No two types share a code, so a code names one type."""
    assert [code for code, count in Counter(cls.code for cls in all_types).items() if count > 1] == []


def test_every_type_is_described_completely(error_type):
    """A type has a well-formed code and valid HTTP, gRPC, category, severity and retry advice."""
    assert re.fullmatch(r"[A-Z][A-Z0-9_]{1,61}[A-Z0-9]", error_type.code)
    assert 400 <= error_type.status_code < 600
    assert error_type.grpc_code in GRPC_CODES
    assert isinstance(error_type.category, ErrorCategory)
    assert isinstance(error_type.severity, Severity)
    assert isinstance(error_type.default_retryable, bool)
    assert error_type.default_retry_after is None or 0 <= error_type.default_retry_after <= 3600
    assert error_type.default_user_message.endswith(".")
    assert error_type.__doc__


def test_every_type_is_public_and_drawn_in_the_tree(error_type):
    """Each type is in `__all__` and in the picture in the module's docstring, under its parent."""
    assert error_type.__name__ in exceptions.__all__
    lines = (exceptions.__doc__ or "").splitlines()
    drawn = [line for line in lines if re.search(rf"\b{error_type.__name__}$", line)]
    assert len(drawn) == 1
    if error_type is not ResilienceError:
        depth = drawn[0].index(error_type.__name__)
        above = lines[: lines.index(drawn[0])]
        parent = next(line for line in reversed(above) if len(line) - len(line.lstrip("│├└─ ")) < depth)
        assert parent.lstrip("│├└─ ") == error_type.__bases__[0].__name__


def test_the_public_list_is_complete_and_sorted_by_name():
    """`__all__` is a tuple without doubles, and every name in it exists."""
    assert isinstance(exceptions.__all__, tuple)
    assert len(set(exceptions.__all__)) == len(exceptions.__all__)
    assert all(hasattr(exceptions, name) for name in exceptions.__all__)


def test_only_an_upstream_type_may_ask_for_a_retry_after_without_being_retryable(error_type):
    """A type that names a wait says that trying again may help."""
    assert error_type.default_retry_after is None or error_type.default_retryable


def test_an_upstream_refusal_is_never_passed_on_as_ours(error_type):
    """No upstream error answers 401, 403, 404 or 429: the client would drop its session, or be blamed."""
    if issubclass(error_type, ExternalAPIError):
        assert error_type.status_code in {502, 503, 504}


def test_a_timeout_is_a_builtin_timeout_too():
    """`except TimeoutError` catches the family's timeouts, and their text is still ours."""
    with pytest.raises(TimeoutError, match="took too long here"):
        raise OperationTimeoutError("took too long here")


@pytest.mark.parametrize("code", ["", "AB", "lower_case", "1ST", "ENDS_", "A" * 64, "WITH-DASH", 7])
def test_a_malformed_code_is_refused_when_the_class_is_made(code):
    """The class statement fails and says what is accepted."""
    with pytest.raises(TypeError, match=r"MyError.code is .*; accepted are 3 to 63"):
        type("MyError", (NotFoundError,), {"code": code})


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("category", "orders"), ("status_code", 200), ("status_code", "404"), ("status_code", True),
        ("grpc_code", "OK"), ("grpc_code", 5), ("severity", 13), ("default_retryable", 1),
        ("default_retry_after", -1.0), ("default_retry_after", float("nan")), ("default_user_message", None),
    ],
)  # fmt: skip
def test_a_declaration_that_nobody_could_read_is_refused_when_the_class_is_made(attribute, value):
    """The next layer relies on these; a wrong one is a fault of the class, not of the first request that fails."""
    with pytest.raises(TypeError, match=rf"MyError\.{attribute} is .*; accepted"):
        type("MyError", (NotFoundError,), {attribute: value})


def test_a_code_that_is_taken_is_refused_when_the_class_is_made():
    """A second owner of a code would make `from_problem` ambiguous."""
    with pytest.raises(TypeError, match=r"taken by creatormate_resilience\..*ConflictError"):
        type("MyError", (NotFoundError,), {"code": "CONFLICT"})


def test_a_subclass_may_keep_its_parents_code():
    """Only a code of its own must be unique; a class may be made again, as on reload."""
    for _ in range(2):
        cls = type("OrderNotFoundError", (NotFoundError,), {"code": "ORDER_NOT_FOUND_HERE", "__module__": "orders"})
    child = type("CheapOrderNotFoundError", (cls,), {})
    assert child("x").code == "ORDER_NOT_FOUND_HERE"
    assert child("x").status_code == 404


def test_importing_the_errors_loads_no_third_party_package():
    """`exceptions` stands on the standard library alone."""
    program = (
        "import sys; before = set(sys.modules); import creatormate_resilience.exceptions\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(loaded - set(sys.stdlib_module_names) - {'creatormate_resilience'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
