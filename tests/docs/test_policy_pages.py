"""The pages of breaker, policies and deadlines have one form, and say of options, events and statistics what is so."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from creatormate_resilience import breaker, deadline, policies
from creatormate_resilience.breaker import BreakerState, CircuitBreakerConfig, CountWindow, TimeWindow
from creatormate_resilience.policies import HedgeConfig, RateLimiterConfig, RetryConfig, exponential

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted({DOCS / "breaker.md", *(DOCS / "policies").glob("*.md")} - {DOCS / "policies" / "index.md"})
FORM = ["What for", "Usage", "Defaults", "Events and statistics", "Diagram", "Anti-patterns"]
CONFIGURED: dict[object, type[Any]] = {
    policies.Retry: RetryConfig,
    policies.RateLimiter: RateLimiterConfig,
    policies.Hedge: HedgeConfig,
}
PLACES: dict[str, Callable[..., Any]] = {
    name: getattr(module, name)
    for module in (breaker, policies, deadline)
    for name in module.__all__
    if callable(getattr(module, name))
}
LOCAL = {
    "CircuitBreakerConfig": CircuitBreakerConfig,
    "CountWindow": CountWindow,
    "TimeWindow": TimeWindow,
    "exponential": exponential,
    **BreakerState.__members__,
}
REQUIRED = {inspect.Parameter.empty, dataclasses.MISSING}
NO_VALUES = {"clock", "classify"}
"""Rows that name a default in words."""
LEFT_OUT = {"default", "config"}
"""Where None means the configuration that the row shows."""


def sections(page: Path) -> dict[str, str]:
    """Heading to text, of the headings of the second level."""
    parts = re.split(r"^## (.*)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def tables(page: Path) -> dict[str, dict[str, str]]:
    """What has a table of options on a page: name of the option to its default, as it is printed."""
    found = re.findall(r"^\| `(\w+)` \| default \| meaning \|\n((?:\|.*\n)+)", sections(page)["Defaults"], re.MULTILINE)
    return {name: dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", rows, re.MULTILINE)) for name, rows in found}


def options_of(made: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of something, with their defaults."""
    config = CONFIGURED.get(made, made)
    if dataclasses.is_dataclass(config):
        return {
            each.name: each.default if each.default_factory is dataclasses.MISSING else each.default_factory()
            for each in dataclasses.fields(config)
        }
    return {name: each.default for name, each in inspect.signature(made).parameters.items()}


TABLES = [
    pytest.param(PLACES[name], rows, id=f"{page.stem}-{name}") for page in PAGES for name, rows in tables(page).items()
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_the_form(page: Path) -> None:
    """Whoever knows one page finds his way on all: the same sections in the same order, and what belongs into them."""
    text = sections(page)
    assert list(text) == FORM
    assert "```python" in text["Usage"]
    assert "```text" in text["Diagram"]
    assert text["Anti-patterns"].lstrip().startswith("| do not | do |")
    assert tables(page)


def test_every_policy_has_a_page_and_the_overview_names_it() -> None:
    """No page is left out of the overview, and no policy is left without a table of its options."""
    overview = (DOCS / "policies" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"({page.name})" in overview or f"(../{page.name})" in overview, page.name
    described = {name for page in PAGES for name in tables(page)}
    assert {name for name, each in PLACES.items() if callable(getattr(each, "acall", None))} <= described


@pytest.mark.parametrize(("made", "rows"), TABLES)
def test_a_table_of_options_is_complete_and_its_defaults_are_so(made: Callable[..., Any], rows: dict[str, str]) -> None:
    """Each parameter has a row, in its order, and what the row gives as default is what you get without it."""
    known = options_of(made)
    assert list(rows) == list(known)
    for name, shown in rows.items():
        if name in NO_VALUES and not shown.startswith("`"):
            continue
        assert (shown == "") == _is_required(known[name]), name
        if shown and not (name in LEFT_OUT and known[name] is None):
            assert eval(shown.strip("`"), dict(LOCAL)) == known[name], name


def _is_required(default: Any) -> bool:
    return any(default is each for each in REQUIRED)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_tells_of_events_what_they_carry(page: Path) -> None:
    """An event stands on its page as a call with all its fields, in their order."""
    shown = re.findall(r"`([A-Z]\w+)\(([a-z_, ]+)\)`", sections(page)["Events and statistics"])
    assert shown or page.stem in {"pipeline", "deadlines"}
    for name, given in shown:
        assert [each.name for each in dataclasses.fields(PLACES[name])] == given.split(", "), name


@pytest.mark.parametrize(
    "kind", [each for name, each in PLACES.items() if name.endswith("Statistics")], ids=lambda kind: kind.__name__
)
def test_every_number_of_the_statistics_is_named(kind: type[Any]) -> None:
    """Each field of a snapshot is named on the page that the snapshot belongs to."""
    owner = {"BreakerStatistics": "breaker", "RetryBudgetStatistics": "retry", "RateLimiterStatistics": "rate-limiter"}
    stem = owner.get(kind.__name__, kind.__name__.removesuffix("Statistics").lower())
    (page,) = (page for page in PAGES if page.stem == stem)
    named = set(re.findall(r"`(\w+)`", sections(page)["Events and statistics"]))
    assert {each.name for each in dataclasses.fields(kind)} - {"name"} <= named


def test_the_readme_links_to_pages_that_exist() -> None:
    """The builder of the docs does not look at the README, so this does."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
