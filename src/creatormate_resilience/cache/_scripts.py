"""The decisions taken beside the data, as Lua: is something newer there already, is it alive, whose lock is it.

Each looks at one key, so each works in a cluster. The places of the header are those of `_wire.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from creatormate_resilience.cache._wire import MAGIC

__all__ = ("ACQUIRE", "ADD_NUMBER", "RELEASE", "RENEW", "TOUCH", "WRITE", "Call", "Script")


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script.

    Attributes:
        text: All of it.
        sha: The name under which a server knows it once it has run it: SHA-1, in hex.
    """

    text: str
    sha: str


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a script.

    Attributes:
        script: Which.
        key: The key it looks at.
        arguments: `ARGV`.
    """

    script: Script
    key: str
    arguments: tuple[str | bytes | int, ...]


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


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
local function alive(raw, floor)
  if not raw or raw:byte(20) == 3 or (floor ~= '' and precedes(raw:sub(4, 19), floor)) then return false end
  local fresh_until = 0
  for i = 21, 28 do fresh_until = fresh_until * 256 + raw:byte(i) end
  local now = redis.call('TIME')
  return fresh_until > now[1] * 1000 + math.floor(now[2] / 1000)
end
"""

WRITE = _script(
    _PRELUDE
    + """
local old = header()
local living = alive(old, ARGV[5])
if ARGV[4] == 'mark' and living and precedes(old:sub(21, 36), ARGV[1]:sub(21, 36)) then
  redis.call('SETRANGE', KEYS[1], 20, ARGV[1]:sub(21, 36))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if ARGV[4] ~= 'set' and living then return {3, old:sub(4, 19)} end
if old then
  local stored = old:sub(4, 19)
  if not precedes(stored, ARGV[1]:sub(4, 19)) and precedes(stored, ARGV[3]) then return {0, stored} end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {living and 2 or 1, ''}
"""
)
ADD_NUMBER = _script(
    _PRELUDE
    + """
local head, px, total = ARGV[1], ARGV[2], tonumber(ARGV[3])
local old = header()
local version = head:sub(4, 19)
if old and precedes(version, old:sub(4, 19)) and precedes(old:sub(4, 19), ARGV[4]) then version = old:sub(4, 19) end
if alive(old, ARGV[5]) then
  local raw = redis.call('GET', KEYS[1])
  local at = 42 + raw:byte(41)
  if raw:byte(3) == 2 then at = at + 6 + raw:byte(at) * 256 + raw:byte(at + 1) end
  local number = raw:byte(20) == 2 and tonumber(raw:sub(at)) or nil
  if not number then return {1, 0} end
  total, px, head = total + number, redis.call('PTTL', KEYS[1]), raw:sub(1, at - 1)
end
if total > 9007199254740992 or total < -9007199254740992 then return {2, 0} end
redis.call('SET', KEYS[1], head:sub(1, 3) .. version .. head:sub(20) .. string.format('%.0f', total), 'PX', px)
return {0, total}
"""
)
TOUCH = _script(
    _PRELUDE
    + """
local old = header()
if not alive(old, '') then return 0 end
local version = ARGV[1]
if precedes(version, old:sub(4, 19)) then version = old:sub(4, 19) end
redis.call('SETRANGE', KEYS[1], 3, version)
redis.call('SETRANGE', KEYS[1], 20, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
)

# Acquiring twice with one token is acquiring once: whoever lost the first answer may ask again.
ACQUIRE = _script("""
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")
RENEW = _script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
RELEASE = _script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")
