"""What the demo shows: how it goes, and how it went."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.creator_service.load import Sent, percentile

__all__ = ("LiveBars", "LiveLines", "LiveProgress", "Measured", "live_progress", "show_table")

_LINE_EVERY = 2.0
_NUMBERS = ("requests", "served", "degraded", "no data", "failed", "p50 ms", "p99 ms", "upstream calls", "calls saved")


@dataclass(frozen=True, slots=True)
class Measured:
    """One phase, with the library on or off.

    Attributes:
        phase: Its name.
        outage: Whether the upstreams were failing.
        side: "on" or "off".
        sent: How the questions went.
        calls: Calls that reached the upstreams.
        transitions: What the breakers did.
    """

    phase: str
    outage: bool
    side: str
    sent: Sequence[Sent]
    calls: int
    transitions: Sequence[str] = ()

    @property
    def served(self) -> int:
        """Questions answered, degraded or not."""
        return sum(sent.served for sent in self.sent)

    @property
    def degraded(self) -> int:
        """Of these, answers marked as degraded."""
        return sum(sent.degraded for sent in self.sent)

    @property
    def without_data(self) -> int:
        """Of these, answers that could say no more than that."""
        return sum(sent.without_data for sent in self.sent)

    @property
    def served_share(self) -> float:
        """0 to 1."""
        return self.served / len(self.sent)

    @property
    def calls_per_request(self) -> float:
        """Upstream calls for one question."""
        return self.calls / len(self.sent)

    def latency(self, share: float) -> float:
        """In milliseconds."""
        return 1000 * percentile((sent.seconds for sent in self.sent), share)

    def calls_saved(self, other: Measured) -> float:
        """Upstream calls that the other would have made for these questions and this did not."""
        return other.calls_per_request * len(self.sent) - self.calls

    def saved(self, other: Measured) -> float:
        """Share of the upstream calls per question that the other made and this did not."""
        return 1 - self.calls_per_request / other.calls_per_request if other.calls else 0.0


def show_table(console: Console, pairs: Sequence[tuple[Measured, Measured]]) -> None:
    """Print the final table.

    Args:
        console: Where.
        pairs: For each phase what was measured with the library on, and off.
    """
    table = Table(title="The same questions, with the library on and off")
    for heading in ("phase", "library"):
        table.add_column(heading)
    for heading in _NUMBERS:
        table.add_column(heading, justify="right")
    table.add_column("breaker transitions to", no_wrap=True)
    for on, off in pairs:
        saved = f"{on.calls_saved(off):.0f} ({100 * on.saved(off):.0f} %)"
        table.add_row(*_cells(on), saved, _counted(on.transitions))
        table.add_row(*_cells(off), end_section=True)
    console.print(table)


def _cells(row: Measured) -> list[str]:
    failed = len(row.sent) - row.served
    counts = (len(row.sent), f"{row.served} ({100 * row.served_share:.4g} %)", row.degraded, row.without_data, failed)
    times = (f"{row.latency(0.5):.1f}", f"{row.latency(0.99):.1f}")
    return [row.phase, row.side, *map(str, counts), *times, str(row.calls)]


def _counted(transitions: Sequence[str]) -> str:
    """Lines such as `openai_api: open 3, half_open 2`, from lines such as `openai_api: half_open > open`."""
    entered: dict[str, dict[str, int]] = {}
    for transition in transitions:
        breaker, _, states = transition.partition(": ")
        state = states.rpartition(" > ")[2]
        counts = entered.setdefault(breaker, {})
        counts[state] = counts.get(state, 0) + 1
    return "\n".join(
        f"{breaker}: {', '.join(f'{state} {count}' for state, count in counts.items())}"
        for breaker, counts in entered.items()
    )


class LiveProgress(Protocol):
    """Shows how a phase goes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def begin(self, phase: str, expected: dict[str, int]) -> Callable[[str, Sent], None]:
        """Begin a phase.

        Args:
            phase: Its name.
            expected: "on" and "off" to the number of questions.

        Returns:
            To be told of each question that ended, with its side.
        """
        ...


def live_progress(console: Console) -> LiveProgress:
    """Bars where somebody looks at a terminal, lines elsewhere."""
    return LiveBars(console) if console.is_terminal else LiveLines(console)


@dataclass(slots=True)
class _Tally:
    expected: int
    ended: int = 0
    degraded: int = 0
    failed: int = 0

    def add(self, sent: Sent) -> None:
        self.ended += 1
        self.degraded += sent.degraded
        self.failed += not sent.served

    def __str__(self) -> str:
        return f"{self.ended}/{self.expected}, {self.degraded} degraded, {self.failed} failed"


class LiveLines:
    """A line every two seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def begin(self, phase: str, expected: dict[str, int]) -> Callable[[str, Sent], None]:
        """See `LiveProgress.begin`."""
        tallies = {side: _Tally(number) for side, number in expected.items()}
        started = said = time.monotonic()

        def tell(side: str, sent: Sent) -> None:
            nonlocal said
            tallies[side].add(sent)
            now = time.monotonic()
            if now - said < _LINE_EVERY and any(tally.ended < tally.expected for tally in tallies.values()):
                return
            said = now
            text = "   ".join(f"{side}: {tally}" for side, tally in tallies.items())
            self._console.print(f"{phase:<9} {now - started:5.1f} s   {text}", highlight=False)

        return tell


class LiveBars:
    """Two bars for each phase."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            console=console,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, phase: str, expected: dict[str, int]) -> Callable[[str, Sent], None]:
        """See `LiveProgress.begin`."""
        tallies = {side: _Tally(number) for side, number in expected.items()}
        bars: dict[str, TaskID] = {
            side: self._bars.add_task(f"{phase:<9} {side:<3}", total=number, said="")
            for side, number in expected.items()
        }

        def tell(side: str, sent: Sent) -> None:
            tallies[side].add(sent)
            said = f"{tallies[side].degraded} degraded, {tallies[side].failed} failed"
            self._bars.update(bars[side], completed=tallies[side].ended, said=said)

        return tell
