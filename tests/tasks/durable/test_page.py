"""The page about durable tasks: its snippets run, in order, on a real PostgreSQL."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[3] / "docs" / "durable-tasks.md"
BLOCK = re.compile(
    r'^```py(?: title="(?P<file>[^"]+)")?\n(?P<shown>.*?)^```|^<!-- run\n(?P<hidden>.*?)^-->', re.MULTILINE | re.DOTALL
)


async def test_the_snippets_run(postgres_url, tmp_path, monkeypatch):
    """Files are written where they can be imported; what a reader need not see runs as well."""
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    monkeypatch.syspath_prepend(str(tmp_path))
    text = PAGE.read_text(encoding="utf-8")
    names: dict[str, Any] = {"page": text}
    ran = 0
    try:
        for block in BLOCK.finditer(text):
            if block["file"]:
                (tmp_path / block["file"]).write_text(block["shown"], encoding="utf-8")
                importlib.invalidate_caches()
                continue
            line = text.count("\n", 0, block.start()) + 1
            tree = ast.parse("\n" * line + (block["shown"] or block["hidden"]), filename=str(PAGE))
            code = compile(tree, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            outcome = eval(code, names)
            if inspect.isawaitable(outcome):
                await outcome
            ran += 1
    finally:
        for module in ("analyses", "invoices"):
            sys.modules.pop(module, None)
    assert ran >= 7
