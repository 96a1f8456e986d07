"""What the codec's tests mean by "the same", and plain values of any shape to try it with."""

from __future__ import annotations

import datetime as dt
import math
import re
import zoneinfo
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any

import pydantic
from hypothesis import strategies as st

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def label(value: Any) -> str:
    """A test's id for a value: the same in every process, so without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", getattr(value, "__qualname__", None) or str(value))[:60]


def same(left: Any, right: Any) -> bool:
    """Equal in type and value, all the way down; NaN equals NaN, and the zone of a datetime counts."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (math.isnan(left) and math.isnan(right)) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    if isinstance(left, dict):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left.items(), right.items(), strict=True))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, set | frozenset):
        return len(left) == len(right) and all(any(same(each, other) for other in right) for each in left)
    if isinstance(left, dt.datetime | dt.time):
        zones = [(each.utcoffset(), each.tzname()) for each in (left, right)]
        return left == right and left.fold == right.fold and zones[0] == zones[1]
    if isinstance(left, Decimal):
        return str(left) == str(right)
    if isinstance(left, pydantic.BaseModel):
        return same(left.__dict__, right.__dict__) and same(left.model_extra, right.model_extra)
    if is_dataclass(left):
        return all(same(getattr(left, each.name), getattr(right, each.name)) for each in fields(left))
    return bool(left == right)


zones = st.sampled_from(
    [None, dt.UTC, dt.timezone(dt.timedelta(hours=-3, minutes=-30)), dt.timezone(dt.timedelta(hours=1), "CET"), BERLIN]
)
plain_keys = (
    st.text(max_size=8) | st.integers() | st.booleans() | st.none() | st.binary(max_size=8) | st.uuids() | st.dates()
    | st.floats(allow_nan=False) | st.tuples(st.integers(), st.text(max_size=3)) | st.integers(2**63 - 2, 2**64 + 2)
)  # fmt: skip
leaves = (
    plain_keys | st.floats() | st.decimals() | st.timedeltas() | st.datetimes(timezones=zones)
    | st.times(timezones=zones)
    | st.frozensets(plain_keys, max_size=4) | st.sets(plain_keys, max_size=4) | st.binary(max_size=8).map(bytearray)
    | st.sampled_from([Decimal("sNaN7"), Decimal("-Infinity"), Decimal("1E+400"), math.nan, -0.0])
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(plain_keys, inner, max_size=4)
    ),
    max_leaves=12,
)
