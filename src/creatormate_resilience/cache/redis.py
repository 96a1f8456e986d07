"""The second level: entries in a Redis or Valkey server that many processes share.

Each operation has one deadline for everything, the wait for a connection included, and is never repeated. Whatever goes
wrong comes out as `CacheUnavailableError`. The decisions that must be atomic (is something newer there already?) are
taken in scripts beside the data.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from creatormate_resilience.cache._wire import MAGIC
from creatormate_resilience.exceptions import CacheUnavailableError, ConfigurationError, MissingDependencyError
from creatormate_resilience.redaction import redact_text
from creatormate_resilience.redis_client import open_redis

_INSTALLED = find_spec("redis") is not None
if TYPE_CHECKING or _INSTALLED:
    from redis.asyncio import Redis
    from redis.exceptions import ResponseError

__all__ = ("RedisClient", "RedisStore", "Reply", "Write")

T = TypeVar("T")
RedisClient: TypeAlias = "Redis"

_PRELUDE = f"""
local function header()
  local raw = redis.pcall('GETRANGE', KEYS[1], 0, 40)
  if type(raw) ~= 'string' or #raw < 41 or raw:sub(1, 2) ~= '{MAGIC.decode()}' then return nil end
  return raw
end
local function precedes(a, b) -- bytewise; the operator < would follow the server's locale
  for i = 1, 16 do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return false
end
local function alive(raw)
  if not raw or raw:byte(20) == 3 then return false end
  local fresh_until = 0
  for i = 21, 28 do fresh_until = fresh_until * 256 + raw:byte(i) end
  local now = redis.call('TIME')
  return fresh_until > now[1] * 1000 + math.floor(now[2] / 1000)
end
"""
_WRITE = (
    _PRELUDE
    + """
local old = header()
local living = alive(old)
if ARGV[4] == 'add' and living then return {3, old:sub(4, 19)} end
if old then
  local stored = old:sub(4, 19)
  if not precedes(stored, ARGV[1]:sub(4, 19)) and precedes(stored, ARGV[3]) then return {0, stored} end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {living and 2 or 1, ''}
"""
)
_ADD_NUMBER = (
    _PRELUDE
    + """
local head, px, total = ARGV[1], ARGV[2], tonumber(ARGV[3])
local old = header()
local version = head:sub(4, 19)
if old and precedes(version, old:sub(4, 19)) and precedes(old:sub(4, 19), ARGV[4]) then version = old:sub(4, 19) end
if alive(old) then
  local raw = redis.call('GET', KEYS[1])
  local at = 42 + raw:byte(41)
  local number = raw:byte(20) == 2 and tonumber(raw:sub(at)) or nil
  if not number then return {1, 0} end
  total, px, head = total + number, redis.call('PTTL', KEYS[1]), raw:sub(1, at - 1)
end
if total > 9007199254740992 or total < -9007199254740992 then return {2, 0} end
redis.call('SET', KEYS[1], head:sub(1, 3) .. version .. head:sub(20) .. string.format('%.0f', total), 'PX', px)
return {0, total}
"""
)
_TOUCH = (
    _PRELUDE
    + """
local old = header()
if not alive(old) then return 0 end
local version = ARGV[1]
if precedes(version, old:sub(4, 19)) then version = old:sub(4, 19) end
redis.call('SETRANGE', KEYS[1], 3, version)
redis.call('SETRANGE', KEYS[1], 20, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
)


@dataclass(frozen=True, slots=True)
class Write:
    """One write of packed bytes.

    Attributes:
        key: The key in Redis.
        data: The packed entry, a tombstone included.
        ttl: Seconds until Redis forgets it.
        ceiling: A stored version from this one on is no honest one and is overwritten.
        only_if_absent: Write only where nothing fresh is stored.
    """

    key: str
    data: bytes
    ttl: float
    ceiling: bytes
    only_if_absent: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a write.

    Attributes:
        outcome: "refused": something newer is stored. "exists": something fresh was there and only absence was wanted.
        version: The version stored, where the write was not done.
        replaced: A fresh value was there before.
    """

    outcome: Literal["written", "refused", "exists"]
    version: bytes
    replaced: bool


class RedisStore:
    """The cache's view of Redis: bytes in, bytes out.

    Args:
        url: Where it is; or
        client: An asyncio client that answers in bytes, kept open at the end.
        timeout: Longest duration of one operation, in seconds.
        connect_timeout: Longest wait for a new connection, in seconds.

    Raises:
        ConfigurationError: The URL is malformed, or the client decodes its answers or is not an asyncio client.
        MissingDependencyError: `redis` is not installed.
    """

    def __init__(
        self, url: str | None, *, client: RedisClient | None = None, timeout: float = 0.25, connect_timeout: float = 0.5
    ) -> None:
        if not _INSTALLED:
            raise MissingDependencyError("redis", extra="redis", needed_by="a cache in Redis")
        if (url is None) == (client is None):
            raise ConfigurationError("give either url or client, not both")
        self._own = client is None
        self._client: Any = client  # any: the stubs give every command two return types
        if url is not None:
            self._client = open_redis(url, timeout=timeout, connect_timeout=connect_timeout, needed_by="the cache")
        elif not _answers_in_bytes(client):
            raise ConfigurationError("client: accepted is a redis.asyncio client made without decode_responses")
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._offset = 0.0
        self._met = False

    def wall(self) -> float:
        """Seconds since the epoch by the server's clock, as far as it is known: what all processes share."""
        return time.time() + self._offset

    async def get(self, key: str) -> bytes | None:
        """The bytes stored, or None. Something that is not a string comes out as bytes that are no entry."""
        return (await self.get_many((key,)))[0]

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes stored under each key, in this order."""

        async def send() -> list[Any]:
            if len(keys) == 1:
                return [await _or_error(self._client.get(keys[0]))]
            async with self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.get(key)
                return list(await pipe.execute(raise_on_error=False))

        return [_bytes(answer) for answer in await self._within(self._timeout, send)]

    async def write(self, writes: Sequence[Write]) -> list[Reply]:
        """Do each write unless something newer is stored; nothing spans two keys."""

        async def send() -> list[Any]:
            if len(writes) == 1:
                return [await self._client.eval(*_write_command(writes[0]))]
            async with self._client.pipeline(transaction=False) as pipe:
                for write in writes:
                    pipe.eval(*_write_command(write))
                return list(await pipe.execute())

        return [_reply(answer) for answer in await self._within(self._timeout, send)]

    async def add_number(self, write: Write, delta: int) -> int | Literal["no integer", "out of range"]:
        """Add to the integer stored, or begin with `delta`.

        Args:
            write: The entry to begin with, an INTEGER with an empty body.
            delta: What to add.

        Returns:
            The sum, or why there is none.
        """
        status, total = await self._within(
            self._timeout,
            lambda: self._client.eval(_ADD_NUMBER, 1, write.key, write.data, _px(write.ttl), delta, write.ceiling),
        )
        return int(total) if status == 0 else "no integer" if status == 1 else "out of range"

    async def touch(self, key: str, version: bytes, moments: bytes, ttl: float) -> bool:
        """Give a fresh entry a new life; False where there is none."""
        return bool(
            await self._within(self._timeout, lambda: self._client.eval(_TOUCH, 1, key, version, moments, _px(ttl)))
        )

    async def ping(self) -> float:
        """Seconds the server took to answer. Waits for a connection as long as `connect_timeout`."""
        started = time.monotonic()
        await self._within(max(self._timeout, self._connect_timeout), self._meet)
        return time.monotonic() - started

    async def aclose(self) -> None:
        """Close the client, unless it was given."""
        if self._own:
            await self._client.aclose()

    async def _within(self, seconds: float, send: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(seconds):
                if not self._met and send != self._meet:
                    await self._meet()
                return await send()
        except Exception as error:
            # A dying connection makes redis-py raise nearly anything; all of it means that Redis did not do it.
            self._met = False
            reason = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else _describe(error)
            raise CacheUnavailableError(f"Redis: {reason}") from error

    async def _meet(self) -> None:
        """Learn the server's clock, anew after each failure: it may be another server now."""
        before = time.time()
        seconds, microseconds = await self._client.time()
        self._offset = seconds + microseconds / 1e6 - (before + time.time()) / 2
        self._met = True


def _answers_in_bytes(client: Any) -> bool:
    encoder: Any = getattr(client, "get_encoder", lambda: None)()
    is_async = inspect.iscoroutinefunction(getattr(client, "execute_command", None))
    return is_async and not getattr(encoder, "decode_responses", False)


async def _or_error(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except ResponseError as error:
        return error


def _bytes(answer: Any) -> bytes | None:
    if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
        return b""
    if isinstance(answer, Exception):
        raise CacheUnavailableError(f"Redis: {_describe(answer)}") from answer
    return None if answer is None else bytes(answer)


def _write_command(write: Write) -> tuple[Any, ...]:
    mode = "add" if write.only_if_absent else "set"
    return _WRITE, 1, write.key, write.data, _px(write.ttl), write.ceiling, mode


def _reply(answer: tuple[int, bytes]) -> Reply:
    code, version = answer
    return Reply("refused" if code == 0 else "exists" if code == 3 else "written", version, code == 2)


def _px(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {redact_text(str(error), 200)}"
