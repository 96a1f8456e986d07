"""Where an exception came from, as text that may be logged: bounded, without secrets, without local variables."""

from __future__ import annotations

import linecache
from collections import deque
from collections.abc import Collection, Iterator
from itertools import islice
from types import CodeType, FrameType, TracebackType
from typing import Any, cast

from creatormate_resilience.exceptions._chain import describe, dotted_name, exception_chain, group_leaves, printed
from creatormate_resilience.redaction import TRUNCATED, redact_text

__all__ = ("frames", "traceback_text")

_FRAMES = 20
_PATH_PARTS = 3
_NOTES = 5
_INNER_CAUSES = 3
_MESSAGE_LIMIT = 2000
_NOTE_LIMIT = 500
_LINE_LIMIT = 200
_TEXT_LIMIT = 16_384

_CAUSED = "The above exception was the direct cause of the following exception:"
_MEANWHILE = "During handling of the above exception, another exception occurred:"


def frames(exc: BaseException, *, without: Collection[str] = ()) -> list[str]:
    """The calls that led to an exception, outermost first; cheap, because no source is read.

    Args:
        exc: The exception; ask while its `__traceback__` is there: frameworks take it off afterwards.
        without: Packages whose calls are left out, unless there are no others.

    Returns:
        `module:line:function`, the last 20. Where the module has no name of its own, its file's.
    """
    called = list(_last(exc.__traceback__))
    if without:
        called = [tb for tb in called if _module(tb.tb_frame).partition(".")[0] not in without] or called[-1:]
    return [_frame(tb.tb_frame, tb.tb_lineno) for tb in called]


def _module(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name if type(name) is str else ""


def traceback_text(exc: BaseException) -> str:
    """An exception with its causes, in the form that Python prints.

    Args:
        exc: The exception.

    Returns:
        Oldest cause first; of each the last 20 calls with their lines of source, the message and the notes, all without
        what looks like a secret; of a group five exceptions. Paths are short, local variables are not in it. About
        16,000 characters at most: older causes are left out first. Nothing that the exception does when it is printed
        raises from here.
    """
    try:
        return _text(exc)
    except Exception as error:  # noqa: BLE001 - an exception's class may override anything; its name is told at least
        return f"{type(exc).__name__} [telling it raised {type(error).__name__}]"


def _text(exc: BaseException) -> str:
    newer = exc
    sections = [_section(exc)]
    size = len(sections[0])
    for cause in exception_chain(exc):
        section = f"{_section(cause)}\n\n{_CAUSED if newer.__cause__ is cause else _MEANWHILE}\n"
        size += len(section)
        if size > _TEXT_LIMIT:
            sections.append(f"{TRUNCATED}\n")
            break
        sections.append(section)
        newer = cause
    return "\n".join(reversed(sections))


def _section(exc: BaseException) -> str:
    lines = [*_stack(exc), *_message(exc)]
    group: Any = exc
    for number, inner in enumerate(group_leaves(group) if isinstance(exc, BaseExceptionGroup) else (), 1):
        lines.append(f"  +-- {number} of those inside")
        causes = (f"caused by {describe(cause)}" for cause in islice(exception_chain(inner), _INNER_CAUSES))
        told = "\n".join((*_stack(inner), *_message(inner), *causes))
        lines += (f"  | {line}" for line in told.splitlines())
    text = "\n".join(lines)
    return text if len(text) <= _TEXT_LIMIT else text[:_TEXT_LIMIT] + TRUNCATED


def _stack(exc: BaseException) -> Iterator[str]:
    called = list(_last(exc.__traceback__))
    if called:
        yield "Traceback (most recent call last):"
        for tb in called:
            yield from _source(tb.tb_frame.f_code, tb.tb_lineno)


def _source(code: CodeType, number: int) -> Iterator[str]:
    path = "/".join(code.co_filename.replace("\\", "/").split("/")[-_PATH_PARTS:])
    yield f'  File "{path[-_LINE_LIMIT:]}", line {number}, in {code.co_qualname[:_LINE_LIMIT]}'
    if line := linecache.getline(code.co_filename, number).strip():
        yield f"    {redact_text(line, _LINE_LIMIT)}"  # it may hold a literal that should not be there


def _message(exc: BaseException) -> Iterator[str]:
    name = dotted_name(type(exc)).removeprefix("builtins.")
    text = redact_text(_printed(exc), _MESSAGE_LIMIT)
    yield f"{name}: {text}" if text else name
    notes: object = getattr(exc, "__notes__", ())
    for note in cast("list[object]", notes)[:_NOTES] if isinstance(notes, list) else ():
        yield redact_text(_printed(note), _NOTE_LIMIT)


def _printed(value: object) -> str:
    try:
        return str.__str__(printed(value))  # a subclass of str may do as it likes in every method
    except (SystemExit, GeneratorExit) as error:  # a `__str__` that raises them must not end the process
        return f"[__str__ raised {type(error).__name__}]"


def _last(tb: TracebackType | None) -> deque[TracebackType]:
    kept: deque[TracebackType] = deque(maxlen=_FRAMES)
    while tb is not None:
        kept.append(tb)
        tb = tb.tb_next
    return kept


def _frame(frame: FrameType, number: int) -> str:
    code = frame.f_code
    module = _module(frame)
    if module in {"", "__main__"}:
        module = code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{module[:_LINE_LIMIT]}:{number}:{code.co_qualname[:_LINE_LIMIT]}"
