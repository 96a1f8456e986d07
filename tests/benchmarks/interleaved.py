"""Comparing the cost of calls on a shared machine: every variant in turn, many rounds, ratios of minima and medians."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Loop = Callable[[int], object]
"""Makes the given number of calls."""


@dataclass(frozen=True)
class Cost:
    """Nanoseconds per call over all rounds."""

    least: float
    median: float


def measure(variants: Mapping[str, Loop], *, rounds: int = 15, calls: int = 20_000) -> dict[str, Cost]:
    """Run all variants in a new order each round, so that what else the machine does hits all alike."""
    seen: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants)
    gc.disable()
    try:
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                started = time.perf_counter_ns()
                variants[name](calls)
                seen[name].append((time.perf_counter_ns() - started) / calls)
    finally:
        gc.enable()
    return {name: Cost(min(values), statistics.median(values)) for name, values in seen.items()}


def table(costs: Mapping[str, Cost], *, to: str) -> str:
    """The figures as text, with the ratio to one of the variants."""
    base = costs[to]
    lines = [f"{'':44}{'min ns':>10}{'median ns':>12}{'x min':>9}{'x median':>10}"]
    for name, cost in costs.items():
        ratios = f"{cost.least / base.least:>9.2f}{cost.median / base.median:>10.2f}"
        lines.append(f"{name:44}{cost.least:>10.0f}{cost.median:>12.0f}{ratios}")
    return "\n".join(lines)
