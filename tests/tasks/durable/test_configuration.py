"""What an engine is made with, and what it shows of it."""

from __future__ import annotations

import pytest

import creatormate_resilience.tasks._durable.procrastinate as module
from creatormate_resilience.exceptions import ConfigurationError, MissingDependencyError
from creatormate_resilience.tasks import Capability, TaskExecutor
from creatormate_resilience.tasks._durable._config import conninfo_of
from creatormate_resilience.tasks._durable._submission import new_id
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine

URL = "postgresql://user:geheim@db.example:5432/app?sslmode=require"


@pytest.mark.parametrize(
    ("dsn", "conninfo"),
    [
        (URL, URL),
        ("postgres://u@h/d", "postgresql://u@h/d"),
        ("postgresql+asyncpg://u:p%40@h/d?ssl=require", "postgresql://u:p%40@h/d?sslmode=require"),
        ("postgresql+psycopg://h/d", "postgresql://h/d"),
    ],
)
def test_urls_of_other_drivers_are_taken(dsn, conninfo):
    """The one that the application has already."""
    assert conninfo_of(dsn) == conninfo


@pytest.mark.parametrize("dsn", ["", "sqlite:///a.db", "mysql://u:geheim@h/d", "postgresql:/u", "postgresql://h:x/d"])
def test_what_is_no_postgresql_is_refused(dsn):
    """Without its password."""
    with pytest.raises(ConfigurationError) as refused:
        ProcrastinateEngine(dsn)
    assert "geheim" not in str(refused.value)


def test_an_engine_shows_no_secret():
    """Neither in its repr nor in that of the executor."""
    engine = ProcrastinateEngine(URL)
    assert "geheim" not in f"{engine!r}{TaskExecutor(engine=engine)!r}"
    assert "db.example" in repr(engine)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("schema", 'a"; DROP'),
        ("queue", "a b"),
        ("queue", "x" * 41),
        ("lease", 0),
        ("lease", float("nan")),
        ("max_freeze", -1),
        ("poll_interval", 0),
        ("result_ttl", 0),
        ("failure_ttl", 0),
        ("pool_size", 0),
        ("max_rescues", 0),
        ("connect_timeout", 0),
    ],
)
def test_options_out_of_range_are_refused(option, value):
    """By name."""
    with pytest.raises((ConfigurationError, ValueError), match=option):
        ProcrastinateEngine(URL, **{option: value})


def test_a_route_leads_to_a_queue():
    """Not to nowhere."""
    with pytest.raises(ConfigurationError, match="queue"):
        ProcrastinateEngine(URL, routes={"add": ""})


def test_without_procrastinate_the_error_says_what_to_install(monkeypatch):
    """At the construction."""
    monkeypatch.setattr(module, "_INSTALLED", False)
    with pytest.raises(MissingDependencyError, match="procrastinate"):
        ProcrastinateEngine(URL)


def test_it_says_what_it_cannot_do():
    """Everything else it can."""
    missing = frozenset(Capability) - ProcrastinateEngine(URL).capabilities
    assert missing == {Capability.ANY_FUNCTION, Capability.RETRY}


def test_ids_begin_with_their_time_and_are_uuids():
    """Version 7: the newest stand together."""
    import uuid

    ids = [new_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert {uuid.UUID(each).version for each in ids} == {7}
    assert ids[0][:8] == ids[-1][:8]
