"""What it costs to make bytes of a cached value and to read them, beside json, msgspec alone, pydantic and pickle.

Run with `nox -s benchmarks -- -s` to see the tables. Figures are ratios within one run; nothing here asserts a time.
"""

from __future__ import annotations

import datetime as dt
import json
import pickle
import random
import uuid
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pydantic
from tests.benchmarks.interleaved import measure, table

from creatormate_resilience.cache._codec import ValueCodec
from creatormate_resilience.cache._compression import Algorithm, Compression
from creatormate_resilience.cache._entry import Kind

DOCUMENT = {
    "id": 12345,
    "title": "A video about cats",
    "tags": ["cats", "funny", "pets"],
    "stats": {"views": 1234567, "likes": 2345, "rate": 0.0123},
    "items": [
        {"id": n, "name": f"item {n}", "price": n * 1.5, "active": n % 2 == 0, "note": None, "text": "lorem ipsum " * 4}
        for n in range(14)
    ],
}
NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
ROWS = [{"id": uuid.UUID(int=n), "name": f"item {n}", "price": Decimal(n), "at": NOON, "on": True} for n in range(20)]


class Item(pydantic.BaseModel):
    id: int
    name: str
    price: float
    active: bool
    note: str | None
    text: str


class Video(pydantic.BaseModel):
    id: int
    title: str
    tags: list[str]
    stats: dict[str, float]
    items: list[Item]


class ItemStruct(msgspec.Struct):
    id: int
    name: str
    price: float
    active: bool
    note: str | None
    text: str


class VideoStruct(msgspec.Struct):
    id: int
    title: str
    tags: list[str]
    stats: dict[str, float]
    items: list[ItemStruct]


def loop(fn: Callable[..., object], *args: Any) -> Callable[[int], None]:
    def run(calls: int) -> None:
        for _ in range(calls):
            fn(*args)

    return run


def test_writing_plain_values():
    """A document of 2 KB as JSON would have it, and twenty rows as a database gives them."""
    codec, pack = ValueCodec(), msgspec.msgpack.Encoder().encode
    costs = measure(
        {
            "msgspec alone, unfaithful": loop(pack, DOCUMENT),
            "json": loop(json.dumps, DOCUMENT),
            "pickle": loop(pickle.dumps, DOCUMENT, 5),
            "this codec": loop(codec.encode, DOCUMENT),
            "rows: msgspec alone, unfaithful": loop(pack, ROWS),
            "rows: pickle": loop(pickle.dumps, ROWS, 5),
            "rows: this codec": loop(codec.encode, ROWS),
        },
        calls=500,
    )
    print("\n" + table(costs, to="msgspec alone, unfaithful"))


def test_reading_plain_values():
    """The same, read."""
    codec, unpack = ValueCodec(), msgspec.msgpack.Decoder().decode
    body, rows = codec.encode(DOCUMENT)[1], codec.encode(ROWS)[1]
    costs = measure(
        {
            "msgspec alone": loop(unpack, body),
            "json": loop(json.loads, json.dumps(DOCUMENT)),
            "pickle": loop(pickle.loads, pickle.dumps(DOCUMENT, 5)),
            "this codec": loop(codec.decode, Kind.VALUE, body),
            "rows: pickle": loop(pickle.loads, pickle.dumps(ROWS, 5)),
            "rows: this codec": loop(codec.decode, Kind.VALUE, rows),
        },
        calls=500,
    )
    print("\n" + table(costs, to="msgspec alone"))


def test_models_and_structs():
    """A model of 15 objects: taken apart, compared with what it would be read as, put together."""
    video, struct = Video(**DOCUMENT), msgspec.convert(DOCUMENT, VideoStruct)
    models, structs, adapter = ValueCodec(Video), ValueCodec(VideoStruct), pydantic.TypeAdapter(Video)
    stored, stored_struct = models.encode(video), structs.encode(struct)
    costs = measure(
        {
            "pydantic JSON, written": loop(adapter.dump_json, video),
            "pickle, written": loop(pickle.dumps, video, 5),
            "this codec, written and compared": loop(models.encode, video),
            "this codec, struct written and compared": loop(structs.encode, struct),
            "pydantic JSON, read": loop(adapter.validate_json, adapter.dump_json(video)),
            "pickle, read": loop(pickle.loads, pickle.dumps(video, 5)),
            "this codec, read": loop(models.decode, *stored),
            "this codec, struct read": loop(structs.decode, *stored_struct),
        },
        calls=100,
    )
    print("\n" + table(costs, to="pydantic JSON, written"))


def test_compressing():
    """Bodies of records that differ, by size: time to shrink and to inflate, and what is left."""
    chance = random.Random(5)
    words = [
        "the",
        "cache",
        "keeps",
        "what",
        "it",
        "was",
        "told",
        "and",
        "tells",
        "it",
        "again",
        "to",
        "whom",
        "who",
        "asks",
    ]
    variants: dict[str, Callable[[int], object]] = {}
    for size in (4096, 65_536, 1_048_576):
        records = [
            {"id": n, "at": chance.random(), "text": " ".join(chance.choices(words, k=9))} for n in range(size // 60)
        ]
        body = ValueCodec().encode(records)[1][:size]
        for name in ("zstd", "zlib"):
            compression = Compression(algorithm=name)
            algorithm, smaller = compression.compressed(body)
            assert algorithm is not Algorithm.NONE
            label = f"{name} {size >> 10} KiB to {len(smaller) / size:.0%}"
            variants[f"{label}: shrink"] = loop(compression.compressed, body)
            variants[f"{label}: inflate"] = loop(compression.inflated, algorithm, smaller)
        variants[f"crc32 of {size >> 10} KiB"] = loop(zlib.crc32, body)
    print("\n" + table(measure(variants, rounds=5, calls=5), to="crc32 of 4 KiB"))
