# ruff: noqa: N818 - the classes are named for what is odd about them
"""Errors of this library's family, well-behaved and not, as endpoints raise them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from tests.integrations.hostile.failures_foreign import LiesAboutItsClass, PrintingExits, Unprintable
from tests.integrations.hostile.marks import Words
from tests.integrations.hostile.rows import Failure

from creatormate_resilience.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConflictError,
    ExternalAPIError,
    NotFoundError,
    RateLimitExceededError,
    ResilienceError,
    ServiceUnavailableError,
)

NOT_FOUND = "RESOURCE_NOT_FOUND"


class RaisingMapping(Mapping[str, Any]):
    """Has a length and nothing else."""

    def __getitem__(self, key: str) -> NoReturn:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no keys")

    def __len__(self) -> int:
        return 3


def _raising(name: str) -> property:
    def get(error: Any) -> NoReturn:
        raise RuntimeError(f"{name} {error}")

    return property(get)


class OddCode:
    code = _raising("code")


class BadCode(OddCode, ResilienceError):
    """In a class of the family itself such an attribute is refused; from beside it comes in."""


class OddSeverity:
    severity = _raising("severity")


class BadSeverity(OddSeverity, ResilienceError): ...


class StatusFromBeside:
    status_code = _raising("status")


class BadStatus(StatusFromBeside, ResilienceError): ...


class BadId(ResilienceError):
    @property
    def error_id(self) -> str:
        raise RuntimeError(str(self))


class OddId(ResilienceError):
    @property
    def error_id(self) -> Any:
        return ["a\r\nb", math.nan]


class BadAdvice(ResilienceError):
    @property
    def retryable(self) -> bool:
        raise RuntimeError(str(self))


class BadCauses(ResilienceError):
    @property
    def cause_chain(self) -> tuple[str, ...]:
        raise RuntimeError(str(self))


class BadOutside(ResilienceError):
    def for_outside(self) -> ResilienceError:
        raise RuntimeError(str(self))


class NothingOutside(ResilienceError):
    def for_outside(self) -> Any:
        return None


class BadDocument(ResilienceError):
    def to_problem(self, **options: Any) -> Any:
        return {"status": math.nan, "detail": object()}


ONCE = ConflictError("the same object, again and again")


class NoConstructor(ResilienceError):
    def __init__(self, detail: str) -> None:
        Exception.__init__(self, detail)


class OddStatus(ResilienceError):
    def __init__(self, detail: str, status: Any) -> None:
        super().__init__(detail)
        self.status_code = status


def _with(error: ResilienceError, **attributes: Any) -> ResilienceError:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def _deep(depth: int, inner: object) -> dict[str, object]:
    value: dict[str, object] = {"password": inner}
    for _ in range(depth):
        value = {"a": value}
    return value


def _circle(inner: object) -> dict[str, object]:
    circle: dict[str, object] = {"token": inner}
    circle["self"] = [circle]
    return circle


def _hostile_data(words: Words) -> dict[str, Any]:
    """What context and public may hold; secrets only where no client and no log should see them."""
    return {
        "nan": math.nan, "inf": -math.inf, "huge": 10**5000, "lone": "\ud800", "control": "\x00\r\n\x1b[2J",
        "bytes": words.secret.encode(), "object": object(), "type": int, "set": {1, 2},
        "unprintable": Unprintable(words.dsn), "exits": PrintingExits(words.dsn),
        "liar": LiesAboutItsClass(words.dsn), "mapping": RaisingMapping(), "deep": _deep(5000, words.secret),
        "circle": _circle(words.secret), 7: "number", ("a", "b"): "tuple", None: None, b"\xff": "bytes",
    }  # fmt: skip


ORDINARY = (
    Failure("family", lambda w: NotFoundError(w.all, context={"dsn": w.dsn, "note": w.internal}), 404, NOT_FOUND),
    Failure("upstream", lambda w: ExternalAPIError("OpenAI", w.all), 502, "UPSTREAM_ERROR"),
    Failure("sign-in", lambda w: AuthenticationError(w.all), 401, "UNAUTHENTICATED"),
    Failure("concealed", lambda w: AuthorizationError(w.internal, conceal=True), 404, NOT_FOUND),
    *(Failure(f"the-same-error-{count}", lambda _: ONCE, 409, "CONFLICT") for count in range(3)),
    Failure("limit", lambda w: RateLimitExceededError(w.all, retry_after=0.2), 429, "RATE_LIMIT_EXCEEDED"),
)

DETAILS = (
    Failure("detail-is-bytes", lambda w: ResilienceError(w.dsn.encode()), code="RESILIENCE_ERROR"),  # type: ignore[arg-type]
    Failure("detail-is-a-dict", lambda w: ResilienceError({"password": w.secret}), code="RESILIENCE_ERROR"),  # type: ignore[arg-type]
    Failure("detail-raises", lambda w: ResilienceError(Unprintable(w.dsn)), code="RESILIENCE_ERROR"),  # type: ignore[arg-type]
    Failure("detail-exits", lambda w: ResilienceError(PrintingExits(w.dsn)), code="RESILIENCE_ERROR"),  # type: ignore[arg-type]
    Failure("detail-of-ten-megabytes", lambda w: NotFoundError((w.dsn + " ") * 200_000), 404, NOT_FOUND),
    Failure("message-is-an-object", lambda w: NotFoundError(user_message=Unprintable(w.dsn))),  # type: ignore[arg-type]
    Failure("message-of-surrogates", lambda _: NotFoundError(user_message="\ud800\x00\u2028"), 404, NOT_FOUND),
    Failure("message-of-a-megabyte", lambda _: NotFoundError(user_message="\U0001f600" * 1_000_000), 404, NOT_FOUND),
)

DATA = (
    Failure("hostile-context", lambda w: NotFoundError(context=_hostile_data(w)), 404, NOT_FOUND),
    Failure("hostile-public", lambda w: NotFoundError(public=_hostile_data(w) | {"deep": 1, "circle": 1}), 404),
    Failure("circular-public", lambda _: NotFoundError(public=_circle("x")), 404, NOT_FOUND),
    Failure("deep-public", lambda _: NotFoundError(public=_deep(5000, "x")), 404, NOT_FOUND),
    Failure("raising-context", lambda _: NotFoundError(context=RaisingMapping()), 500),
    Failure("raising-errors", lambda _: NotFoundError(errors=[RaisingMapping()]), 404, NOT_FOUND),
    Failure("hostile-errors", lambda w: NotFoundError(errors=[_hostile_data(w) | {"deep": 1, "circle": 1}]), 404),
    Failure("huge-context", lambda w: NotFoundError(context={f"k{n}": w.dsn * 100 for n in range(500)}), 404),
    Failure("huge-public", lambda _: NotFoundError(public={f"k{n}": "x" * 10_000 for n in range(5000)}), 404),
    Failure("huge-errors", lambda _: NotFoundError(errors=[{"detail": "x" * 9000}] * 1000), 404, NOT_FOUND),
    Failure("secret-keys", lambda w: NotFoundError(context={
        "user_password": w.secret, "X-Api-Key": w.secret,
        "nested": [{"session id": w.secret, "list": [{"otp": w.secret}]}],
        "url": w.dsn, "header": w.bearer, "text": w.all, w.key: 1, w.dsn: 2,
    }), 404, NOT_FOUND),
)  # fmt: skip

HEADERS = (
    Failure("header-crlf", lambda w: NotFoundError(headers={"x-a": f"a\r\nSet-Cookie: s={w.secret}"}), 404, NOT_FOUND),
    Failure("header-nul", lambda w: NotFoundError(headers={"x-a": f"{w.secret}\x00"}), 404, NOT_FOUND),
    Failure("header-euro", lambda w: NotFoundError(headers={"x-a": f"\u20ac{w.secret}"}), 404, NOT_FOUND),
    Failure("header-name", lambda w: NotFoundError(headers={f"x a\r\n{w.secret}:": "a", "": "b"}), 404, NOT_FOUND),
    Failure("header-framing", lambda _: NotFoundError(headers={
        "Content-Length": "3", "transfer-encoding": "chunked", "Connection": "close", "content-type": "text/html",
    }), 404, NOT_FOUND),
    Failure("header-values", lambda w: NotFoundError(headers={"a": 1, "b": b"x", "c": None, 7: "x"}), 404),  # type: ignore[dict-item]
    Failure("header-spaces", lambda _: NotFoundError(headers={"x-a": " a ", "x-b": "\t", "x-c": " ", "x-d": ""}), 404),
    Failure("header-latin", lambda _: NotFoundError(headers={"x-a": "\xe9t\xe9 \xff"}), 404, NOT_FOUND),
    Failure("header-retry-after", lambda _: ServiceUnavailableError(headers={"Retry-After": "-1\n"}), 503),
    Failure("header-encoding", lambda _: NotFoundError(headers={"content-encoding": "gzip", "trailer": "x"}), 404),
    Failure("header-request-id", lambda _: NotFoundError(headers={"X-Request-ID": "chosen-by-an-error"}), 404),
    Failure("headers-are-a-list", lambda w: _with(NotFoundError(), headers=[("x-a", w.internal)]), 404),
)  # fmt: skip

TIMES = tuple(
    Failure(f"retry-after-{name}", lambda _, wait=wait: ServiceUnavailableError(retry_after=wait), 503)
    for name, wait in (
        ("nan", math.nan), ("inf", math.inf), ("1e309", 1e309), ("minus-inf", -math.inf), ("negative", -5),
        ("huge", 10**400), ("tiny", 5e-324),
    )
)  # fmt: skip

CLASSES = (
    Failure("code-raises", lambda w: BadCode(w.all)),
    Failure("status-raises", lambda w: BadStatus(w.all)),
    Failure("severity-raises", lambda w: BadSeverity(w.all)),
    Failure("id-raises", lambda w: BadId(w.all)),
    Failure("id-is-a-list", lambda w: OddId(w.all)),
    Failure("advice-raises", lambda w: BadAdvice(w.all)),
    Failure("causes-raise", lambda w: BadCauses(w.all)),
    Failure("outside-raises", lambda w: BadOutside(w.all)),
    Failure("outside-is-nothing", lambda w: NothingOutside(w.all)),
    Failure("document-is-none", lambda w: BadDocument(w.all)),
    Failure("constructor-was-not-called", lambda w: NoConstructor(w.all)),
    *(
        Failure(f"status-{status!r}", lambda w, status=status: OddStatus(w.all, status))
        for status in (0, 99, 100, 199, 200, 204, 304, 600, 1000, -1, 10**30, "404", None, 404.0, True)
    ),
)

FAMILY = (*ORDINARY, *DETAILS, *DATA, *HEADERS, *TIMES, *CLASSES)
