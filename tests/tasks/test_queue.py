"""The order in which waiting tasks start."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from creatormate_resilience.tasks import TaskPriority
from creatormate_resilience.tasks._queue import TaskQueue
from creatormate_resilience.tasks._slots import Slots
from creatormate_resilience.testing import FakeClock

LOW, NORMAL, HIGH, CRITICAL = TaskPriority


def queue(aging: float = 10.0) -> TaskQueue[str, str]:
    return TaskQueue(("async", "thread"), aging)


def drained(waiting: TaskQueue[str, str], kinds: tuple[str, ...] = ("async", "thread")) -> list[str]:
    return list(iter(lambda: waiting.pop(kinds), None))


def test_the_higher_priority_starts_first_and_within_one_the_first_that_came() -> None:
    """Priority decides, then the order of arrival."""
    waiting = queue()
    for item, priority in (("l", LOW), ("n1", NORMAL), ("c", CRITICAL), ("n2", NORMAL), ("h", HIGH)):
        waiting.push(item, "async", priority, now=0.0)
    assert drained(waiting) == ["c", "h", "n1", "n2", "l"]


def test_only_the_kinds_that_have_a_slot_are_looked_at() -> None:
    """A full kind does not hold up the others, and its items stay."""
    waiting = queue()
    waiting.push("thread", "thread", CRITICAL, now=0.0)
    waiting.push("async", "async", LOW, now=0.0)
    assert drained(waiting, ("async",)) == ["async"]
    assert waiting.size == 1


def test_a_removed_item_never_starts() -> None:
    """Removing takes an item from anywhere in its line; removing it twice does nothing."""
    waiting = queue()
    for item in "abc":
        waiting.push(item, "async", NORMAL, now=0.0)
    waiting.remove("b", "async", NORMAL)
    waiting.remove("b", "async", NORMAL)
    assert (waiting.size, drained(waiting)) == (2, ["a", "c"])


def test_a_steady_stream_of_high_delays_low_by_the_aging_bound_at_most() -> None:
    """With 10 s a level, a LOW task starts within 20 s although a HIGH one comes for each that starts, for ever."""
    clock, waiting = FakeClock(), queue(aging=10.0)
    for n in range(5):
        waiting.push(f"high {n}", "async", HIGH, clock.monotonic())
    waiting.push("low", "async", LOW, clock.monotonic())
    while waiting.pop(("async",)) != "low":
        clock.advance(0.5)
        waiting.push(f"high at {clock.monotonic()}", "async", HIGH, clock.monotonic())
        assert clock.monotonic() <= 20.0 + 5 * 0.5
    assert clock.monotonic() >= 20.0, "until then HIGH goes first"


def test_the_oldest_item_is_known() -> None:
    """`oldest` looks at all kinds and priorities."""
    waiting = queue()
    assert waiting.oldest() is None
    waiting.push("a", "async", HIGH, now=3.0)
    waiting.push("b", "thread", LOW, now=4.0)
    waiting.remove("a", "async", HIGH)
    assert waiting.oldest() == 4.0


@given(st.lists(st.tuples(st.sampled_from(TaskPriority), st.floats(0, 5), st.booleans())))
def test_the_next_is_always_the_greatest_weight(steps: list[tuple[TaskPriority, float, bool]]) -> None:
    """Whatever comes and goes: what starts has the greatest priority + waiting / aging at that moment."""
    waiting, model, now = queue(aging=2.0), deque[tuple[TaskPriority, float, str]](), 0.0
    for n, (priority, pause, pops) in enumerate(steps):
        now += pause
        waiting.push(str(n), "async", priority, now)
        model.append((priority, now, str(n)))
        if pops:
            weights = {item: level + (now - joined) / 2.0 for level, joined, item in model}
            item = waiting.pop(("async",))
            assert item is not None
            assert weights[item] >= max(weights.values()) - 1e-9
            model = deque(entry for entry in model if entry[2] != item)
    assert sorted(drained(waiting)) == sorted(item for _, _, item in model)


def test_slots_bound_each_kind_and_all_together() -> None:
    """A kind is open while it has a slot of its own and one of the common ones."""
    slots = Slots(3, {"async": 3, "thread": 1, "process": 1})
    slots.take("thread")
    assert set(slots.open_kinds) == {"async", "process"}
    assert (slots.free("async"), slots.free("thread")) == (2, 0)
    slots.take("async")
    slots.take("async")
    assert not slots.open_kinds
    slots.give_back("thread")
    assert set(slots.open_kinds) == {"async", "thread", "process"}
