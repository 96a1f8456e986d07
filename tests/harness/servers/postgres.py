"""PostgreSQL, where a committed transaction survives kill -9 (it need not survive a power cut, so nothing is fsynced)."""

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
from typing import Any, ClassVar

from servers._binaries import Binary, find_postgres
from servers._process import HOST, Server, ServerError, temporary_directory

__all__ = ("PostgresServer",)

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

    scheme: ClassVar[str] = "postgresql"
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

    def _prepare(self) -> Path:
        user = _server_user()
        directory = temporary_directory(public=user is not None)
        data = directory / "data"
        data.mkdir(mode=0o700)
        if user is not None:
            os.chown(data, user.pw_uid, user.pw_gid)
        command = [_programs(self.binary) / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        command += ["--no-locale", "--no-sync", "--no-instructions"]
        made = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **self._popen_options())
        if made.returncode != 0:
            raise ServerError(f"initdb of {self} failed:\n{made.stdout}{made.stderr}")
        return directory

    def _command(self, directory: Path) -> list[str]:
        (directory / "data" / "postmaster.pid").unlink(missing_ok=True)  # left by kill -9
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        return [str(_programs(self.binary) / "postgres"), "-D", str(directory / "data"), "-p", str(self.port), *settings]

    def _popen_options(self) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {"env": environment | {"LC_ALL": "C", "TZ": "UTC"}, **_as_user(_server_user())}

    def _answers(self) -> bool:
        parameters = b"user\0postgres\0database\0postgres\0\0"
        with socket.create_connection((HOST, self.port), timeout=5) as connection:
            connection.sendall(struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters)
            answer = connection.recv(1)  # "R": authentication; "E": an error, such as "starting up"
            connection.sendall(struct.pack("!ci", b"X", 4))  # Terminate
            return answer == b"R"


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
