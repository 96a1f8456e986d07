"""What one row of the corpus is, and what is expected of its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.integrations.hostile.marks import Words

HOST = ("Host", "app.example.com")
Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """One input.

    Attributes:
        name: Says what is hostile about it.
        raw: What is sent, byte by byte.
        statuses: Accepted ones; none named accepts all.
        code: Of the problem document, where it is certain.
        bare: Why an error's answer is no problem document: it does not come from us.
        aborted: Why the answer is not whole.
        closes: Why the connection must end; it must not, where nothing is said.
        ends: Whether the client says after sending that nothing more will come.
        number: Of its marks, where it has some.
    """

    name: str
    raw: bytes
    statuses: tuple[int, ...] = ()
    code: str | None = None
    bare: str = ""
    aborted: str = ""
    closes: str = ""
    ends: bool = False
    number: int = -1


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that an endpoint raises.

    Attributes:
        name: Says what is hostile about it.
        make: Given the row's marks, returns what to raise, or raises.
        status: Of the answer.
        code: Of the problem document, where it is certain.
        bare: Why the answer is no problem document.
        closes: Why the connection must end.
    """

    name: str
    make: Callable[[Words], BaseException]
    status: int = 500
    code: str | None = None
    bare: str = ""
    closes: str = ""


def request(
    target: str, *, method: str = "GET", headers: Iterable[Header] = (), body: bytes | None = None, kind: str = ""
) -> bytes:
    """A request with correct framing, its texts in latin-1.

    Args:
        target: Path and query as they are sent.
        method: The method.
        headers: Besides `Host`, `Content-Type` and `Content-Length`.
        body: The body.
        kind: The body's media type.
    """
    lines = [HOST, *headers]
    if kind:
        lines.append(("Content-Type", kind))
    if body is not None:
        lines.append(("Content-Length", str(len(body))))
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    return head.encode("latin-1") + (body or b"")
