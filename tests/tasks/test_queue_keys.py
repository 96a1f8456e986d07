"""The order in which tasks of several keys start: in turns, and not at the cost of who has waited long enough."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from creatormate_resilience.tasks import TaskPriority
from creatormate_resilience.tasks._queue import TaskQueue
from creatormate_resilience.testing import FakeClock

LOW, NORMAL, HIGH, CRITICAL = TaskPriority
KINDS = ("async", "thread")
EXAMPLES = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 200


def queue(aging: float = 10.0) -> TaskQueue[str, str]:
    return TaskQueue(KINDS, aging)


def test_keys_take_turns_and_the_late_key_does_not_wait_for_the_backlog() -> None:
    """A tenant with a hundred tasks delays another's first one by one task."""
    waiting = queue()
    for n in range(100):
        waiting.push(f"a{n}", "async", NORMAL, 0.0, "a")
    for n in range(3):
        waiting.push(f"b{n}", "async", NORMAL, 1.0, "b")
    assert [waiting.pop(KINDS) for _ in range(8)] == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "a4"]


def test_tasks_of_nobody_share_one_turn() -> None:
    """No key is one key."""
    waiting = queue()
    for item, key in (("n0", None), ("n1", None), ("a0", "a"), ("n2", None)):
        waiting.push(item, "async", NORMAL, 0.0, key)
    assert [waiting.pop(KINDS) for _ in range(4)] == ["n0", "a0", "n1", "n2"]


def test_a_held_key_is_passed_and_keeps_its_order() -> None:
    """Its tasks wait, also those that come while it is held, and are counted."""
    waiting = queue()
    waiting.push("a0", "async", NORMAL, 0.0, "a")
    waiting.hold("a")
    waiting.push("a1", "async", NORMAL, 1.0, "a")
    waiting.push("b0", "async", NORMAL, 2.0, "b")
    waiting.push("a2", "thread", HIGH, 3.0, "a")
    assert (waiting.pop(KINDS), waiting.pop(KINDS), waiting.size) == ("b0", None, 3)
    assert (waiting.oldest(), waiting.lowest(), waiting.count_below(HIGH)) == (0.0, "a0", 2)
    waiting.release("a")
    assert [waiting.pop(KINDS) for _ in range(4)] == ["a2", "a0", "a1", None]


def test_a_stream_of_high_tasks_of_many_keys_does_not_hold_up_an_aged_low_one() -> None:
    """What comes more than two levels' waiting later never passes it, also not in a turn beside an old backlog."""
    clock, waiting = FakeClock(), queue(aging=10.0)
    for n in range(50):
        waiting.push(f"backlog {n}", "async", HIGH, clock.monotonic(), "backlog")
    for n in range(20):
        waiting.push(f"tenant {n} at 0", "async", HIGH, clock.monotonic(), f"tenant {n}")
    clock.advance(1.0)
    waiting.push("low", "async", LOW, clock.monotonic(), "poor")
    joined = {"low": 1.0}
    passed: list[float] = []
    n = 0
    while (item := waiting.pop(("async",))) != "low":
        assert item is not None
        passed.append(joined.get(item, 0.0))
        clock.advance(0.5)
        n += 1
        name = f"tenant {n % 20} at {clock.monotonic()}"
        joined[name] = clock.monotonic()
        waiting.push(name, "async", HIGH, clock.monotonic(), f"tenant {n % 20}")
    assert max(passed) <= 1.0 + 2 * 10.0, "it came too late to pass"


def test_a_thread_task_is_not_passed_for_ever_by_later_coroutines_of_other_keys() -> None:
    """Kinds that share the slots are served in the order of their weights, whoever's turn it is within one of them."""
    waiting, now = queue(), 0.0
    for n in range(50):
        waiting.push(f"backlog {n}", "async", NORMAL, now, "backlog")
    waiting.push("other", "async", NORMAL, now, "tenant")
    waiting.push("thread", "thread", NORMAL, 1.0)
    joined = {"other": 0.0}
    while (item := waiting.pop(KINDS)) != "thread":
        assert item is not None
        assert joined.get(item, 0.0) <= 1.0, "it came later and is not more urgent"
        now += 2.0
        joined[f"at {now}"] = now
        waiting.push(f"at {now}", "async", NORMAL, now, "tenant")


def test_a_queue_that_is_never_empty_does_not_grow() -> None:
    """Ten thousand tasks of keys that always have more waiting leave nothing behind."""
    waiting, n = queue(), 0
    for key in "abc":
        for n in range(4):
            waiting.push(f"{key}{n}", "async", NORMAL, 0.0, key)
    for n in range(10_000):
        waiting.pop(("async",))
        waiting.push(f"more {n}", "async", NORMAL, float(n), "abc"[n % 3])
    (line,) = [line for line in waiting._lines["async"] if line.turns]
    assert waiting.size == 12
    assert len(line._heads) < 200


@dataclass
class Waiting:
    item: str
    kind: str
    priority: TaskPriority
    joined: float
    key: str | None

    def weight(self, aging: float) -> float:
        return self.priority - self.joined / aging


@dataclass
class Model:
    """The queue as a list that is looked through from end to end."""

    aging: float
    items: list[Waiting] = field(default_factory=list)
    held: set[str | None] = field(default_factory=set)
    turns: dict[tuple[str, TaskPriority], list[str | None]] = field(default_factory=dict)

    def line(self, kind: str, priority: TaskPriority) -> list[Waiting]:
        return [one for one in self.items if (one.kind, one.priority) == (kind, priority) and one.key not in self.held]

    def keep_turns(self) -> None:
        """A key's turn begins at the end when its first task comes, and ends when its last one is gone."""
        for kind in KINDS:
            for priority in TaskPriority:
                turns = self.turns.setdefault((kind, priority), [])
                keys = list(dict.fromkeys(one.key for one in self.line(kind, priority)))
                turns[:] = [key for key in turns if key in keys] + [key for key in keys if key not in turns]

    def pop(self, kinds: tuple[str, ...]) -> set[str]:
        """The items that may be next."""
        may_start = [one for one in self.items if one.kind in kinds and one.key not in self.held]
        if not may_start:
            return set()
        most = max(one.weight(self.aging) for one in may_start)
        answer: set[str] = set()
        for first in [one for one in may_start if one.weight(self.aging) >= most - 1e-9]:
            turn = self.turns[first.kind, first.priority][0]
            mine = next(one for one in self.line(first.kind, first.priority) if one.key == turn)
            others = [one for one in may_start if (one.kind, one.priority) != (first.kind, first.priority)]
            ahead = [one for one in others if one.weight(self.aging) > mine.weight(self.aging) + 1e-9]
            near = [one for one in others if abs(one.weight(self.aging) - mine.weight(self.aging)) <= 1e-9]
            passes = any(one.priority > first.priority for one in others)
            if not ahead and not passes:
                answer.add(mine.item)
            if ahead or passes or near:
                answer |= {
                    one.item
                    for one in self.line(first.kind, first.priority)
                    if one.weight(self.aging) >= most - 1e-9 and one is self.head(one)
                }
        return answer

    def head(self, one: Waiting) -> Waiting:
        return next(other for other in self.line(one.kind, one.priority) if other.key == one.key)

    def take(self, item: str) -> None:
        (one,) = [one for one in self.items if one.item == item]
        self.items.remove(one)
        turns = self.turns[one.kind, one.priority]
        turns.remove(one.key)
        if any(other.key == one.key for other in self.line(one.kind, one.priority)):
            turns.append(one.key)


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("push"), st.sampled_from(KINDS), st.sampled_from(TaskPriority), st.sampled_from([None, *"abc"])
        ),
        st.tuples(st.just("pop"), st.sampled_from([KINDS, ("async",), ("thread",)])),
        st.tuples(st.just("remove"), st.integers(0, 50)),
        st.tuples(st.sampled_from(["hold", "release"]), st.sampled_from("abc")),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 2.0, 7.0])),
    ),
    max_size=60,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(steps)
def test_the_queue_does_what_looking_at_every_item_would(steps: list[tuple]) -> None:
    """Priorities, ages, turns, held keys and removals in any order: what starts is what the model lets start."""
    waiting, model, now, n = queue(aging=2.0), Model(aging=2.0), 0.0, 0
    for what, *given_ in steps:
        if what == "push":
            kind, priority, key = given_
            waiting.push(f"{n}", kind, priority, now, key)
            model.items.append(Waiting(f"{n}", kind, priority, now, key))
            n += 1
        elif what == "remove" and model.items:
            one = model.items[given_[0] % len(model.items)]
            waiting.remove(one.item, one.kind, one.priority, one.key)
            waiting.remove(one.item, one.kind, one.priority, one.key)
            model.items.remove(one)
        elif what == "hold":
            waiting.hold(given_[0])
            model.held.add(given_[0])
        elif what == "release":
            waiting.release(given_[0])
            model.held.discard(given_[0])
        elif what == "wait":
            now += given_[0]
        elif what == "pop":
            item = waiting.pop(given_[0])
            may = model.pop(given_[0])
            assert item in may if may else item is None
            if item is not None:
                model.take(item)
        model.keep_turns()
        check_what_can_be_asked(waiting, model)
    for key in "abc":
        waiting.release(key)
    assert sorted(iter(lambda: waiting.pop(KINDS), None)) == sorted(one.item for one in model.items)


def check_what_can_be_asked(waiting: TaskQueue[str, str], model: Model) -> None:
    assert waiting.size == len(model.items)
    assert waiting.oldest() == min((one.joined for one in model.items), default=None)
    for priority in TaskPriority:
        assert waiting.count_below(priority) == sum(one.priority < priority for one in model.items)
    lowest = min(((one.priority, one.joined) for one in model.items), default=None)
    found = waiting.lowest()
    assert (found is None) == (lowest is None)
    if lowest is not None:
        assert found in {one.item for one in model.items if (one.priority, one.joined) == lowest}
