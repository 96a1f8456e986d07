"""The creator service as a process of its own, its upstreams as another, spoken to over real HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from upstreams import upstreams, upstreams_url

__all__ = ("upstreams", "upstreams_url")

BREAKERS = '{"youtube_api": {"failure_threshold": 3, "recovery_timeout": 0.5, "recovery_timeout_max": 0.5}}'
SERVICES = '{"youtube_api": {"timeout": 3, "attempt_timeout": 1, "max_attempts": 1}}'
CATEGORY = '{"ttl": 0.2, "grace": 3600, "throttle": 0.1, "jitter": 0}'
CATEGORIES = f'{{"agent_response": {CATEGORY}, "youtube_api": {CATEGORY}}}'


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.server)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Environment of the service: SQLite and memory, or real servers; short lives, so that a journey takes seconds."""
    stores = {"DATABASE_URL": f"sqlite:///{tmp_path}/creator.db"}
    if request.param == "servers":
        url = request.getfixturevalue("redis_url")
        stores = {"REDIS_URL": url, "DATABASE_URL": request.getfixturevalue("postgres_url")}
    return stores | {"CIRCUIT_BREAKER_CONFIGS": BREAKERS, "SERVICES": SERVICES, "CACHE_TTLS": CATEGORIES}
