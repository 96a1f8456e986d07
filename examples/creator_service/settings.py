"""What this service can be told, besides what the library can be told: by keyword, environment or `.env`."""

from __future__ import annotations

import secrets
from typing import Any, Literal

from pydantic import Field, SecretStr

from creatormate_resilience.settings import ServiceSettings, Settings

__all__ = ("CreatorSettings",)

_A_DAY = 86_400.0


class CreatorSettings(Settings):
    """How the creator service is set up.

    Attributes:
        upstream_url: Where YouTube and OpenAI are; see `upstreams.py`.
        answer_budget: Seconds after which a user gets a degraded answer rather than a better one.
        agent_token_secret: Signs the tokens of the agents, at least 32 characters. Left out, one is made at start-up:
            right for one process, which is all that ever sees these tokens.
        log_level: From which level on the log goes to standard error.
    """

    upstream_url: str | None = None
    answer_budget: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    agent_token_secret: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_urlsafe(32)))
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "WARNING"

    # Old answers and facts may stand in for a day while the upstream they came from is away.
    cache_ttls: dict[str, float | dict[str, Any]] = Field(
        default={
            "agent_response": {"ttl": 1800.0, "grace": _A_DAY},
            "youtube_api": {"ttl": 900.0, "grace": _A_DAY},
        }
    )
    services: dict[str, ServiceSettings] = Field(
        default={
            "youtube_api": ServiceSettings(timeout=4.0, attempt_timeout=2.0, max_attempts=2, max_concurrent=50),
            "openai_api": ServiceSettings(timeout=5.0, attempt_timeout=4.0, max_attempts=2, max_concurrent=50),
        }
    )
