# ruff: noqa: N818 - the classes are named for what is odd about them
"""Exceptions of the standard library, of packages and of hostile classes, as endpoints raise them.

`KeyboardInterrupt` and `SystemExit` are not among them: raised by an endpoint they end the server, as they should.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

import pydantic
import sqlalchemy.exc
from tests.integrations.hostile.marks import Words
from tests.integrations.hostile.rows import Failure


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError(self.args[0])

    __repr__ = __str__


class PrintingExits(Exception):
    def __str__(self) -> str:
        raise SystemExit(self.args[0])

    __repr__ = __str__


class PrintsNoText(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307


class OwnText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __format__ = __str__  # type: ignore[assignment]
    partition = encode = splitlines = __getitem__ = None  # type: ignore[assignment]


class PrintsOwnText(Exception):
    def __str__(self) -> str:
        return OwnText(self.args[0])


class AttributesRaise(Exception):
    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(f"{name} {self.args[0]}")


class TakesNoAttributes(Exception):
    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise RuntimeError(f"{name} {self.args[0]}")


class LiesAboutItsClass(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("no class")


class NobodysModule(Exception):
    __module__ = None  # type: ignore[assignment]


class EqualToNothing(Exception):
    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError(self.args[0])

    __hash__ = None  # type: ignore[assignment]


class NotesRaise(Exception):
    @property
    def __notes__(self) -> NoReturn:
        raise RuntimeError(self.args[0])


class Account(pydantic.BaseModel):
    number: int


ONCE = ValueError("the same object, again and again")


def _caused(words: Words) -> BaseException:
    return _raised(RuntimeError("outer"), RuntimeError(words.dsn))


def _raised(exc: BaseException, cause: BaseException) -> BaseException:
    exc.__cause__ = cause
    return exc


def _cycle(words: Words) -> BaseException:
    first, second = RuntimeError(words.dsn), RuntimeError(words.jwt)
    first.__cause__, second.__cause__ = second, first
    return first


def _long_chain(words: Words, length: int = 10_000) -> BaseException:
    exc: BaseException = RuntimeError(words.dsn)
    for number in range(length):
        exc = _raised(RuntimeError(f"{number} {words.bearer}"), exc)
    return exc


def _long_contexts(words: Words) -> BaseException:
    exc = RuntimeError(words.dsn)
    for _ in range(10_000):
        outer = RuntimeError(words.bearer)
        outer.__context__ = exc
        exc = outer
    return exc


def _noted(exc: BaseException, *notes: Any) -> BaseException:
    exc.__notes__ = list(notes)
    return exc


def _recursion(words: Words) -> NoReturn:
    _recursion(words)
    raise AssertionError


def _deep_group(words: Words) -> BaseException:
    exc: Exception = RuntimeError(words.dsn)
    for _ in range(500):
        exc = ExceptionGroup(words.bearer, [exc, ValueError(words.jwt)])
    return exc


def _validated(words: Words) -> BaseException:
    Account.model_validate({"number": f"redis://:{words.secret}@cache.internal/0?" + "a" * 60})
    raise AssertionError


def _integrity_error(words: Words) -> BaseException:
    return sqlalchemy.exc.IntegrityError(
        f"INSERT INTO users (name, password) VALUES (%(name)s, '{words.internal}')",
        {"name": words.internal, "password": words.secret},
        Exception(f'duplicate key value violates "users_pkey" DETAIL: Key (dsn)=({words.dsn}) exists'),
    )


_NOT_OURS = "a cancellation is never answered by us; the server answers"

TEXTS = (
    Failure("plain-text", lambda w: RuntimeError(w.internal)),
    Failure("dsn", lambda w: RuntimeError(w.dsn)),
    Failure("dsn-in-repr-of-bytes", lambda w: RuntimeError(w.dsn.encode())),
    Failure("jwt", lambda w: KeyError(w.jwt)),
    Failure("bearer", lambda w: ValueError(f"upstream said 401 to {w.bearer}")),
    Failure("basic", lambda w: ValueError(f"Authorization: Basic {w.secret}")),
    Failure("api-key", lambda w: LookupError(f"key {w.key} is unknown")),
    Failure("pem", lambda w: RuntimeError(w.pem)),
    Failure("query", lambda w: RuntimeError(f"GET https://api.example/v1?a=1&api_key={w.secret}&b=2")),
    Failure("cookie", lambda w: RuntimeError(f"Cookie: session={w.secret}; Path=/")),
    Failure("json", lambda w: RuntimeError(json.dumps({"user": "u", "password": w.secret, "n": [1]}))),
    Failure("json-twice", lambda w: RuntimeError(json.dumps(json.dumps({"password": w.secret})))),
    Failure("dict", lambda w: RuntimeError({"user_password": w.secret, "api-key": w.secret})),
    Failure("nested-args", lambda w: RuntimeError([{"auth": [{"token": w.secret}]}], (w.jwt,))),
    Failure("all-forms", lambda w: RuntimeError(w.all)),
    Failure("many-lines", lambda w: RuntimeError(f"a\n ERROR forged\r\n{w.dsn}\x85\u2028\x1b[31m\u202e\x00")),
    Failure("surrogates", lambda w: RuntimeError(f"\ud800{w.dsn}\udfff")),
    Failure("secret-across-the-cut", lambda w: RuntimeError("a" * 1990 + " " + w.dsn)),
    Failure("secret-across-the-other-cut", lambda w: RuntimeError("a" * 480 + " " + w.dsn)),
    Failure("assertion", lambda w: AssertionError(w.dsn)),
    Failure("notes", lambda w: _noted(RuntimeError("x"), w.dsn, w.pem, 7, Unprintable(w.dsn), *[w.jwt] * 2000)),
    Failure("sql-parameters", _integrity_error),
    Failure("pydantic-cuts-the-input", _validated),
    Failure("os-error", lambda w: OSError(5, w.dsn), 503, "SERVICE_UNAVAILABLE"),
    Failure("permission", lambda w: PermissionError(13, f"/etc/{w.internal}", f"/run/{w.internal}")),
    Failure("connection", lambda w: ConnectionRefusedError(111, w.dsn), 503, "UPSTREAM_UNAVAILABLE"),
    Failure("timeout", lambda w: TimeoutError(w.all), 504, "OPERATION_TIMEOUT"),
    Failure("unicode", lambda w: UnicodeDecodeError("utf-8", w.dsn.encode(), 0, 1, w.jwt)),
    Failure("json-decode", lambda w: json.JSONDecodeError(w.jwt, w.dsn, 3), 502, "UPSTREAM_BAD_RESPONSE"),
    Failure("cause", _caused),
    Failure("ten-megabytes", lambda w: RuntimeError((w.dsn + " ") * 200_000)),
    Failure("ten-megabytes-without-a-break", lambda w: RuntimeError("a" * 10_000_000 + w.dsn)),
    Failure("thousand-args", lambda w: RuntimeError(*[w.dsn] * 1000)),
)

CLASSES = (
    Failure("str-raises", lambda w: Unprintable(w.dsn)),
    Failure("str-exits", lambda w: PrintingExits(w.dsn)),
    Failure("str-gives-a-number", lambda w: PrintsNoText(w.dsn)),
    Failure("str-gives-a-hostile-str", lambda w: PrintsOwnText(w.dsn)),
    Failure("args-raise-when-printed", lambda w: RuntimeError(Unprintable(w.dsn))),
    Failure("args-exit-when-printed", lambda w: RuntimeError(PrintingExits(w.dsn))),
    Failure("attributes-raise", lambda w: AttributesRaise(w.dsn)),
    Failure("takes-no-attributes", lambda w: TakesNoAttributes(w.dsn)),
    Failure("lies-about-its-class", lambda w: LiesAboutItsClass(w.dsn)),
    Failure("nobodys-module", lambda w: NobodysModule(w.dsn)),
    Failure("equal-to-nothing", lambda w: EqualToNothing(w.dsn)),
    Failure("notes-raise", lambda w: NotesRaise(w.dsn)),
    Failure("name-with-a-line-break", lambda w: type("Odd\r\nError: \x1b[31m", (Exception,), {})(w.dsn)),
    Failure("name-of-a-megabyte", lambda w: type("E" * 1_000_000, (Exception,), {})(w.dsn)),
    Failure("the-same-object", lambda w: ONCE),
    Failure("the-same-object-again", lambda w: ONCE),
    Failure("the-same-object-once-more", lambda w: ONCE),
)

CHAINS = (
    Failure("cycle", _cycle),
    Failure("ten-thousand-causes", _long_chain),
    Failure("ten-thousand-contexts", _long_contexts),
    Failure("cause-unprintable", lambda w: _raised(RuntimeError("x"), Unprintable(w.dsn))),
    Failure("cause-lies", lambda w: _raised(RuntimeError("x"), LiesAboutItsClass(w.dsn))),
    Failure("cause-exits", lambda w: _raised(RuntimeError("x"), PrintingExits(w.dsn))),
    Failure("cause-is-an-exit", lambda w: _raised(RuntimeError("x"), SystemExit(w.dsn))),
)

BUILTINS = (
    Failure("stop-iteration", lambda w: StopIteration(w.dsn)),
    Failure("stop-async-iteration", lambda w: StopAsyncIteration(w.dsn)),
    Failure("recursion", _recursion),
    Failure("memory", lambda w: MemoryError(w.dsn)),
    Failure("generator-exit", lambda w: GeneratorExit(w.dsn), bare=_NOT_OURS, closes=_NOT_OURS),
    Failure("cancelled", lambda w: asyncio.CancelledError(w.dsn), code="INTERNAL_ERROR"),
    Failure("invalid-state", lambda w: asyncio.InvalidStateError(w.dsn)),
    Failure("not-implemented", lambda w: NotImplementedError(w.dsn)),
    Failure("warning", lambda w: UserWarning(w.dsn)),
    Failure("group-of-one", lambda w: ExceptionGroup(w.dsn, [ValueError(w.dsn)])),
    Failure("group-of-many", lambda w: ExceptionGroup(w.dsn, [ValueError(w.jwt), TimeoutError(w.dsn)]), 500),
    Failure("group-of-thousands", lambda w: ExceptionGroup(w.dsn, [ValueError(w.dsn) for _ in range(5000)])),
    Failure("group-of-groups", _deep_group),
    Failure("group-with-unprintable", lambda w: ExceptionGroup("g", [Unprintable(w.dsn), PrintingExits(w.dsn)])),
    Failure(
        "group-with-a-cancellation",
        lambda w: BaseExceptionGroup(w.dsn, [ValueError(w.dsn), asyncio.CancelledError(w.jwt)]),
        bare=_NOT_OURS,
        closes=_NOT_OURS,
    ),
)

FOREIGN = (*TEXTS, *CLASSES, *CHAINS, *BUILTINS)
