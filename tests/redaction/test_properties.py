"""What holds for every value and every text: a second pass changes nothing, nothing raises, cost grows with size."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import json
import sys
import types
import uuid
from collections.abc import Iterator, Mapping, Set
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creatormate_resilience.redaction import REDACTED, TRUNCATED, Redactor, plain, redact, redact_text

PIECES = st.sampled_from(
    ["a", "b.c", "4111", "1111", "4111111111111111", " ", "-", "1", ".", ",", "@", ".com", "%40", "://", "%3A%2F%2F",
     "eyJ", "eyJhbGciOiJIUzI1NiJ9", "=", "%3D", "&", ";", "token", "tokens", "password", "PASSWORD", "session", "pin",
     "secret", "api_key", "Authorization", "cookie", "Set-Cookie", "identified by ", "'", '"', '\\"', "\\", ":", ": ",
     "bearer ", "Basic ", "Digest ", "sk-", "sk_live_", "xoxb-", "ghp_", "AKIA", "AIza", "abcdefgh12345678ABCDEFGH",
     "/", "?", "[", "]", "{", "}", "(", ")", "\n", "\t", REDACTED, TRUNCATED, "[REDA", "CTED]",
     "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "-----", "\ud800", "é", "İ", "x" * 20]
)  # fmt: skip
SECRETIVE = st.lists(PIECES, max_size=25).map("".join)
KEYS = SECRETIVE | st.sampled_from(["a", "b", "password", "max_tokens", "X-Api-Key"]) | st.integers() | st.none()
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([4111111111111111, 2**63, -(2**63), 10**300])
    | st.floats()
    | SECRETIVE
    | st.text()
    | st.binary()
    | st.dates()
    | st.decimals(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(KEYS, inner)
        | st.dictionaries(KEYS, inner).map(collections.OrderedDict)
        | st.frozensets(st.text() | st.integers())
        | st.tuples(inner, inner)
    ),
    max_leaves=40,
)
REDACTORS = st.builds(
    Redactor,
    secrets=st.booleans(),
    max_depth=st.integers(1, 5),
    max_nodes=st.integers(1, 60),
    max_items=st.integers(1, 6),
    max_text=st.integers(1, 80),
    emails=st.booleans(),
    keys=st.sampled_from([(), ("iban", "a"), ("x",)]),
)


def nodes_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(nodes_of, value.values()))
    return 1 + sum(map(nodes_of, value)) if isinstance(value, list) else 1


@given(SECRETIVE)
@settings(max_examples=500)
def test_a_text_gone_through_again_stays(text):
    """Also where the pieces of secrets stand close together."""
    once = redact_text(text)
    assert redact_text(once) == once


@given(SECRETIVE)
@settings(max_examples=500)
def test_no_secret_passes_because_the_text_looks_calm(text):
    """What lets harmless text through at once lets no more through than the rules would."""
    suspicious = "': "
    assert redact_text(f"{suspicious}{text}") == f"{suspicious}{redact_text(text)}"


@given(SECRETIVE, st.integers(1, 60))
@settings(max_examples=500)
def test_a_text_cut_anywhere_stays(text, limit):
    """The cut makes no secret of what was none, and no half of one."""
    once = redact_text(text, limit)
    assert len(once) <= limit + len(TRUNCATED)
    assert redact_text(once, limit) == once


@given(st.lists(PIECES, min_size=1, max_size=8).map("".join), st.integers(5000, 20_000))
@settings(max_examples=100, deadline=None)
def test_a_long_text_gone_through_again_stays(text, size):
    """Long texts are gone through once, and that is enough."""
    long = (text * (size // len(text) + 1))[:size]
    once = redact_text(long, 16_384)
    assert len(once) <= 16_384 + len(TRUNCATED)
    assert redact_text(once, 16_384) == once


@given(VALUES)
def test_a_value_gone_through_again_stays(value):
    """The log's redactor may see what the error's redactor has seen."""
    assert redact(redact(value)) == redact(value)
    assert plain(plain(value)) == plain(value)


@given(VALUES, REDACTORS)
@settings(max_examples=300)
def test_within_any_budget_a_value_gone_through_again_stays(value, redactor):
    """Wherever it was cut; and the budgets hold."""
    once = redactor.redact(value)
    assert redactor.redact(once) == once
    assert nodes_of(once) <= 2 * redactor.max_nodes + 1  # each kept value, and a mark in each container
    json.dumps(once, allow_nan=False, ensure_ascii=False).encode("utf-8")


@given(st.text(alphabet="abcdefgh0123456789", min_size=12, max_size=40), SECRETIVE)
def test_a_password_is_gone_whatever_stands_around_it(password, around):
    """As a value, as JSON text, as a login."""
    secret = f"q{password}q"
    for text in (f'{{"password": "{secret}"}}', f"postgres://u:{secret}@h/x", f"password={secret}"):
        assert secret not in redact_text(f"{text}\n{around}")
        assert secret not in json.dumps(redact({"detail": text, "password": secret, around: 1}))


class Hostile:
    """Fails whoever asks what it is."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Meta(type):
    """Fails whoever asks for the name."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no")


class Nameless(metaclass=Meta):
    """Its type does not tell its name."""


class BadItems(dict[str, int]):
    """Fails when its items are asked for."""

    def items(self) -> Any:
        raise RuntimeError("no")


class EndsBadly(Mapping[str, int]):
    """Fails in the middle."""

    def __getitem__(self, key: str) -> int:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[str]:
        yield "a"
        raise RuntimeError("no")

    def __len__(self) -> int:
        raise RuntimeError("no")


class EndlessSet(Set[int]):
    """Has no last item."""

    taken: ClassVar[int] = 0

    def __contains__(self, item: object) -> bool:
        return True

    def __iter__(self) -> Iterator[int]:
        while True:
            EndlessSet.taken += 1
            yield 1

    def __len__(self) -> int:
        return sys.maxsize


class LyingText(str):
    """Says something else whoever asks."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 0

    def isalnum(self) -> bool:
        return True


class LyingNumber(int):
    """Fails whoever counts with it."""

    def __int__(self) -> int:
        raise RuntimeError("no")

    def __lt__(self, other: object) -> bool:
        raise RuntimeError("no")

    __le__ = __gt__ = __ge__ = __lt__  # type: ignore[assignment]


class LyingFloat(float):
    """Fails whoever counts with it."""

    def __float__(self) -> float:
        raise RuntimeError("no")


class HostileKey:
    """Fails whoever prints it."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class SelfEnum(enum.Enum):
    """Its value is itself."""

    A = 1

    @property
    def value(self) -> Any:
        return self


HOSTILE = [
    (Hostile(), "[Hostile]"),
    (Nameless(), "[Nameless]"),
    (BadItems(a=1), "[BadItems]"),
    (EndsBadly(), "[EndsBadly]"),
    (LyingText("password=hunter2"), f"password={REDACTED}"),
    (LyingNumber(5), 5),
    (LyingNumber(4111111111111111), REDACTED),
    (LyingFloat(1.5), 1.5),
    (LyingFloat("nan"), None),
    (SelfEnum.A, "[SelfEnum]"),
    (type("jane@example.com", (), {})(), f"[{REDACTED}]"),
    (type("x" * 100_000, (), {})(), f"[{'x' * 100}]"),
    (types.SimpleNamespace(password="hunter2"), "[SimpleNamespace]"),
    (b"hunter2", "[bytes]"),
    (bytearray(b"hunter2"), "[bytearray]"),
    (lambda: "hunter2", "[function]"),
    ((n for n in "hunter2"), "[generator]"),
    (collections.deque([1]), "[deque]"),
    (10**5000, f"[int of {(10**5000).bit_length()} bits]"),
    (decimal.Decimal(4111111111111111), REDACTED),
    (datetime.timedelta(1), "1 day, 0:00:00"),
    (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
    ("\ud800", "?"),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_hostile_value_is_told_as_far_as_it_can_be(number):
    """And its neighbours are told in full, in dicts and in lists."""
    value, shown = HOSTILE[number]
    assert redact(value) == shown
    assert redact({"a": 1, "bad": value, "max_tokens": 2, "z": "end"}) == {
        "a": 1,
        "bad": shown,
        "max_tokens": 2,
        "z": "end",
    }
    assert redact([1, value, "end"]) == [1, shown, "end"]


def test_a_hostile_value_under_the_name_of_a_count_hides_no_neighbour():
    """Whether it is a number is asked of its type, not of itself."""
    assert redact({"max_tokens": Hostile(), "z": 1}) == {"max_tokens": REDACTED, "z": 1}


def test_a_hostile_key_is_told_by_its_type():
    """And its neighbours are told in full."""
    assert redact({HostileKey(): 1, Hostile(): 2, "z": 3}) == {"[HostileKey]": 1, "[Hostile]": 2, "z": 3}


def test_an_endless_set_costs_bounded_time():
    """Its length is not believed."""
    assert redact(EndlessSet()) == [*[1] * 200, TRUNCATED]
    assert EndlessSet.taken == 201


def test_a_dict_that_changes_under_the_walk_ends_no_walk():
    """Another thread may add to a dict while it is told."""
    changing: dict[str, Any] = {}

    class Changes(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            changing[f"k{len(changing)}"] = 1
            return 1

        def __iter__(self) -> Iterator[str]:
            return iter("a")

        def __len__(self) -> int:
            return 1

    changing["a"] = Changes()
    changing["b"] = 2
    assert redact({"outer": changing, "z": 1}) == {"outer": "[dict]", "z": 1}


def test_the_end_of_the_stack_ends_no_walk():
    """Deep data with a deep budget is cut where the stack ends."""
    deep: Any = "bottom"
    for _ in range(50_000):
        deep = [deep] if _ % 2 else {"k": deep}
    shown = Redactor(max_depth=1_000_000, max_nodes=1_000_000).redact({"deep": deep, "z": 1})
    assert shown["z"] == 1
    while isinstance(shown, list | dict):
        shown = shown[0] if isinstance(shown, list) else next(iter(shown.values()))
    assert shown in {"[list]", "[dict]"}


def test_breadth_goes_before_depth():
    """What stands at the top of a record is told before what is buried in it."""
    value = {"deep": [[n] * 50 for n in range(50)], "z": 1, "y": 2}
    shown = Redactor(max_nodes=60).redact(value)
    assert shown["z"] == 1
    assert shown["y"] == 2
    assert nodes_of(shown) <= 60 + 60


@pytest.mark.parametrize("depth", [1, 2, 12])
def test_levels_of_nesting_are_counted(depth):
    """`max_depth` levels of containers are kept, with the values in them."""
    deep: Any = {"v": 1}
    for _ in range(depth):
        deep = {"v": 1, "k": deep}
    shown = Redactor(max_depth=depth).redact(deep)
    for _ in range(depth - 1):
        shown = shown["k"]
    assert shown == {"v": 1, "k": TRUNCATED}


class Counting(dict[str, Any]):
    """Counts how often its items were asked for."""

    asked: ClassVar[int] = 0

    def items(self) -> Any:
        Counting.asked += 1
        return super().items()


@pytest.mark.parametrize(("width", "depth"), [(40_000, 1), (200, 200), (2, 20_000)])
def test_a_whole_event_is_gone_through_once(width, depth):
    """Wide or deep, every container is opened once, whatever the size of the budget."""
    Counting.asked = 0
    value: Any = [Counting({f"k{n}": n for n in range(max(1, width // 2))}) for _ in range(min(depth, 200))]
    redactor = Redactor(max_depth=50, max_nodes=50_000, max_items=50_000, max_text=16_384)
    shown = redactor.redact(value)
    assert Counting.asked == len(value)
    assert nodes_of(shown) <= 50_000 + len(value) + 1
