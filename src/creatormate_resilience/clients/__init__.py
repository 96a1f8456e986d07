"""Breakers and retries inside HTTP clients: `clients.httpx` (httpx2 too), `clients.requests`, `clients.aiohttp`."""

from __future__ import annotations

from creatormate_resilience.clients._config import ClientConfig, ClientOptions
from creatormate_resilience.deadline import DEADLINE_HEADER

__all__ = ("DEADLINE_HEADER", "ClientConfig", "ClientOptions")
