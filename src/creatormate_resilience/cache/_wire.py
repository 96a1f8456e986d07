"""How an entry is written into Redis: a fixed header, the category, what not every entry has, the body.

```text
magic 2 | format 1 | version 16 | kind 1 | fresh until 8 | stale until 8 | checksum 4 | length of category 1
```

Format 2 puts between category and body: length 2 | cost in milliseconds 4 | tags, each ended by a zero byte. It is only
used where there is such a thing, so that processes that do not know it yet can read the rest.

Numbers are big-endian, moments are wall milliseconds. The scripts of `_scripts.py` read magic, version, kind and
moments at these places, in every format. The checksum covers all after the header; an INTEGER, which Redis rewrites,
has none. The upper half of the kind says how the body is compressed. INTEGER and TOMBSTONE, which scripts look for,
never are.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from creatormate_resilience.cache._compression import Algorithm, Compression
from creatormate_resilience.cache._corruption import CorruptEntryError
from creatormate_resilience.cache._entry import Entry, Kind
from creatormate_resilience.cache._version import VERSION_SIZE

__all__ = ("HEADER_SIZE", "MAGIC", "CorruptEntryError", "Stored", "pack", "pack_moments", "unpack")

MAGIC = b"cm"
PLAIN, EXTENDED = 1, 2
_HEADER = struct.Struct(f">2sB{VERSION_SIZE}sB16sIB")
_MOMENTS = struct.Struct(">QQ")
_EXTENSION = struct.Struct(">HI")
HEADER_SIZE = _HEADER.size
_COMPRESSIBLE = frozenset({Kind.VALUE, Kind.TYPED})
_TAGS: Mapping[int, tuple[Kind, Algorithm]] = MappingProxyType({
    kind | algorithm << 4: (kind, algorithm)
    for kind in Kind
    for algorithm in Algorithm
    if algorithm is Algorithm.NONE or kind in _COMPRESSIBLE
})  # fmt: skip
_BY_DEFAULT: Final = Compression()
_LATEST: Final = b"\xff" * VERSION_SIZE


class Stored(NamedTuple):
    """What the bytes in Redis say.

    Attributes:
        version: See `VersionClock`.
        kind: What the body is.
        category: Name of the category; empty for none.
        body: The encoded value.
        fresh_until: End of the time to live, in wall seconds.
        stale_until: End of the grace, in wall seconds.
        tags: By which it can be invalidated.
        cost: Seconds its load took; 0 where that is not known.
    """

    version: bytes
    kind: Kind
    category: str
    body: bytes
    fresh_until: float
    stale_until: float
    tags: tuple[str, ...] = ()
    cost: float = 0.0


def pack(entry: Entry, ahead: float, compression: Compression = _BY_DEFAULT) -> bytes:
    """The bytes of an entry.

    Args:
        entry: The entry.
        ahead: Wall time minus monotonic time, in seconds.
        compression: What is made smaller.
    """
    category = entry.category.encode()
    algorithm, body = Algorithm.NONE, entry.body
    if entry.kind in _COMPRESSIBLE:
        algorithm, body = compression.compressed(body)
    extension = _extension(entry)
    checksum = 0 if entry.kind is Kind.INTEGER else _checksum(category, extension, body)
    moments = pack_moments(entry.fresh_until + ahead, entry.stale_until + ahead)
    kind = entry.kind | algorithm << 4
    form = EXTENDED if extension else PLAIN
    head = _HEADER.pack(MAGIC, form, entry.version, kind, moments, checksum, len(category))
    return b"".join((head, category, extension, body))


def pack_moments(fresh_until: float, stale_until: float) -> bytes:
    """The two moments of a header, from wall seconds."""
    return _MOMENTS.pack(round(fresh_until * 1000), round(stale_until * 1000))


def unpack(data: bytes, compression: Compression = _BY_DEFAULT, ceiling: bytes = _LATEST) -> Stored:
    """Read the bytes of an entry.

    Args:
        data: What Redis has.
        compression: How far a body may be inflated.
        ceiling: The greatest version that can be an honest one.

    Raises:
        CorruptEntryError: They are not ours, from the future, damaged, of a format not known here, or too large.
    """
    try:
        magic, form, version, tag, moments, checksum, length = _HEADER.unpack_from(data)
        _expect(magic == MAGIC and form in {PLAIN, EXTENDED}, "foreign bytes or an unknown format")
        category, rest = data[HEADER_SIZE : HEADER_SIZE + length], data[HEADER_SIZE + length :]
        _expect(tag == Kind.INTEGER or _checksum(category, rest) == checksum, "the checksum does not fit")
        _expect(version <= ceiling, "a version from the future")
        tags, cost, body = _extended(rest) if form == EXTENDED else ((), 0.0, rest)
        _expect(tag in _TAGS, "no known kind of entry")
        kind, algorithm = _TAGS[tag]
        fresh_until, stale_until = _MOMENTS.unpack(moments)
        name = category.decode()
        if algorithm is not Algorithm.NONE:
            body = compression.inflated(algorithm, body)
        return Stored(version, kind, name, body, fresh_until / 1000, stale_until / 1000, tags, cost)
    except CorruptEntryError:
        raise
    except (struct.error, ValueError) as error:
        raise CorruptEntryError("a damaged header") from error


def _extension(entry: Entry) -> bytes:
    if not entry.tags and not entry.cost:
        return b""
    tags = "".join(f"{tag}\0" for tag in entry.tags).encode("utf-8", "surrogatepass")
    return _EXTENSION.pack(len(tags), min(round(entry.cost * 1000), 2**32 - 1)) + tags


def _extended(rest: bytes) -> tuple[tuple[str, ...], float, bytes]:
    length, cost = _EXTENSION.unpack_from(rest)
    end = _EXTENSION.size + length
    _expect(end <= len(rest), "the tags are cut off")
    tags = rest[_EXTENSION.size : end].decode("utf-8", "surrogatepass").split("\0")
    return tuple(tags[:-1]), cost / 1000, rest[end:]


def _checksum(*parts: bytes) -> int:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return checksum


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CorruptEntryError(otherwise)
