"""`HTTPException` in every form that its constructor lets through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import HTTPException
from tests.integrations.hostile.failures_family import RaisingMapping
from tests.integrations.hostile.failures_foreign import PrintingExits, Unprintable
from tests.integrations.hostile.marks import Words
from tests.integrations.hostile.rows import Failure


class DetailRaises(HTTPException):
    @property
    def detail(self) -> str:
        raise RuntimeError("no detail")

    @detail.setter
    def detail(self, value: object) -> None:
        """Forget it."""


class StatusRaises(HTTPException):
    @property
    def status_code(self) -> int:
        raise RuntimeError("no status")

    @status_code.setter
    def status_code(self, value: object) -> None:
        """Forget it."""


def _raised(status: Any, detail: Callable[[Words], Any], **options: Any) -> Callable[[Words], HTTPException]:
    return lambda words: HTTPException(status, detail(words), **options)


def _caused(words: Words) -> BaseException:
    exc = HTTPException(404, "There is no such thing.")
    exc.__cause__ = RuntimeError(words.dsn)
    return exc


DETAILS = (
    Failure("http-dict", _raised(400, lambda w: {"password": w.secret}), 400, "BAD_REQUEST"),
    Failure("http-list", _raised(422, lambda w: [w.dsn] * 50), 422, "VALIDATION_FAILED"),
    Failure("http-bytes", _raised(404, lambda w: w.dsn.encode()), 404, "RESOURCE_NOT_FOUND"),
    Failure("http-five-megabytes", _raised(400, lambda w: w.dsn * 100_000), 400, "BAD_REQUEST"),
    Failure("http-surrogates", _raised(400, lambda _: "\ud800\x00\x1b[31m"), 400, "BAD_REQUEST"),
    Failure("http-object", _raised(409, lambda w: Unprintable(w.dsn)), 409),
    Failure("http-exits", _raised(409, lambda w: PrintingExits(w.dsn)), 409),
    Failure("http-none", _raised(404, lambda _: None), 404, "RESOURCE_NOT_FOUND"),
    Failure("http-500", _raised(500, lambda w: w.all), 500),
    Failure("http-502", _raised(502, lambda w: w.all), 502),
    Failure("http-503", _raised(503, lambda w: w.all, headers={"Retry-After": "7"}), 503, "SERVICE_UNAVAILABLE"),
    Failure("http-599", _raised(599, lambda w: w.all), 599),
    Failure("http-418", _raised(418, lambda _: "short and stout"), 418, "BAD_REQUEST"),
    Failure("http-cause", _caused, 404, "RESOURCE_NOT_FOUND"),
    Failure("http-detail-raises", lambda w: DetailRaises(404, w.dsn), 500),
    Failure("http-status-raises", lambda w: StatusRaises(404, w.dsn), 500),
)

HEADERS = (
    Failure("http-crlf", _raised(404, lambda _: "x", headers={"x-a": "a\r\nSet-Cookie: s=1"}), 404),
    Failure("http-nul", _raised(404, lambda _: "x", headers={"x-a": "\x00", "x\n": "a"}), 404),
    Failure("http-framing", _raised(404, lambda _: "x", headers={"Content-Length": "1", "Trailer": "x"}), 404),
    Failure("http-numbers", _raised(404, lambda _: "x", headers={"x-a": 1, 2: "b", None: None}), 404),
    Failure("http-headers-raise", _raised(404, lambda _: "x", headers=RaisingMapping()), 404),
    Failure("http-headers-list", _raised(404, lambda _: "x", headers=[("x-a", "b")]), 404),
    Failure("http-redirect-crlf", _raised(303, lambda _: "", headers={"location": "/a\r\nx: y", "x-b": "b"}), 303),
)

STATUSES = (
    *(
        Failure(f"http-status-{status!r}", _raised(status, lambda w: w.all), 500)
        for status in (0, 1, 99, 100, 101, 103, 199, 600, 1000, -1, 10**30, 404.5, "404", "x", None, [404])
    ),
    *(Failure(f"http-status-{status}", _raised(status, lambda w: w.all), status) for status in (200, 204, 304)),
    Failure("http-status-redirect", _raised(307, lambda w: w.all, headers={"Location": "/ok"}), 307),
)

HTTP = (*DETAILS, *HEADERS, *STATUSES)
