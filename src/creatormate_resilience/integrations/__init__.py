"""One third-party system, one file."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
