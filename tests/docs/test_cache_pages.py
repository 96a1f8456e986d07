"""The pages of the cache say of options, verbs, events, statistics and guarantees what is so."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from creatormate_resilience import cache
from creatormate_resilience.cache import CacheCategory, CacheConfig, CacheStatistics, Compression, DistributedCache
from creatormate_resilience.events import Event
from creatormate_resilience.latencies import LatencyQuantiles

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "cache"
INDEX = (PAGES / "index.md").read_text(encoding="utf-8")
GUARANTEES = (PAGES / "guarantees.md").read_text(encoding="utf-8")
OPTIONS: dict[str, type[Any]] = {
    "DistributedCache": CacheConfig,
    "CacheCategory": CacheCategory,
    "Compression": Compression,
}
EVENTS = {name for name in cache.__all__ if Event in getattr(getattr(cache, name), "__mro__", ())}
PLACES: dict[str, Callable[..., Any]] = {
    **{f"cache.{name}": each for name, each in inspect.getmembers(DistributedCache, inspect.isfunction)},
    **{f"user.{name}": each for name, each in inspect.getmembers(cache.CachedFunction, inspect.isfunction)},
    "DistributedCache": DistributedCache,
    "CacheCategory": CacheCategory,
    "current_load": cache.current_load,
}


def rows_of(text: str, heading: str) -> list[list[str]]:
    """The cells of a table, by the first cell of its heading."""
    found = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found is not None, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_table_of_options_is_complete_and_its_defaults_are_so(name: str) -> None:
    """Each field has a row, in its order, and what the row gives as default is what you get without it."""
    fields = dataclasses.fields(OPTIONS[name])
    rows = {row[0].strip("`"): row[1].strip("`") for row in rows_of(INDEX, f"`{name}`")}
    assert list(rows) == [field.name for field in fields]
    for field in fields:
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        assert (default is dataclasses.MISSING) == (not rows[field.name]), field.name
        if rows[field.name]:
            assert eval(rows[field.name], {"Compression": Compression}) == default, field.name


def test_the_options_of_methods_are_so() -> None:
    """What a method can be given besides what it needs, with the defaults."""
    for names, shown, *_ in rows_of(INDEX, "method"):
        told = {name: eval(value) for name, value in re.findall(r"`(\w+)=([^`]+)`", shown)}
        for name in re.findall(r"`(\w+)`", names):
            parameters = inspect.signature(getattr(DistributedCache, name)).parameters.values()
            assert told == {each.name: each.default for each in parameters if each.default is not each.empty}, name


def test_every_verb_is_in_the_table_of_verbs() -> None:
    """Whoever looks for what there is finds it there, and nothing that there is not."""
    told = {name for verb, *_ in rows_of(INDEX, "verb") for name in re.findall(r"`(\w+)`", verb)}
    public = {name for name, _ in inspect.getmembers(DistributedCache, inspect.isfunction) if not name.startswith("_")}
    assert told == public - {"start", "aclose", "health", "statistics"}


def test_every_event_is_told_with_all_it_carries() -> None:
    """As a call with all fields, in their order."""
    told = dict(re.findall(r"^\| `([A-Z]\w+)\(([a-z_, ]+)\)` \|", INDEX, re.MULTILINE))
    assert told.keys() == EVENTS
    for name, given in told.items():
        assert [each.name for each in dataclasses.fields(getattr(cache, name))] == given.split(", "), name


def test_every_number_of_the_statistics_is_named() -> None:
    """Those of a category and of latencies too."""
    told = set(re.findall(r"`(\w+)`", INDEX.partition("It holds `state`")[2].partition("## ")[0])) | {"state"}
    fields = [*dataclasses.fields(CacheStatistics), *dataclasses.fields(LatencyQuantiles)]
    assert {field.name for field in fields} <= told


def test_every_guarantee_names_a_test_that_exists() -> None:
    """A promise that nothing holds is none."""
    tests = re.findall(r"`(test_\w+\.py)::([Tt]est\w+)`", GUARANTEES)
    missing = [
        f"{file}::{name}"
        for file, name in tests
        if not re.search(
            rf"^(async )?def {name}\(|^{name} = ",
            (ROOT / "tests" / "cache" / file).read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    ]
    assert len(tests) > 50
    assert missing == []
    promises = GUARANTEES.partition("## What always holds")[2].partition("\n## ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ") and not line.startswith("| promise |")]
    assert rows
    assert [row for row in rows if ".py::" not in row] == []


def calls_of(text: str) -> list[ast.Call]:
    """Our calls in a table of `migrating.md`: the second cell of each row."""
    spans = [
        span
        for line in text.splitlines()
        if line.startswith("| ")
        for span in re.findall(r"`([^`]+)`", line.split(" | ")[1])
    ]
    trees = [
        ast.parse(span.removeprefix("@").removeprefix("await "), mode="eval").body
        for span in spans
        if span.endswith(")")
    ]
    return [tree for tree in trees if isinstance(tree, ast.Call)]


@pytest.mark.parametrize("peer", ["cashews", "aiocache", "fastapi-cache2"])
def test_what_to_write_instead_can_be_written(peer: str) -> None:
    """Each call that the page proposes is one of ours and takes what it is given there."""
    page = (PAGES / "migrating.md").read_text(encoding="utf-8")
    calls = calls_of(page.partition(f"\n## {peer}\n")[2].partition("\n## ")[0])
    assert len(calls) > 5
    for call in calls:
        target = PLACES[ast.unparse(call.func)]
        given = {keyword.arg for keyword in call.keywords}
        if target is DistributedCache:
            assert given <= {field.name for field in dataclasses.fields(CacheConfig)}, ast.unparse(call)
        elif target is not PLACES["user.invalidate"] and target is not PLACES["user.refresh"]:
            bound = [None] * (len(call.args) + ("self" in inspect.signature(target).parameters))
            inspect.signature(target).bind(*bound, **dict.fromkeys(given))
