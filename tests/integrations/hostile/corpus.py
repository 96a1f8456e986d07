"""The whole corpus: every row with its marks, and what became of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.integrations.hostile.app import FAILURES, NUMBERS
from tests.integrations.hostile.input_bodies import BODIES, TYPES, UPLOADS
from tests.integrations.hostile.input_forwarded import FORWARDED
from tests.integrations.hostile.input_headers import BAD_IDS, BAD_TRACES, GOOD_IDS, GOOD_TRACES, HEADERS
from tests.integrations.hostile.input_targets import CHUNKS, FRAMING, TARGETS
from tests.integrations.hostile.marks import Words
from tests.integrations.hostile.rows import Row, request
from tests.integrations.hostile.wire import Answer, Connection

PROBE = request("/ok")
_BEGUN = "the answer had begun: cutting it off is the only way to say that it is not whole"
_TWICE = "the application sends a second answer: the server trusts it no more"
_FIRST_INPUT = 1000


@dataclass(frozen=True, slots=True)
class Exchange:
    """One row and what came back.

    Attributes:
        row: What was sent.
        answer: What came.
        kept: Whether the connection was kept: a plain request behind it had its whole answer.
        surplus: Whether more came than one answer.
    """

    row: Row
    answer: Answer
    kept: bool
    surplus: bool

    @property
    def document(self) -> dict[str, Any]:
        """The problem document, read strictly."""
        return json.loads(self.answer.text, parse_constant=_refuse)

    @property
    def is_problem(self) -> bool:
        """Whether a problem document should be there."""
        failed = self.answer.status is not None and self.answer.status >= 400
        return failed and not self.row.bare and not self.row.raw.startswith(b"HEAD ")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _of_failure(prefix: str, name: str, **expected: Any) -> Row:
    return Row(f"{prefix}{name}", request(f"{prefix}{name}"), number=NUMBERS[name], **expected)


def raised() -> Iterator[Row]:
    """Everything that can be raised, from an endpoint, and some of it from everywhere."""
    for failure in FAILURES.values():
        yield _of_failure(
            "/raise/",
            failure.name,
            statuses=(failure.status,),
            code=failure.code,
            bare=failure.bare,
            closes=failure.closes,
        )
    for place in ("/thread/", "/dependency/", "/middleware/", "/inner/raise/", "/inner/thread/"):
        for name in ("dsn", "str-exits", "attributes-raise", "lies-about-its-class", "stop-iteration", "http-503"):
            if name != "lies-about-its-class" or "thread" not in place:  # it kills a worker of anyio, which then hangs
                yield _of_failure(place, name)
    for name in ("dsn", "attributes-raise", "family"):
        yield _of_failure("/bare/raise/", name, bare="the mounted application has no handlers of ours")
    for name in ("dsn", "str-exits", "family", "http-503"):
        for kind in ("stream", "stream-of-a-thread", "events"):
            yield _of_failure(f"/late/{kind}/", name, statuses=(200,), aborted=_BEGUN, closes=_BEGUN)
        yield _of_failure("/late/stream-without-a-byte/", name)
        for status in (200, 204, 304):
            yield _of_failure(f"/background/{status}/", name, statuses=(status,))
        yield _of_failure("/exit/", name)
    yield Row("response-model", request(f"/response/{len(NUMBERS)}"), (500,), "INTERNAL_ERROR")
    yield Row("twice", request("/twice"), (200,), closes=_TWICE)
    yield Row("body-too-long", request("/length/3"), (200,), aborted=_BEGUN, closes=_BEGUN)
    yield Row("body-too-short", request("/length/30"), (200,), aborted=_BEGUN, closes=_BEGUN)


def sent() -> Iterator[Row]:
    """Everything that clients may send."""
    tables: Sequence[Callable[[Words], Row]] = (*BODIES, *TYPES, *UPLOADS, *HEADERS, *TARGETS, *FRAMING, *CHUNKS)
    for number, make in enumerate(tables, _FIRST_INPUT):
        yield replace(make(Words(number)), number=number)
    for given in (*GOOD_IDS, *BAD_IDS):
        yield Row(
            f"request-id {given[:40]!r} ({len(given)})",
            request("/raise/family", headers=[("X-Request-ID", given)]),
            (404,),
        )
    for given in (*GOOD_TRACES, *BAD_TRACES):
        yield Row(f"traceparent {given[:60]!r}", request("/raise/family", headers=[("traceparent", given)]), (404,))
    for name, headers, _client in FORWARDED:
        yield Row(f"forwarded {name}", request("/raise/family", headers=headers), (404,))


def rows() -> list[Row]:
    """The corpus."""
    return [*raised(), *sent()]


def exchange_all(port: int, corpus: Iterable[Row]) -> list[Exchange]:
    """Send rows one after the other over one connection, for as long as it stays open.

    Args:
        port: Where the server listens.
        corpus: The rows.
    """
    exchanges: list[Exchange] = []
    connection = Connection(port)
    for row in corpus:
        answer = connection.exchange(row.raw, ends=row.ends)
        surplus = connection.has_more()
        probe = None if surplus or row.ends else connection.exchange(PROBE)
        kept = probe is not None and probe.whole and probe.body == b'{"ok":true}'
        exchanges.append(Exchange(row, answer, kept, surplus))
        if not kept:
            connection.close()
            connection = Connection(port)
    connection.close()
    return exchanges
