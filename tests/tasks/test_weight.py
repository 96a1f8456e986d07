"""How much memory a result is taken for: at a bounded cost, and whatever the result is."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator, Set
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creatormate_resilience.exceptions import TaskError, TaskNotFoundError
from creatormate_resilience.tasks import HistoryLimits, TaskExecutor, TaskStatus
from creatormate_resilience.tasks._history import weight_of

EXAMPLES = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 100
MANY = 1_000_000


class Watched(list[int]):
    """Counts who looks into it."""

    def __init__(self) -> None:
        super().__init__(range(10))
        self.looks = 0

    def __iter__(self) -> Iterator[int]:
        self.looks += 1
        raise RuntimeError("user code")


class OfADatabase(Set[int]):
    """A set whose iteration is a query."""

    def __contains__(self, item: object) -> bool:
        raise RuntimeError("user code")

    def __iter__(self) -> Iterator[int]:
        raise RuntimeError("user code")

    def __len__(self) -> int:
        raise RuntimeError("user code")


class Proxy:
    """Like a proxy of a web framework: outside its request every attribute raises."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("outside of a request")

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("outside of a request")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("outside of a request")


class Unsized:
    def __sizeof__(self) -> int:
        raise RuntimeError("user code")


class Slotted:
    __slots__ = ("a",)


ODD: tuple[Callable[[], object], ...] = (Watched, OfADatabase, Proxy, Unsized, Slotted)


@pytest.mark.parametrize("make", ODD)
def test_weighing_runs_no_code_of_the_result(make: Callable[[], object]) -> None:
    """A result that raises, or asks a database, when it is looked at is weighed all the same."""
    assert weight_of(make()) > 0
    assert weight_of([make()]) > weight_of([])
    assert weight_of({"a": make()}) > weight_of({"a": None})


def test_cyclic_and_shared_values_are_weighed_at_a_bounded_cost() -> None:
    """A list in itself, 2**60 paths through sixty lists, and a million items end after a thousand looks."""
    cycle: list[Any] = []
    cycle.append(cycle)
    paths: list[Any] = []
    for _ in range(60):
        paths = [paths, paths]
    rows = [[n] for n in range(MANY)]
    for value in (cycle, paths, rows, {n: {} for n in range(MANY)}, set(range(MANY)), tuple(rows)):
        assert 0 < weight_of(value) < 200_000_000
    wide = [[0] * 1000 for _ in range(1000)]
    assert 4_000_000 < weight_of(wide) < 80_000_000, "some stand for all"


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner) | st.just({1, 2}),
        max_leaves=30,
    )
)
def test_a_weight_is_at_least_that_of_the_longest_text(value: object) -> None:
    """Of values small enough to be looked at whole."""

    def texts(one: Any) -> Iterator[str | bytes]:
        if isinstance(one, str | bytes):
            yield one
        elif isinstance(one, dict):
            yield from texts([*one, *one.values()])
        elif isinstance(one, list | tuple):
            for part in one:
                yield from texts(part)

    assert weight_of(value) >= max((len(text) for text in texts(value)), default=0)


@pytest.mark.anyio
class TestWeightInTheHistory:
    """What the executor does with it."""

    @pytest.mark.parametrize("make", ODD)
    async def test_an_odd_result_is_a_result(self, make: Callable[[], object]) -> None:
        """It reaches who waits for it, and the executor goes on."""
        value = make()

        async def gives() -> object:
            return value

        async with TaskExecutor() as executor:
            handle = await executor.submit(gives)
            assert (await handle.result(timeout=10)) is value
            assert await executor.drain(timeout=10)

    async def test_results_are_forgotten_by_their_bytes(self) -> None:
        """The oldest go first; those without weight go with their turn."""

        async def gives(size: int) -> bytes:
            return b"x" * size

        async with TaskExecutor(history=HistoryLimits(max_bytes=10_000)) as executor:
            handles = [await executor.submit(gives, 4000) for _ in range(4)]
            for handle in handles:
                await handle
            assert len(await executor.list()) == 2
            with pytest.raises(TaskNotFoundError):
                await executor.get(handles[0].id)
            assert (await executor.get(handles[3].id)).status is TaskStatus.SUCCEEDED

    async def test_one_giant_does_not_drive_out_the_others(self) -> None:
        """What is larger than the bound by itself is not kept, but by its handle."""

        async def gives(size: int) -> bytes:
            return b"x" * size

        async with TaskExecutor(history=HistoryLimits(max_bytes=10_000)) as executor:
            small = await executor.submit(gives, 100)
            await small
            giant = await executor.submit(gives, 20_000)
            assert len(await giant) == 20_000
            assert (await executor.get(small.id)).status is TaskStatus.SUCCEEDED
            with pytest.raises(TaskNotFoundError):
                await executor.get(giant.id)

    async def test_errors_have_weight_too(self) -> None:
        """An exception that keeps a whole response counts like a result of that size."""

        class FailedError(Exception):
            pass

        async def fails(how: str) -> None:
            body = "x" * 4000
            if how == "argument":
                raise FailedError(body.upper())
            if how == "attribute":
                error = FailedError()
                error.body = body.upper()  # type: ignore[attr-defined]
                raise error
            raise FailedError from ValueError(body.upper())

        async with TaskExecutor(history=HistoryLimits(max_bytes=10_000)) as executor:
            for how in ("argument", "attribute", "cause", "argument"):
                with pytest.raises(TaskError):
                    await (await executor.submit(fails, how))
            assert len(await executor.list()) == 2

    def test_deques_and_views_are_no_trouble(self) -> None:
        """Anything else is weighed as one object."""
        assert weight_of(collections.deque(range(10))) > 0
        assert weight_of({1: 2}.values()) > 0
        assert weight_of(weight_of) > 0
        assert weight_of(Watched) > 0
