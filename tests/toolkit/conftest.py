"""No test of the toolkit sees the settings of this machine, or leaves an `app.db` behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from creatormate_resilience.settings import Settings


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of its own, and no settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
