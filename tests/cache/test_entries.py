"""Entries, versions, stored bytes, keys and the bounded memory: the pure parts."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creatormate_resilience.cache._entry import BY_BODY, Entry, Freshness, Kind
from creatormate_resilience.cache._keys import KeySpace, identity
from creatormate_resilience.cache._memory import Memory
from creatormate_resilience.cache._template import KeyTemplate
from creatormate_resilience.cache._version import VersionClock, seconds_of
from creatormate_resilience.cache._wire import HEADER_SIZE, CorruptEntryError, pack, unpack
from creatormate_resilience.exceptions import ConfigurationError


def entry(number: int = 1, *, body: bytes = b"x", kind: Kind = Kind.VALUE, until: float = 100.0) -> Entry:
    return Entry(number.to_bytes(16, "big"), kind, "analytics", body, BY_BODY, 0.0, until / 2, until, until * 2)


@pytest.mark.parametrize(
    ("now", "expected"),
    [(0, Freshness.FRESH), (50, Freshness.UNCONFIRMED), (100, Freshness.STALE), (200, Freshness.DEAD)],
)
def test_an_entry_is_fresh_then_unconfirmed_then_stale_then_dead(now: float, expected: Freshness) -> None:
    """Each border belongs to the later state."""
    assert entry().freshness(now) is expected


def test_a_tombstone_is_always_dead() -> None:
    """A note of a deletion is never served."""
    assert entry(kind=Kind.TOMBSTONE).freshness(0) is Freshness.DEAD


def test_versions_grow_whatever_the_wall_clock_does() -> None:
    """Time may stand still or go back; the versions of a process are ordered as they were made."""
    times = iter([100.0, 100.0, 5.0, 5.0, 200.0])
    clock = VersionClock(lambda: next(times))
    made = [clock.next() for _ in range(5)]
    assert made == sorted(set(made))
    assert seconds_of(made[-1]) == 200.0


def test_a_load_is_dated_before_any_later_write_of_a_node_with_a_slow_clock() -> None:
    """Clocks that were set by the same server disagree a little; a delete during a load must still be the newer one."""
    loader, deleter = VersionClock(lambda: 100.0), VersionClock(lambda: 99.997)
    own_write = loader.next()
    assert VersionClock(lambda: 100.0).of_load() < deleter.next()
    assert loader.of_load() > own_write


def test_an_observed_version_is_overtaken() -> None:
    """After reading another node's version, one's own writes are newer, although one's clock is behind."""
    ahead, behind = VersionClock(lambda: 130.0), VersionClock(lambda: 100.0)
    seen = ahead.next()
    assert behind.next() < seen
    behind.observe(seen)
    assert behind.next() > seen


def test_a_version_from_far_ahead_is_not_believed() -> None:
    """One broken clock, or forged bytes, must not drag everybody into the future."""
    clock = VersionClock(lambda: 100.0)
    clock.observe(b"\xff" * 16)
    assert seconds_of(clock.next()) == 100.0


@given(
    body=st.binary(max_size=80),
    category=st.text(max_size=20),
    until=st.floats(1, 1e6),
    tags=st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=9), max_size=4).map(tuple),
    cost=st.just(0.0) | st.floats(0, 1e5),
)
def test_stored_bytes_say_what_was_stored(
    body: bytes, category: str, until: float, tags: tuple[str, ...], cost: float
) -> None:
    """Version, kind, category, body, tags and both moments come back, the moments to the millisecond."""
    original = dataclasses.replace(entry(7, body=body, until=until), category=category, tags=tags, cost=cost)
    back = unpack(pack(original, ahead=1000.0))
    assert (back.version, back.kind, back.category, back.body) == (original.version, Kind.VALUE, category, body)
    assert back.tags == tags
    assert back.cost == pytest.approx(cost, abs=0.001)
    assert back.fresh_until == pytest.approx(until + 1000, abs=0.001)
    assert back.stale_until == pytest.approx(2 * until + 1000, abs=0.001)


@pytest.mark.parametrize("tags", [(), ("user:1", "team:2")])
@given(data=st.data())
@settings(max_examples=200)
def test_a_damaged_byte_behind_the_header_is_noticed(tags: tuple[str, ...], data: st.DataObject) -> None:
    """One flipped bit of category, tags or body never yields a different value."""
    whole = dataclasses.replace(entry(body=b"a longer body of some bytes"), tags=tags)
    stored = bytearray(pack(whole, ahead=0.0))
    place = data.draw(st.integers(HEADER_SIZE, len(stored) - 1))
    stored[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptEntryError):
        unpack(bytes(stored))


@given(data=st.binary(max_size=120))
def test_foreign_bytes_are_called_corrupt(data: bytes) -> None:
    """Nothing that some other program wrote is taken for an entry."""
    with pytest.raises(CorruptEntryError):
        unpack(data)


@pytest.mark.parametrize("tags", [(), ("user:1",)])
def test_cut_bytes_are_called_corrupt(tags: tuple[str, ...]) -> None:
    """Every prefix of an entry is rejected."""
    whole = pack(dataclasses.replace(entry(body=b"body"), tags=tags), ahead=0.0)
    for length in range(len(whole)):
        with pytest.raises(CorruptEntryError):
            unpack(whole[:length])


def test_memory_is_bounded_by_bytes() -> None:
    """However many values come, their bytes stay under the bound, and the oldest leave first."""
    memory = Memory(max_items=1000, max_bytes=100_000, eviction="lru")
    for number in range(1, 501):
        memory.put(f"k{number}", entry(number, body=b"x" * 2000), 0.0)
    assert memory.bytes <= 100_000
    assert 0 < len(memory) < 50
    assert memory.evictions == 500 - len(memory)
    assert memory.get("k1") is None
    assert memory.get("k500") is not None


def test_memory_is_bounded_by_items() -> None:
    """However small values are, their number stays under the bound."""
    memory = Memory(max_items=10, max_bytes=1_000_000, eviction="lru")
    for number in range(1, 101):
        memory.put(f"k{number}", entry(number), 0.0)
    assert len(memory) == 10


def test_a_value_larger_than_memory_is_not_kept_and_neither_is_what_it_replaces() -> None:
    """The old value would be wrong now."""
    memory = Memory(max_items=10, max_bytes=10_000, eviction="lru")
    memory.put("k", entry(1), 0.0)
    assert memory.put("k", entry(2, body=b"x" * 20_000), 0.0)
    assert memory.get("k") is None
    assert memory.oversized == 1


def test_an_older_version_never_replaces_a_newer_one() -> None:
    """Late news of the past is no news, for values and for deletions alike."""
    memory = Memory(max_items=10, max_bytes=10_000, eviction="lru")
    assert memory.put("k", entry(5), 0.0)
    assert not memory.put("k", entry(4), 0.0)
    assert memory.put("k", entry(6, kind=Kind.TOMBSTONE), 0.0)
    assert memory.get("k") is None
    assert not memory.put("k", entry(5), 0.0)
    assert memory.put("k", entry(7), 0.0)


def test_a_remembered_deletion_ends_with_its_time() -> None:
    """When the tombstone's life is over, whatever Redis says counts again."""
    memory = Memory(max_items=10, max_bytes=10_000, eviction="lru")
    memory.put("k", entry(6, kind=Kind.TOMBSTONE, until=10), 0.0)
    assert memory.put("k", entry(5), 20.0)


@pytest.mark.parametrize("key", ["x" * 201, "a\nb", "~mine", "\ud800", "x" * 65_536], ids=ascii)
def test_long_and_unprintable_keys_are_hashed(key: str) -> None:
    """Inside they are short and printable, and stay distinct from each other."""
    name = identity(key)
    assert len(name) == 33
    assert name.isprintable()
    assert name == identity(key) != identity(key + "y" if len(key) < 65_536 else key[:-1])


def test_ordinary_keys_stay_readable_in_redis() -> None:
    """An operator finds `user:1` as `app:v2:user:1`."""
    assert KeySpace("app", 2).wire(identity("user:1")) == "app:v2:user:1"


@pytest.mark.parametrize(
    ("key", "error"), [("", ValueError), ("x" * 65_537, ValueError), (1, TypeError), (None, TypeError)]
)
def test_bad_keys_are_refused(key: Any, error: type[Exception]) -> None:
    """Empty, huge and non-text keys are the caller's mistake and get told."""
    with pytest.raises(error, match="key"):
        identity(key)


class Plan(enum.Enum):
    FREE = "free"


async def fetch(user_id: str, kind: Any = "all", *, plan: Any = None, **rest: Any) -> None: ...


texts = st.text(alphabet="ab:%~-3A./", max_size=6)
arguments = texts | st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-20, 20)


@given(left=st.tuples(arguments, arguments), right=st.tuples(arguments, arguments))
@settings(max_examples=500)
def test_two_sets_of_arguments_never_share_a_key(left: tuple[Any, Any], right: tuple[Any, Any]) -> None:
    """`a:b` and `c` are not `a` and `b:c`, None is not "None"; only a number and its text are the same."""

    def canonical(value: Any) -> Any:
        return (
            ("text", str(value))
            if isinstance(value, str | int) and not isinstance(value, bool)
            else ("other", str(value))
        )

    template = KeyTemplate("user-{user_id}-{kind}", fetch)
    same_key = template.key(*left) == template.key(*right)
    assert same_key == (tuple(map(canonical, left)) == tuple(map(canonical, right)))


def test_defaults_attributes_and_enums_make_keys() -> None:
    """A field left to its default counts with it; attributes and enum values can be fields."""
    unique = uuid.UUID(int=5)
    assert KeyTemplate("u:{user_id}:{kind}", fetch).key("7") == KeyTemplate("u:{user_id}:{kind}", fetch).key(7, "all")
    assert KeyTemplate("p:{plan}:{user_id}", fetch).key(unique, plan=Plan.FREE) == f"p:free:{unique}"
    assert KeyTemplate("p:{plan.name}", fetch).key("1", plan=Plan.FREE) == "p:FREE"


@pytest.mark.parametrize(
    ("template", "message"),
    [("u:{user}", "user_id, kind, plan"), ("u", "names no parameter"), ("", "names no parameter"),
     ("u:{user_id}{kind}", "tell them apart"), ("u:{user_id}x{kind}", "tell them apart"), ("{rest}", "any number"),
     ("u:{user_id!r}", "plain fields"), ("u:{user_id:>3}", "plain fields"), ("u:{user_id", "malformed"), ("{}", "''")],
)  # fmt: skip
def test_a_template_that_does_not_fit_is_refused_at_decoration(template: str, message: str) -> None:
    """The mistake shows when the module is imported, not when the first user comes."""
    with pytest.raises(ConfigurationError, match=message):
        KeyTemplate(template, fetch)


def test_an_argument_without_a_stable_text_is_refused() -> None:
    """An object's default text holds its address and would never be found again."""
    with pytest.raises(TypeError, match="user_id"):
        KeyTemplate("u:{user_id}", fetch).key(object())
