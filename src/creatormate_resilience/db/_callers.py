"""Where in the application a statement comes from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ("calling_places",)

_PASSED_OVER = sys.stdlib_module_names | {"sqlalchemy", "greenlet", "anyio", "creatormate_resilience"}


def calling_places(most: int = 3) -> tuple[str, ...]:
    """The innermost frames of the application that led here, outermost first, as `function (file:line)`.

    SQLAlchemy runs statements in greenlets of their own; the stack goes on in the parent, in the task that awaits.

    Args:
        most: How many frames.

    Returns:
        The frames outside of this library, SQLAlchemy and the standard library.
    """
    found: list[str] = []
    for frame in _frames():
        module: str = frame.f_globals.get("__name__", "?")
        if module.partition(".")[0] not in _PASSED_OVER:
            file = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
            found.append(f"{frame.f_code.co_qualname} ({file}:{frame.f_lineno})")
            if len(found) == most:
                break
    return tuple(reversed(found))


def _frames() -> Iterator[FrameType]:
    yield from _chain(sys._getframe(1))  # pyright: ignore[reportPrivateUsage] - documented, and the only way
    greenlet = sys.modules.get("greenlet")
    parent: Any = greenlet.getcurrent().parent if greenlet is not None else None
    while parent is not None:
        yield from _chain(parent.gr_frame)
        parent = parent.parent


def _chain(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
