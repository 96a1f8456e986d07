"""The one error that means: what is stored cannot be read."""

from __future__ import annotations

__all__ = ("CorruptEntryError",)


class CorruptEntryError(ValueError):
    """Stored bytes are not an entry of ours, or not one that can be read. Such an entry is a miss."""
