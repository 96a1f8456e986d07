"""Zstandard, where the package is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from creatormate_resilience.cache._corruption import CorruptEntryError

INSTALLED = find_spec("zstandard") is not None
if TYPE_CHECKING or INSTALLED:
    import zstandard

__all__ = ("INSTALLED", "compressed", "inflated")

_LEVEL = 3


def compressed(body: bytes) -> bytes:
    """The body in one frame that says how long it was."""
    # One compressor per call: they must not be shared between threads.
    return zstandard.ZstdCompressor(level=_LEVEL).compress(body)


def inflated(body: bytes, limit: int) -> bytes:
    """The body of such a frame.

    Args:
        body: The frame.
        limit: Most bytes it may inflate to.

    Raises:
        CorruptEntryError: It is damaged, too long, or `zstandard` is not installed.
    """
    if not INSTALLED:
        raise CorruptEntryError("the body is compressed with zstd and zstandard is not installed here")
    try:
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= limit:  # -1: the frame does not say, so it is none of ours
            raise CorruptEntryError(f"the compressed body does not inflate to at most {limit} bytes")
        return zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptEntryError("the compressed body is damaged") from error
