"""The public API is a decision: a change of it is a visible line in `docs/public-api.txt`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import creatormate_resilience

HERE = Path(__file__).parent
GOLDEN = HERE.parents[1] / "docs" / "public-api.txt"


def test_public_api_is_the_one_that_was_decided():
    """The names and signatures offered are exactly those written down."""
    spec = importlib.util.spec_from_file_location("public_api", HERE / "public_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    command = f"python tests/architecture/{spec.name}.py > docs/public-api.txt"
    assert module.public_api() == GOLDEN.read_text(encoding="utf-8"), f"if the change is meant, run: {command}"


def test_top_level_offers_at_most_thirty_names_and_has_them_all():
    """The top level stays small, and each of its names can be had."""
    assert len(creatormate_resilience.__all__) <= 30
    for name in creatormate_resilience.__all__:
        assert getattr(creatormate_resilience, name) is not None


def test_importing_the_breaker_loads_no_heavy_package():
    """Who wants only a breaker pays for nothing else."""
    heavy = ("redis", "sqlalchemy", "pydantic", "starlette", "fastapi", "msgspec", "cachebox", "trio")
    code = f"import sys, creatormate_resilience.breaker; print([n for n in {heavy!r} if n in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_importing_the_package_loads_none_of_its_units():
    """`import creatormate_resilience` is cheap; names are resolved when they are used."""
    code = (
        "import sys, creatormate_resilience; print([n for n in sys.modules if n.startswith('creatormate_resilience.')])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
