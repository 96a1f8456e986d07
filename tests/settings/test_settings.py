"""Settings: the guide's names, from arguments, the environment and `.env`, with one clear line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.settings import Settings

GUIDE_ENV = """\
# Redis Configuration
REDIS_URL=redis://localhost:6379

# Database Configuration (PostgreSQL recommended for production)
DATABASE_URL=postgresql+asyncpg://user:password@localhost/creatormate

# Enhanced Features
ENABLE_CIRCUIT_BREAKERS=true
ENABLE_DISTRIBUTED_CACHE=true
ENABLE_ASYNC_PROCESSING=true

# Monitoring
SENTRY_DSN=your_sentry_dsn_here
"""


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees settings of this machine."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_defaults_are_the_guides_and_need_no_server():
    """Without any setting: memory cache, SQLite, everything on, the guide's breakers and categories."""
    settings = Settings()
    assert settings.redis_url is None
    assert settings.database_url.startswith("sqlite")
    assert settings.enable_circuit_breakers
    assert settings.circuit_breaker_configs["openai_api"] == {
        "failure_threshold": 3, "recovery_timeout": 30, "timeout": 60
    }  # fmt: skip
    assert settings.cache_ttls == {
        "agent_response": 1800, "user_context": 3600, "youtube_api": 900, "analytics": 600
    }  # fmt: skip


def test_the_guides_env_file_is_read_as_it_stands(tmp_path):
    """The `.env` that the guide prints works, comments and placeholders included."""
    (tmp_path / ".env").write_text(GUIDE_ENV)
    settings = Settings()
    assert settings.redis_url == "redis://localhost:6379"
    assert settings.database_url == "postgresql+asyncpg://user:password@localhost/creatormate"
    assert settings.sentry_dsn == "your_sentry_dsn_here"


def test_the_environment_wins_over_the_env_file_and_arguments_over_both(tmp_path, monkeypatch):
    """The nearer to the code, the stronger."""
    (tmp_path / ".env").write_text("CACHE_NAMESPACE=file\nENABLE_ASYNC_PROCESSING=false\n")
    monkeypatch.setenv("CACHE_NAMESPACE", "environment")
    assert Settings().cache_namespace == "environment"
    assert Settings(cache_namespace="argument").cache_namespace == "argument"
    assert not Settings().enable_async_processing


def test_mappings_come_from_the_environment_as_json(monkeypatch):
    """CIRCUIT_BREAKER_CONFIGS, CACHE_TTLS and DATABASE_CONFIG are JSON objects."""
    monkeypatch.setenv("CACHE_TTLS", '{"users": 60, "videos": {"ttl": 30, "grace": 300}}')
    monkeypatch.setenv("DATABASE_CONFIG", '{"pool_size": 3}')
    settings = Settings()
    assert settings.cache_ttls == {"users": 60, "videos": {"ttl": 30, "grace": 300}}
    assert settings.database_config == {"pool_size": 3}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"redis_ulr": "redis://h"}, "unknown setting 'redis_ulr'; did you mean 'redis_url'?"),
        ({"redis_url": "http://u:hunter2@h"}, "REDIS_URL: 'http://h' is no Redis URL"),
        ({"database_url": "mysql://u:hunter2@h/d"}, "DATABASE_URL: 'mysql://h/d' is no database URL"),
        ({"services": {"openai": {"timeout": -1}}}, "SERVICES.openai.timeout: Input should be greater than 0"),
        ({"services": {"openai": {"time_out": 1}}}, "SERVICES.openai.time_out: unknown setting; accepted are attempt_"),
        (
            {"services": {"a": {"timeout": 1, "attempt_timeout": 9}}},
            "SERVICES.a: attempt_timeout is 9; accepted is at most",
        ),
        ({"services": {"a": {"max_queue": 9}}}, "SERVICES.a: max_queue needs max_concurrent"),
        ({"enable_circuit_breakers": "perhaps"}, "ENABLE_CIRCUIT_BREAKERS: Input should be a valid boolean"),
    ],
)
def test_what_is_wrong_is_named_in_one_line_without_secrets(values, message):
    """The error names the setting and what is accepted; it never shows a password."""
    with pytest.raises(ConfigurationError) as caught:
        Settings(**values)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert "hunter2" not in text
    assert caught.value.__cause__ is None


def test_broken_json_names_the_variable(monkeypatch):
    """A mapping that is not JSON gives the variable's name, not a parser's trace."""
    monkeypatch.setenv("CACHE_TTLS", "{broken")
    with pytest.raises(ConfigurationError, match=r"^CACHE_TTLS: this is not JSON; accepted is a JSON object$"):
        Settings()


def test_repr_shows_no_password():
    """A settings object may be printed."""
    shown = repr(Settings(redis_url="redis://:hunter2@h/0", database_url="postgresql://u:hunter2@h/d"))
    assert "hunter2" not in shown
    assert "redis://h/0" in shown
