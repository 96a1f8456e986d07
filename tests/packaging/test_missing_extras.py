"""Without an optional package everything imports, and what needs it says at construction which command to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HIDE = "import sys\nfor name in {hidden!r}: sys.modules[name] = None\n"

CASES = [
    (("cachebox",), "from creatormate_resilience.cache import DistributedCache; DistributedCache()", "cache"),
    (("msgspec",), "from creatormate_resilience.cache import DistributedCache; DistributedCache()", "cache"),
    (("redis",), "from creatormate_resilience.cache import DistributedCache; DistributedCache('redis://h')", "redis"),
    (("redis",), "from creatormate_resilience.redis_client import open_redis; open_redis('redis://h')", "redis"),
    (("sqlalchemy",), "from creatormate_resilience.db import Database; Database()", "sqlite"),
    (("aiosqlite",), "from creatormate_resilience.db import Database; Database()", "sqlite"),
    (("asyncpg",), "from creatormate_resilience.db import Database; Database('postgresql://u@h/d')", "postgres"),
    (("pydantic_settings",), "from creatormate_resilience.settings import Settings; Settings()", "settings"),
    (
        ("starlette", "fastapi"),
        "from creatormate_resilience.integrations.starlette import setup_error_handlers; setup_error_handlers(None)",
        "fastapi",
    ),
    (
        ("fastapi",),
        "from creatormate_resilience.integrations.fastapi import setup_error_handlers; setup_error_handlers(None)",
        "fastapi",
    ),
    (
        ("cachebox",),
        "from creatormate_resilience import Resilience; Resilience().cache",
        "cache",
    ),
    (
        ("sqlalchemy",),
        "from creatormate_resilience import Resilience; Resilience().database",
        "sqlite",
    ),
]


def run(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=directory, check=False
    )


@pytest.mark.parametrize(("hidden", "code", "extra"), CASES)
def test_what_is_missing_is_named_with_the_command_that_brings_it(hidden, code, extra, tmp_path):
    """One line: what needs which package, and the pip command."""
    done = run(HIDE.format(hidden=hidden) + code, tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert "MissingDependencyError" in last
    assert f'pip install "creatormate-resilience[{extra}]"' in last


def test_the_lifespan_starts_without_cache_and_database(tmp_path):
    """`[fastapi]` alone can use `resilience_lifespan`: breakers, services and tasks work."""
    hidden = ("cachebox", "msgspec", "redis", "sqlalchemy", "aiosqlite", "asyncpg")
    code = """
import asyncio
from fastapi import FastAPI
from creatormate_resilience.integrations.fastapi import health_router, resilience_lifespan, setup_error_handlers
from creatormate_resilience.toolkit import Resilience

async def main():
    r = Resilience()
    app = FastAPI(lifespan=resilience_lifespan(r))
    setup_error_handlers(app)
    app.include_router(health_router(r))
    async with app.router.lifespan_context(app):
        assert await (await r.tasks.submit(sum, [1, 2])) == 3
        assert (await r.health.ready()).status == "pass"
        async def answer(): return 42
        assert await r.service("api").acall(answer) == 42

asyncio.run(main())
print("works")
"""
    done = run(HIDE.format(hidden=hidden) + code, tmp_path)
    assert done.stdout.strip() == "works", done.stderr
