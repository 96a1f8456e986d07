"""PostgreSQL, where a committed transaction survives kill -9; it need not survive a power cut, so fsync is off."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from servers._binaries import Binary, find_postgres
from servers._process import HOST, Server, ServerError
from servers._reaper import temporary_directory

__all__ = ("PostgresServer",)

# Their locks go with them, and dropping waits for the locks.
_DISCONNECT_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_DROP_EVERYTHING = """
DO $$
DECLARE schema name;
BEGIN
    FOR schema IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', schema);
    END LOOP;
    CREATE SCHEMA public;
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
END $$
"""

_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",  # off loses committed data on kill -9
    "max_connections": "100",
    "shared_buffers": "32MB",
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "log_min_messages": "warning",
}


class PostgresServer(Server):
    """A PostgreSQL server with the superuser `postgres` and no password.

    Args:
        binary: The program to run; found by `find_postgres` where left out.
        **settings: Server settings, for example `max_connections="20"`.
    """

    _stop_signal = signal.SIGINT  # fast shutdown: sessions are disconnected

    def __init__(self, *, binary: Binary | None = None, **settings: str) -> None:
        super().__init__(binary or find_postgres())
        self._settings = _SETTINGS | settings

    @property
    def url(self) -> str:
        """The database `postgres`."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Where clients connect to a database of this server."""
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        with self._superuser("postgres") as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url_of(name)

    def empty_database(self, name: str) -> None:
        """Disconnect everyone from a database and drop everything in it. Ten times quicker than making a new one."""
        with self._superuser(name) as connection:
            connection.execute(_DISCONNECT_OTHERS)
            connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(name)))
            connection.execute(_DROP_EVERYTHING)

    def execute(self, statement: str, database: str = "postgres") -> object:
        """Run a statement as the superuser, and return the first value of its first row, if it has any."""
        with self._superuser(database) as connection:
            cursor = connection.execute(statement.encode())
            row = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]

    def _superuser(self, database: str) -> psycopg.Connection:
        return psycopg.connect(self.url_of(database), autocommit=True, connect_timeout=10)

    def _prepare(self) -> Path:
        directory = _data_directory()
        copying = ["cp", "-a", f"{_template(self.binary)}/.", str(directory / "data")]
        subprocess.run(copying, check=True, cwd="/", **_as_user(_server_user()))
        return directory

    def _command(self, directory: Path) -> list[str]:
        (directory / "data" / "postmaster.pid").unlink(missing_ok=True)  # left by kill -9
        program = str(_programs(self.binary) / "postgres")
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        return [program, "-D", str(directory / "data"), "-p", str(self.port), *settings]

    def _popen_options(self) -> dict[str, Any]:
        return {"env": _environment(), **_as_user(_server_user())}

    def _answers(self) -> bool:
        parameters = b"user\0postgres\0database\0postgres\0\0"
        with socket.create_connection((HOST, self.port), timeout=5) as connection:
            connection.sendall(struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters)
            answer = connection.recv(1)  # "R": authentication; "E": an error, such as "starting up"
            connection.sendall(struct.pack("!ci", b"X", 4))  # Terminate
            return answer == b"R"


@functools.cache
def _template(binary: Binary) -> Path:
    """A data directory fresh from initdb. Copying it is several times quicker than another initdb."""
    data = _data_directory() / "data"
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
    command = [str(_programs(binary) / "initdb"), "-D", str(data), *options]
    made = subprocess.run(
        command, capture_output=True, text=True, cwd="/", check=False, env=_environment(), **_as_user(_server_user())
    )
    if made.returncode != 0:
        raise ServerError(f"initdb of {binary} failed:\n{made.stdout}{made.stderr}")
    return data


def _data_directory() -> Path:
    """A temporary directory with a directory `data` that belongs to the server's user."""
    user = _server_user()
    directory = temporary_directory(public=user is not None)
    data = directory / "data"
    data.mkdir(mode=0o700)
    if user is not None:
        os.chown(data, user.pw_uid, user.pw_gid)
    return directory


def _environment() -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return mine | {"LC_ALL": "C", "TZ": "UTC"}


def _server_user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root, and initdb wants a user with an entry in the user database."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@functools.cache
def _programs(binary: Binary) -> Path:
    """The directory of initdb and postgres, where the server's user can execute them: a copy where need be."""
    programs = binary.path.parent
    user = _server_user()
    if user is None or _runs(binary.path, user):
        return programs
    # Typically a virtual environment below root's private home. Its libraries are found relative to the programs.
    installation = programs.parent.parent
    copies = temporary_directory(public=True)
    for part in (installation, installation.with_name(f"{installation.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, copies / part.name, symlinks=True)
    copied = copies / installation.name / programs.parent.name / programs.name
    if not _runs(copied / "postgres", user):
        raise ServerError(f"{binary.path} cannot be executed by the user {user.pw_name}, and neither can a copy of it")
    return copied


def _runs(program: Path, user: pwd.struct_passwd) -> bool:
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, cwd="/", check=False, **_as_user(user))
    except PermissionError:
        return False
    return answer.returncode == 0
