"""Every Python snippet of the README and the docs is executed, on embedded defaults and on real servers.

The snippets of a page run in order and share their names. Top-level `await` works as in a notebook. What a reader need
not see stands in an HTML comment that begins with `hidden`; it runs as well.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPET = re.compile(
    r"^```python[^\n]*\n(?P<shown>.*?)^```|^<!-- hidden\n(?P<hidden>.*?)^-->", re.MULTILINE | re.DOTALL
)


def snippets(page: Path) -> Iterator[CodeType]:
    text = page.read_text(encoding="utf-8")
    for match in SNIPPET.finditer(text):
        code = match["shown"] or match["hidden"] or ""
        line = text.count("\n", 0, match.start()) + 1
        tree = ast.parse("\n" * line + code, filename=str(page))
        yield compile(tree, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


async def run_page(page: Path) -> int:
    names: dict[str, Any] = {"__name__": "snippet"}
    count = 0
    for code in snippets(page):
        outcome = eval(code, names)
        if inspect.isawaitable(outcome):
            await outcome
        count += 1
    return count


PAGES_WITH_SNIPPETS = [page for page in PAGES if SNIPPET.search(page.read_text(encoding="utf-8"))]


@pytest.fixture(autouse=True)
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snippet may write `app.db`; it does so in a directory of its own, and sees no settings of this machine."""
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_URL", "DATABASE_URL", "SENTRY_DSN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("page", PAGES_WITH_SNIPPETS, ids=lambda page: str(page.relative_to(ROOT)))
def test_snippets_run_on_embedded_defaults(page: Path) -> None:
    """Whoever copies the snippets of a page, in order, gets code that runs with nothing else installed or started."""
    assert is_async_safe(page) or asyncio.run(run_page(page)) > 0


def is_async_safe(page: Path) -> bool:
    """Run a page that brings its own event loop (the README) outside of ours; say whether it did."""
    codes = list(snippets(page))
    if any(code.co_flags & inspect.CO_COROUTINE for code in codes) or "asyncio.run" not in page.read_text(
        encoding="utf-8"
    ):
        return False
    names: dict[str, Any] = {"__name__": "snippet"}
    for code in codes:
        exec(code, names)
    return True


@pytest.mark.parametrize(
    "name",
    [
        "guide.md",
        "quickstart.md",
        "fastapi.md",
        "database/index.md",
        "database/pool.md",
        "database/transactions.md",
        "database/fastapi.md",
        "tasks/index.md",
        "tasks/queue.md",
        "tasks/recipes.md",
        "cache/index.md",
        "cache/recipes.md",
        "cache/guarantees.md",
    ],
)
def test_snippets_run_on_real_servers(
    name: str, redis_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same snippets run unchanged where REDIS_URL and DATABASE_URL name real servers."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    assert asyncio.run(run_page(ROOT / "docs" / name)) > 0
