"""Large bodies are smaller in Redis, and what they inflate to is bounded."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
import tracemalloc
import zlib
from typing import Any, Literal

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cache.sameness import label

from creatormate_resilience.cache._codec import ValueCodec
from creatormate_resilience.cache._compression import Algorithm, Compression
from creatormate_resilience.cache._entry import BY_BODY, Entry, Kind
from creatormate_resilience.cache._wire import HEADER_SIZE, CorruptEntryError, pack, unpack
from creatormate_resilience.exceptions import ConfigurationError

ENTRY = Entry(bytes(range(16)), Kind.VALUE, "analytics", b"", BY_BODY, 0.0, 50.0, 100.0, 200.0)
TEXT = b"the cache keeps what it was told, and tells it again. " * 200
NOISE = random.Random(5).randbytes(10_000)
ALGORITHMS = (Algorithm.ZLIB, Algorithm.ZSTD)
NAMES: dict[Algorithm, Literal["zlib", "zstd"]] = {Algorithm.ZLIB: "zlib", Algorithm.ZSTD: "zstd"}
KIND_AT = 19


def entry(body: bytes, kind: Kind = Kind.VALUE) -> Entry:
    return dataclasses.replace(ENTRY, body=body, kind=kind)


def stored(algorithm: int, body: bytes, kind: int = 0) -> bytes:
    """An entry with a body that is said to be compressed, the checksum right."""
    category = b"analytics"
    whole = bytearray(pack(entry(b""), 0.0)[:HEADER_SIZE])
    whole[KIND_AT] = algorithm << 4 | kind
    whole[HEADER_SIZE - 5 : HEADER_SIZE - 1] = zlib.crc32(body, zlib.crc32(category)).to_bytes(4, "big")
    return bytes(whole) + category + body


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", [Kind.VALUE, Kind.TYPED])
def test_a_large_body_is_smaller_in_redis_and_comes_back(algorithm: Algorithm, kind: Kind) -> None:
    """The kind stays readable in the lower half of its byte; the upper half says how the body was compressed."""
    data = pack(entry(TEXT, kind), 0.0, Compression(algorithm=NAMES[algorithm]))
    assert len(data) < len(TEXT) / 10
    assert data[KIND_AT] == algorithm << 4 | kind
    back = unpack(data)
    assert (back.kind, back.body, back.category) == (kind, TEXT, "analytics")


@given(body=st.binary(max_size=300), times=st.integers(1, 40), algorithm=st.sampled_from(ALGORITHMS))
@settings(max_examples=150, deadline=None)
def test_any_body_comes_back(body: bytes, times: int, algorithm: Algorithm) -> None:
    """Compressed or not, bytes are bytes."""
    compression = Compression(threshold=1, algorithm=NAMES[algorithm])
    assert unpack(pack(entry(body * times), 0.0, compression), compression).body == body * times


@pytest.mark.parametrize(("size", "smaller"), [(4095, False), (4096, True)])
def test_small_bodies_stay_as_they_are(size: int, smaller: bool) -> None:
    """From the threshold on they are compressed, below it the gain is not worth the time."""
    data = pack(entry(TEXT[:size]), 0.0)
    assert (len(data) < size) is smaller
    assert (data[KIND_AT] >> 4 != 0) is smaller


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_hardly_shrinks_stays_as_it_is(algorithm: Algorithm) -> None:
    """Noise, and noise with a little text, are not worth inflating at each read."""
    compression = Compression(algorithm=NAMES[algorithm])
    for body in (NOISE, NOISE + TEXT[:500]):
        assert compression.compressed(body) == (Algorithm.NONE, body)
    assert compression.compressed(NOISE + TEXT)[0] is algorithm


def test_nothing_is_compressed_without_a_threshold_and_all_is_still_read() -> None:
    """Turning it off concerns writing only."""
    off = Compression(threshold=None)
    assert pack(entry(TEXT), 0.0, off).endswith(TEXT)
    assert unpack(pack(entry(TEXT), 0.0), off).body == TEXT


def test_integers_and_tombstones_are_never_compressed() -> None:
    """Redis' scripts read and rewrite them."""
    digits = entry(b"1" * 10_000, Kind.INTEGER)
    assert pack(digits, 0.0)[KIND_AT] == Kind.INTEGER
    assert pack(digits, 0.0).endswith(digits.body)
    assert pack(entry(b"", Kind.TOMBSTONE), 0.0, Compression(threshold=1))[KIND_AT] == Kind.TOMBSTONE


BEFORE = {
    b"cm\x01\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x00\x00\x00\x00\x00\x00\x10\xc8\xe0"
    b"\x00\x00\x00\x00\x00\x12O\x80\x8e7\xab\\\tanalytics\x81\xa1a\x92\x01\x02": (Kind.VALUE, {"a": [1, 2]}),
    b"cm\x01\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x02\x00\x00\x00\x00\x00\x10\xc8\xe0"
    b"\x00\x00\x00\x00\x00\x12O\x80\x00\x00\x00\x00\tanalytics42": (Kind.INTEGER, 42),
}


@pytest.mark.parametrize(("data", "expected"), BEFORE.items(), ids=["value", "integer"])
def test_entries_of_the_version_before_are_still_read(data: bytes, expected: tuple[Kind, Any]) -> None:
    """These bytes were written before bodies were compressed; a rolling deploy finds such in Redis."""
    found = unpack(data)
    assert (found.kind, ValueCodec().decode(found.kind, found.body)) == expected
    assert (found.version, found.category) == (bytes(range(16)), "analytics")
    assert (found.fresh_until, found.stale_until) == (1100.0, 1200.0)


def test_small_entries_are_written_as_the_version_before_wrote_them() -> None:
    """Byte for byte, so that the older processes of a rolling deploy read them."""
    kind, body = ValueCodec().encode({"a": [1, 2]})
    assert pack(entry(body, kind), 1000.0) == next(iter(BEFORE))


def test_a_tombstone_of_the_version_before_is_still_one() -> None:
    """A deletion told by an older process counts."""
    data = b"cm\x01\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x03\x00\x00\x00\x00\x00\x10\xc8\xe0"
    assert unpack(data + b"\x00\x00\x00\x00\x00\x12O\x80" + bytes(5)).kind is Kind.TOMBSTONE


def zlib_bomb(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def zstd_bomb(size: int) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(bytes(size))


BOMBS = ((Algorithm.ZLIB, zlib_bomb), (Algorithm.ZSTD, zstd_bomb))


@pytest.mark.parametrize(("algorithm", "bomb"), BOMBS)
def test_a_body_may_inflate_to_the_limit_and_not_beyond(algorithm: Algorithm, bomb: Any) -> None:
    """One byte more is corrupt."""
    compression = Compression(limit=100_000)
    assert len(unpack(stored(algorithm, bomb(100_000)), compression).body) == 100_000
    with pytest.raises(CorruptEntryError, match="at most 100000 bytes"):
        unpack(stored(algorithm, bomb(100_001)), compression)


@pytest.mark.parametrize(("algorithm", "bomb"), BOMBS)
def test_a_bomb_costs_no_more_memory_than_the_limit(algorithm: Algorithm, bomb: Any) -> None:
    """A few kilobytes that would become 200 MB are given up early."""
    data = stored(algorithm, bomb(200_000_000))
    compression = Compression(limit=1_000_000)
    tracemalloc.start()
    with pytest.raises(CorruptEntryError):
        unpack(data, compression)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_frame_that_lies_about_its_size_is_corrupt() -> None:
    """What the frame says is the bound of what is allocated; a body beyond it is not read on."""
    honest = zstandard.ZstdCompressor(level=3).compress(b"x" * 1000)
    lying = bytearray(honest)
    at = honest.index((1000 - 256).to_bytes(2, "little"))
    lying[at : at + 2] = (500 - 256).to_bytes(2, "little")
    assert zstandard.frame_content_size(bytes(lying)) == 500
    with pytest.raises(CorruptEntryError):
        unpack(stored(Algorithm.ZSTD, bytes(lying)))


def test_a_frame_that_does_not_say_its_size_is_none_of_ours() -> None:
    """Reading it would need a bound that the library does not have."""
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    with pytest.raises(CorruptEntryError):
        unpack(stored(Algorithm.ZSTD, silent))


def test_a_body_larger_than_the_limit_is_stored_as_it_is() -> None:
    """Compressed, nobody could read it."""
    compression = Compression(limit=5000)
    assert unpack(pack(entry(TEXT), 0.0, compression), compression).body == TEXT


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_damage_behind_a_right_checksum_is_corrupt_or_harmless(algorithm: Algorithm, data: st.DataObject) -> None:
    """Bits flipped, cut off or added before the checksum was made: an error of ours, never the library's."""
    _, body = Compression(algorithm=NAMES[algorithm]).compressed(TEXT)
    damaged = bytearray(body)
    damaged[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged = damaged[: data.draw(st.integers(0, len(body)))] + data.draw(st.binary(max_size=3))
    try:
        back = unpack(stored(algorithm, bytes(damaged)), Compression(limit=2 * len(TEXT))).body
    except CorruptEntryError:
        return
    assert len(back) <= 2 * len(TEXT)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_cut_or_lengthened_body_is_corrupt(algorithm: Algorithm) -> None:
    """Every prefix, and anything behind the end."""
    _, body = Compression(algorithm=NAMES[algorithm]).compressed(TEXT)
    for length in range(len(body)):
        with pytest.raises(CorruptEntryError):
            unpack(stored(algorithm, body[:length]))
    with pytest.raises(CorruptEntryError):
        unpack(stored(algorithm, body + b"\0"))


@pytest.mark.parametrize("tag", [0x12, 0x22, 0x13, 0x23, 0x30, 0xF0, 0x0E, 0x1F])
def test_an_unknown_kind_or_algorithm_is_corrupt(tag: int) -> None:
    """A compressed INTEGER, a kind of a later version: a miss."""
    with pytest.raises(CorruptEntryError):
        unpack(stored(tag >> 4, zlib.compress(b"1"), tag & 0x0F))


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": 0}, {"threshold": -1}, {"threshold": 1.5}, {"threshold": True}, {"limit": 0}, {"limit": None},
     {"limit": 2**41}, {"algorithm": "lz4"}, {"algorithm": None}],
    ids=label,
)  # fmt: skip
def test_bad_options_are_refused_by_name(wrong: dict[str, Any]) -> None:
    """The error names the option and what is accepted."""
    with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))}.*accepted"):
        Compression(**wrong)


WITHOUT = """
import sys
sys.modules["zstandard"] = None
from creatormate_resilience.cache._compression import Algorithm, Compression
from creatormate_resilience.cache._wire import CorruptEntryError
from creatormate_resilience.exceptions import MissingDependencyError

algorithm, body = Compression().compressed(b"x" * 10_000)
assert algorithm is Algorithm.ZLIB, algorithm
assert Compression().inflated(algorithm, body) == b"x" * 10_000
try:
    Compression().inflated(Algorithm.ZSTD, bytes.fromhex(sys.argv[1]))
except CorruptEntryError as error:
    assert "zstandard is not installed" in str(error)
else:
    raise AssertionError
try:
    Compression(algorithm="zstd")
except MissingDependencyError as error:
    assert 'pip install "creatormate-resilience[compression]"' in str(error)
else:
    raise AssertionError
"""


def test_without_zstandard_zlib_is_used_and_zstd_is_a_miss() -> None:
    """The reason says what is missing here."""
    frame = Compression(algorithm="zstd").compressed(TEXT)[1].hex()
    done = subprocess.run([sys.executable, "-c", WITHOUT, frame], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
