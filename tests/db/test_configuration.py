"""What may be asked of a database, and what is said to whoever asks wrongly."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from creatormate_resilience.db import Database, DatabaseConfig, _url
from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError

GUIDE = {"pool_size": 10, "max_overflow": 20, "pool_timeout": 30, "pool_recycle": 3600, "pool_pre_ping": True}


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("postgres://ada:pw@db:5433/shop", "postgresql+asyncpg://ada:***@db:5433/shop"),
        ("postgresql://db/shop", "postgresql+asyncpg://db/shop"),
        ("postgresql+asyncpg://db/shop", "postgresql+asyncpg://db/shop"),
        ("postgresql://db/shop?sslmode=require", "postgresql+asyncpg://db/shop?ssl=require"),
        ("sqlite:///app.db", "sqlite+aiosqlite:///app.db"),
        ("sqlite+aiosqlite:////var/app.db", "sqlite+aiosqlite:////var/app.db"),
    ],
)
def test_everyday_urls_get_their_asyncio_driver(url, becomes):
    """`postgres://` and `sqlite://` as found in environment variables work as they are."""
    assert str(_url.parse_url(url)) == becomes


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hunter2@db:port/shop",
        "mysql://ada:hunter2@db/shop",
        "ada:hunter2@db",
        "postgresql://ada:hunter2@db/shop?colour=red",
        "",
    ],
)
def test_an_unusable_url_is_one_clear_error_without_the_password(url):
    """The error says what to write instead; the password is in none of its texts."""
    with pytest.raises(ConfigurationError) as caught:
        Database(url or "://")
    assert "URL" in str(caught.value)
    assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.cause_chain}"


def test_a_missing_driver_names_the_command_to_run(monkeypatch):
    """Without asyncpg a PostgreSQL URL is refused in the constructor."""
    monkeypatch.setattr(_url, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "creatormate-resilience\[postgres\]"'):
        Database("postgresql://db/shop")


def test_the_module_can_be_imported_without_sqlalchemy():
    """Only making a `Database` needs it, and then the error names the command to run."""
    program = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.startswith("sqlalchemy") else real(name, *rest)
from creatormate_resilience.db import *
assert not any(name.startswith("sqlalchemy") for name in sys.modules), "sqlalchemy was imported"
try:
    Database("postgresql://db/shop")
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("MissingDependencyError"), done.stderr
    assert "creatormate-resilience[postgres]" in done.stdout


def test_the_guides_mapping_configures_the_pool():
    """`Database(url, **DATABASE_CONFIG)` takes all five keys."""
    database = Database("postgresql://db/shop", **GUIDE)
    assert database.pool_statistics().size == 10
    assert database.pool_statistics().max_overflow == 20
    assert (database.config.pool_timeout, database.config.pool_recycle) == (30, 3600)


def test_an_option_wins_over_the_config():
    """A configuration may be shared, and one field of it be different."""
    database = Database("postgresql://db/shop", config=DatabaseConfig(pool_size=3, pool_timeout=1), pool_size=7)
    assert (database.config.pool_size, database.config.pool_timeout) == (7, 1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("pool_size", 0),
        ("pool_size", True),
        ("pool_size", 2.5),
        ("max_overflow", -1),
        ("pool_timeout", 0),
        ("pool_timeout", float("nan")),
        ("pool_recycle", 0),
        ("connect_timeout", "5"),
        ("command_timeout", -3),
        ("idle_in_transaction_timeout", -1),
        ("pool_pre_ping", "yes"),
        ("poolsize", 10),
    ],
)
def test_a_wrong_option_is_named_together_with_what_is_accepted(option, value):
    """Nothing is rounded, clipped or ignored."""
    with pytest.raises(ConfigurationError, match=rf"{option}.*accepted"):
        Database("postgresql://db/shop", **{option: value})


def test_an_engine_of_ones_own_goes_with_no_other_setting():
    """Settings beside `engine=` would have no effect, so they are refused."""
    engine = create_async_engine("sqlite+aiosqlite://")
    with pytest.raises(ConfigurationError, match="engine="):
        Database(engine=engine, pool_size=3)


def test_no_repr_shows_a_secret():
    """Neither password nor driver arguments appear."""
    database = Database("postgresql://ada:hunter2@db/shop?sslmode=require", connect_args={"passfile": "hunter2"})
    assert "hunter2" not in f"{database!r} {database.config!r}"
    assert "db:5432/shop not started" in repr(database)
