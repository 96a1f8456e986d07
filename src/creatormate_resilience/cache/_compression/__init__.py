"""Large bodies made smaller on their way to Redis, and inflated again within a bound."""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from creatormate_resilience.cache._compression import zstandard
from creatormate_resilience.cache._corruption import CorruptEntryError
from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError
from creatormate_resilience.options import check_whole

__all__ = ("Algorithm", "Compression")

_WORTHWHILE = 0.9
"""What compressing must leave at most of a body; less of a gain does not pay for inflating it at each read."""


class Algorithm(enum.IntEnum):
    """How a stored body was made smaller. Stored; never renumber."""

    NONE = 0
    ZLIB = 1
    ZSTD = 2


@dataclass(frozen=True, slots=True)
class Compression:
    """What is compressed, and how far it may grow when it is read.

    Attributes:
        threshold: Bytes from which on a body is compressed; None compresses nothing. Reading is not concerned.
        limit: Most bytes that a stored body may inflate to; what would become more is corrupt.
        algorithm: "zstd" needs the extra `compression`, in every process that reads; "auto" takes it where it is
            installed and "zlib" elsewhere. Name one where that differs between the processes of one Redis.

    Raises:
        ConfigurationError: A value is not accepted.
        MissingDependencyError: "zstd" is asked for and `zstandard` is not installed.
    """

    threshold: int | None = 4096
    limit: int = 64 * 1024 * 1024
    algorithm: Literal["auto", "zstd", "zlib"] = "auto"

    def __post_init__(self) -> None:
        if self.threshold is not None:
            check_whole("threshold", self.threshold, 1)
        check_whole("limit", self.limit, 1, 2**40)
        if self.algorithm not in {"auto", "zstd", "zlib"}:
            raise ConfigurationError(f"algorithm is {self.algorithm!r:.200}; accepted are 'auto', 'zstd' and 'zlib'")
        if self.algorithm == "zstd" and not zstandard.INSTALLED:
            raise MissingDependencyError("zstandard", extra="compression", needed_by="the algorithm 'zstd'")

    def compressed(self, body: bytes) -> tuple[Algorithm, bytes]:
        """A body as it is to be stored; as it was where that gains too little."""
        if self.threshold is None or not self.threshold <= len(body) <= self.limit:
            return Algorithm.NONE, body
        zstd = zstandard.INSTALLED and self.algorithm != "zlib"
        algorithm = Algorithm.ZSTD if zstd else Algorithm.ZLIB
        smaller = zstandard.compressed(body) if zstd else zlib.compress(body, 1)
        return (algorithm, smaller) if len(smaller) <= len(body) * _WORTHWHILE else (Algorithm.NONE, body)

    def inflated(self, algorithm: Algorithm, body: bytes) -> bytes:
        """A stored body as it was.

        Raises:
            CorruptEntryError: It is damaged, would grow beyond the limit, or cannot be inflated here.
        """
        return body if algorithm is Algorithm.NONE else _INFLATE[algorithm](body, self.limit)


def _inflated_by_zlib(body: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        whole = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise CorruptEntryError("the compressed body is damaged") from error
    if len(whole) > limit:
        raise CorruptEntryError(f"the compressed body does not inflate to at most {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise CorruptEntryError("the compressed body is damaged")
    return whole


_INFLATE: Mapping[Algorithm, Callable[[bytes, int], bytes]] = MappingProxyType(
    {Algorithm.ZLIB: _inflated_by_zlib, Algorithm.ZSTD: zstandard.inflated}
)
