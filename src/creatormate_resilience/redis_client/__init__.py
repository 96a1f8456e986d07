"""How this library opens Redis or Valkey: explicit short timeouts, no hidden retries, no secret in any message.

`redis-py` by default retries ten times with five-second timeouts: a read from a dead server then takes seconds. A cache
and a breaker must fail fast instead, so nothing here retries; who calls decides.
"""

from __future__ import annotations

from creatormate_resilience.redis_client._url import SCHEMES
from creatormate_resilience.redis_client.redis import open_redis

__all__ = ("SCHEMES", "open_redis")
