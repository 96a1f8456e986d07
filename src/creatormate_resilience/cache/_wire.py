"""How an entry is written into Redis: a fixed header, the category, the body.

```text
magic 2 | format 1 | version 16 | kind 1 | fresh until 8 | stale until 8 | checksum 4 | length of category 1
```

Numbers are big-endian, moments are wall milliseconds. The scripts of `redis.py` read magic, version, kind and moments
at these places, in every format. The checksum covers category and body; an INTEGER, which Redis rewrites, has none.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from creatormate_resilience.cache._entry import Entry, Kind
from creatormate_resilience.cache._version import VERSION_SIZE

__all__ = ("HEADER_SIZE", "MAGIC", "CorruptEntryError", "Stored", "pack", "pack_moments", "unpack")

MAGIC = b"cm"
FORMAT = 1
_HEADER = struct.Struct(f">2sB{VERSION_SIZE}sB16sIB")
_MOMENTS = struct.Struct(">QQ")
HEADER_SIZE = _HEADER.size


class CorruptEntryError(ValueError):
    """Stored bytes are not an entry of ours, or not one that can be read. Such an entry is a miss."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the bytes in Redis say.

    Attributes:
        version: See `VersionClock`.
        kind: What the body is.
        category: Name of the category; empty for none.
        body: The encoded value.
        fresh_until: End of the time to live, in wall seconds.
        stale_until: End of the grace, in wall seconds.
    """

    version: bytes
    kind: Kind
    category: str
    body: bytes
    fresh_until: float
    stale_until: float


def pack(entry: Entry, ahead: float) -> bytes:
    """The bytes of an entry.

    Args:
        entry: The entry.
        ahead: Wall time minus monotonic time, in seconds.
    """
    category = entry.category.encode()
    checksum = 0 if entry.kind is Kind.INTEGER else _checksum(category, entry.body)
    moments = pack_moments(entry.fresh_until + ahead, entry.stale_until + ahead)
    return (
        _HEADER.pack(MAGIC, FORMAT, entry.version, entry.kind, moments, checksum, len(category)) + category + entry.body
    )


def pack_moments(fresh_until: float, stale_until: float) -> bytes:
    """The two moments of a header, from wall seconds."""
    return _MOMENTS.pack(round(fresh_until * 1000), round(stale_until * 1000))


def unpack(data: bytes) -> Stored:
    """Read the bytes of an entry.

    Raises:
        CorruptEntryError: They are not ours, damaged, or of a format not known here.
    """
    try:
        magic, form, version, kind, moments, checksum, length = _HEADER.unpack_from(data)
        _expect(magic == MAGIC and form == FORMAT, "foreign bytes or an unknown format")
        category, body = data[HEADER_SIZE : HEADER_SIZE + length], data[HEADER_SIZE + length :]
        _expect(kind == Kind.INTEGER or _checksum(category, body) == checksum, "the checksum does not fit")
        fresh_until, stale_until = _MOMENTS.unpack(moments)
        return Stored(version, Kind(kind), category.decode(), body, fresh_until / 1000, stale_until / 1000)
    except CorruptEntryError:
        raise
    except (struct.error, ValueError) as error:
        raise CorruptEntryError("a damaged header") from error


def _checksum(category: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(category))


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CorruptEntryError(otherwise)
