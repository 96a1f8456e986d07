"""The rate limiter's schedule: never more than the rate and the burst allow, never less."""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from creatormate_resilience.policies._gcra import Reservation, Schedule


class BucketModel(RuleBasedStateMachine):
    """A schedule beside a bucket of tokens in exact fractions, which may be overdrawn by who waits."""

    @initialize(interval=st.integers(1, 1000), burst=st.integers(1, 6))
    def begin(self, interval: int, burst: int) -> None:
        self.schedule = Schedule(interval, burst, 100, OrderedDict())
        self.interval, self.burst = interval, burst
        self.now = 1_000
        self.tokens: dict[str, Fraction] = {}
        self.filled: dict[str, int] = {}
        self.last: dict[str, list[tuple[int, Reservation]]] = {}

    def level(self, key: str) -> Fraction:
        since = self.now - self.filled.get(key, 0)
        full = Fraction(self.burst)
        return min(full, self.tokens.get(key, full) + Fraction(since, self.interval))

    @rule(nanoseconds=st.integers(0, 3000))
    def wait(self, nanoseconds: int) -> None:
        self.now += nanoseconds

    @rule(key=st.sampled_from("ab"), longest=st.sampled_from([0, 1, 500, 10**6]))
    def reserve(self, key: str, longest: int) -> None:
        level = self.level(key)
        wait = max(Fraction(0), (1 - level) * self.interval)  # until there is a whole token
        got = self.schedule.reserve(key, self.now, longest)
        assert got.wait == wait
        if wait <= longest:
            self.tokens[key], self.filled[key] = level - 1, self.now
            self.last.setdefault(key, []).append((self.now + got.wait, got))

    @rule(key=st.sampled_from("ab"))
    def the_last_waiter_gives_up(self, key: str) -> None:
        waiting = self.last.get(key, [])
        if waiting and self.now < waiting[-1][0]:  # its turn has not come
            _, reservation = waiting.pop()
            self.schedule.give_back(reservation)
            self.tokens[key], self.filled[key] = self.level(key) + 1, self.now


BucketModel.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestBucketModel = BucketModel.TestCase


@given(
    interval=st.integers(1, 10**9),
    burst=st.integers(1, 20),
    gaps=st.lists(st.integers(0, 3 * 10**9), max_size=60),
    longest=st.integers(0, 5 * 10**9),
)
def test_no_span_of_time_holds_more_calls_than_rate_and_burst_allow(interval, burst, gaps, longest):
    """Over every span: at most the burst, and one more for each whole interval in it."""
    schedule = Schedule(interval, burst, 10, OrderedDict())
    now, made = 0, []
    for gap in gaps:
        now += gap
        got = schedule.reserve(None, now, longest)
        if got.wait <= longest:
            made.append(now + got.wait)
    assert made == sorted(made)
    for first in range(len(made)):
        for last in range(first, len(made)):
            assert last - first + 1 <= burst + (made[last] - made[first]) // interval


def test_a_refusal_changes_nothing():
    """Asking often does not push the next call away."""
    schedule = Schedule(100, 1, 10, OrderedDict())
    schedule.reserve("a", 0, 0)
    for now in range(1, 100):
        assert schedule.reserve("a", now, 0).wait == 100 - now
    assert schedule.reserve("a", 100, 0).wait == 0


def test_who_gives_up_in_the_middle_leaves_those_behind_in_place():
    """Their waits were promised; only the last place can be given again."""
    schedule = Schedule(100, 1, 10, OrderedDict())
    places = [schedule.reserve("a", 0, 1000) for _ in range(4)]
    assert [place.wait for place in places] == [0, 100, 200, 300]
    schedule.give_back(places[1])
    assert schedule.reserve("a", 0, 1000).wait == 400
    schedule.give_back(places[3])
    assert schedule.reserve("a", 0, 1000).wait == 500


def test_those_who_give_up_from_the_end_leave_all_their_places():
    """One after the other is the last."""
    schedule = Schedule(100, 1, 10, OrderedDict())
    places = [schedule.reserve("a", 0, 1000) for _ in range(4)]
    for place in reversed(places[1:]):
        schedule.give_back(place)
    assert schedule.reserve("a", 0, 1000).wait == 100


def test_of_too_many_keys_the_one_unused_longest_is_forgotten():
    """And a refusal keeps no key."""
    schedule = Schedule(100, 1, 2, OrderedDict())
    for key in "abac":
        schedule.reserve(key, 0, 1000)
    assert list(schedule.due) == ["a", "c"]
    assert schedule.reserve("a", 0, 0).wait > 0
    schedule.reserve("c", 0, 0)
    assert list(schedule.due) == ["a", "c"]
    gone = schedule.reserve("b", 0, 1000)
    schedule.give_back(Reservation("a", 0, 0, 0))
    assert gone.wait == 0
    assert list(schedule.due) == ["c", "b"]
