"""Keeps a Python service answering while what it depends on fails."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
