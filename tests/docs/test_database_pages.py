"""The pages of the database say of options, verbs, events, errors, figures and settings what is so."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from creatormate_resilience import db, exceptions
from creatormate_resilience.db import Database, DatabaseConfig, DatabaseHealth, DatabaseState, Holder, PoolStatistics
from creatormate_resilience.events import Event
from creatormate_resilience.exceptions import AlreadyExistsError, DatabaseError
from creatormate_resilience.latencies import LatencyQuantiles

PAGES = Path(__file__).parents[2] / "docs" / "database"
INDEX = (PAGES / "index.md").read_text(encoding="utf-8")
POOL = (PAGES / "pool.md").read_text(encoding="utf-8")
EVENTS = {name for name in db.__all__ if Event in getattr(getattr(db, name), "__mro__", ())}
PUBLIC = {name: each for name, each in inspect.getmembers(Database) if not name.startswith("_")}
METHODS = {name: each for name, each in PUBLIC.items() if inspect.isfunction(each)}


def rows_of(text: str, heading: str) -> list[list[str]]:
    """The cells of a table, by the first cell of its heading."""
    found = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found is not None, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]


def fields_of(kind: Any) -> list[str]:
    """The names of a dataclass's fields, in order."""
    return [each.name for each in dataclasses.fields(kind)]


def names_in(text: str) -> set[str]:
    """What stands in backticks and is a name."""
    return set(re.findall(r"`(\w+)`", text))


def test_the_table_of_options_is_complete_and_its_defaults_are_so() -> None:
    """Each field has a row, in its order, and what the row gives as default is what you get without it."""
    rows = {row[0].strip("`"): row[1].strip("`") for row in rows_of(INDEX, "`Database`")}
    assert list(rows) == fields_of(DatabaseConfig)
    config = DatabaseConfig()
    for name, shown in rows.items():
        assert eval(shown) == getattr(config, name), name


def test_everything_else_that_a_database_takes_is_named() -> None:
    """The constructor's own parameters."""
    named = names_in(INDEX.partition("Besides these:")[2].partition("\n\n")[0])
    parameters = inspect.signature(Database).parameters.values()
    assert {each.name for each in parameters if each.kind is not each.VAR_KEYWORD} <= named


def test_the_options_of_methods_are_so() -> None:
    """Every method is there, with what it can be given besides what it needs, and the defaults."""
    told = {}
    for names, shown in rows_of(INDEX, "method"):
        options = {name: eval(value) for name, value in re.findall(r"`(\w+)=([^`]+)`", shown)}
        told |= dict.fromkeys(re.findall(r"`(\w+)`", names), options)
    assert told.keys() == METHODS.keys()
    for name, options in told.items():
        parameters = inspect.signature(METHODS[name]).parameters.values()
        assert options == {each.name: each.default for each in parameters if each.default is not each.empty}, name
    properties = INDEX.partition("Properties are ")[2].partition("\n\n")[0]
    assert names_in(properties) == PUBLIC.keys() - METHODS.keys()


def test_every_event_is_told_with_all_it_carries() -> None:
    """As a call with all fields, in their order."""
    told = dict(re.findall(r"^\| `([A-Z]\w+)\(([a-z_, ]+)\)` \|", INDEX, re.MULTILINE))
    assert told.keys() == EVENTS
    for name, given in told.items():
        assert fields_of(getattr(db, name)) == given.split(", "), name


def test_every_error_of_the_family_is_there_with_its_status() -> None:
    """What a handler answers follows from it."""
    rows = rows_of(INDEX, "error")
    family = {
        name
        for name in exceptions.__all__
        if inspect.isclass(each := getattr(exceptions, name)) and issubclass(each, (DatabaseError, AlreadyExistsError))
    }
    assert family <= {row[0].strip("`") for row in rows}
    for name, status, *_ in rows:
        assert getattr(exceptions, name.strip("`")).status_code == int(status), name


def test_health_and_its_states_are_named() -> None:
    """Each field and each state."""
    named = names_in(INDEX.partition("`health()` has")[2].partition("\n\n")[0])
    assert set(fields_of(DatabaseHealth)) | set(DatabaseState) <= named


def test_every_figure_of_the_pool_is_named() -> None:
    """Those of a holder and of latencies too."""
    figures = names_in(POOL.partition("`pool_statistics()` is one snapshot")[2].partition("\n\n")[0])
    assert {*fields_of(PoolStatistics), *fields_of(LatencyQuantiles), "saturated"} <= figures
    assert set(fields_of(Holder)) <= names_in(POOL.partition("`holders()` has")[2].partition("\n\n")[0])


def test_the_table_of_metrics_is_complete() -> None:
    """Under the names that a dashboard gets."""
    told = {name for row in rows_of(POOL, "metric") for name in re.findall(r"`([^`]+)`", row[0])}
    seconds = LatencyQuantiles(0.1, 0.2, 0.3, 0.4)
    full = PoolStatistics(10, 5, 1, 2, 0, wait_time=seconds, use_time=seconds)
    assert told == full.as_metrics().keys()


def test_every_page_is_reached_from_the_overview() -> None:
    """Whoever finds the overview finds the rest."""
    for page in PAGES.glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in INDEX, page.name


@pytest.mark.parametrize("name", ["index", "pool", "transactions", "pgbouncer", "fastapi"])
def test_a_page_ends_with_what_not_to_do(name: str) -> None:
    """In two columns, as on the pages of policies and cache."""
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert text.partition("\n## Anti-patterns\n")[2].lstrip().startswith("| do not | do |")


def test_the_sizing_of_the_pool_is_calculated_with_the_defaults() -> None:
    """The sum changes with them."""
    config = DatabaseConfig()
    each = config.pool_size + config.max_overflow
    assert f"`pool_size + max_overflow`: {each} unless set" in POOL
    assert f"Six instances with the defaults come to {6 * each}." in POOL
