"""The life of a server process: start, wait until it answers, freeze, kill, stop."""

from __future__ import annotations

import abc
import contextlib
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import psutil

from servers._binaries import Binary
from servers._reaper import family, kill_family, reaper, remove_directory

__all__ = ("HOST", "Server", "ServerError")

HOST = "127.0.0.1"


class ServerError(RuntimeError):
    """A server did not start or was used in the wrong state; carries the end of its log."""


def reserve_port(port: int) -> socket.socket:
    """A socket bound to this port (0: to a free one) that never listens.

    On Linux it keeps the port ours while the server is down: nobody else gets it, connecting is refused, and the server
    can listen on it beside us, as both allow reuse of the address. Elsewhere it is closed before the server starts.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind((HOST, port))
    return reservation


class Server(abc.ABC):
    """A server that the test owns. Cold until `start`; also a context manager.

    Attributes:
        binary: The program that runs.
    """

    _stop_signal: ClassVar[signal.Signals]

    def __init__(self, binary: Binary) -> None:
        self.binary = binary
        self._port = 0
        self._reservation: socket.socket | None = None
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[psutil.Process] = []

    # What each server defines ---------------------------------------------------------------------------------------
    @property
    @abc.abstractmethod
    def url(self) -> str:
        """Where clients connect."""

    @abc.abstractmethod
    def _prepare(self) -> Path:
        """Make the directory with everything the server needs for its first start."""

    @abc.abstractmethod
    def _command(self, directory: Path) -> list[str]:
        """The command line that runs the server on this directory."""

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Whether it serves requests now. May raise OSError."""

    def _popen_options(self) -> dict[str, Any]:
        return {}

    # State ----------------------------------------------------------------------------------------------------------
    @property
    def version(self) -> str:
        """Product and version, for example "PostgreSQL 15.18"."""
        return self.binary.version

    @property
    def port(self) -> int:
        """The port on 127.0.0.1, chosen at the first start and kept from then on.

        Raises:
            ServerError: It was never started.
        """
        if not self._port:
            raise ServerError(f"{self} has no port before its first start()")
        return self._port

    @property
    def running(self) -> bool:
        """Whether the process is there; a frozen one is."""
        return self._process is not None and self._process.poll() is None

    @property
    def frozen(self) -> bool:
        """Whether it was frozen and not resumed yet."""
        return bool(self._frozen)

    @property
    def pid(self) -> int:
        """Id of the main process.

        Raises:
            ServerError: It is not running.
        """
        return self._running_process().pid

    @property
    def directory(self) -> Path:
        """Its temporary directory, with data and log.

        Raises:
            ServerError: It was not started, or it was stopped.
        """
        if self._directory is None:
            raise ServerError(f"{self} has no directory before start() or after stop()")
        return self._directory

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self.directory / "log").read_text(errors="replace")

    # Life -----------------------------------------------------------------------------------------------------------
    def start(self) -> Self:
        """Start it and wait until it answers. After `kill` the data is still there, after `stop` it begins empty.

        Raises:
            ServerError: It is already running, or does not answer.
        """
        if self.running:
            raise ServerError(f"{self} is already running")
        first = self._directory is None
        try:
            self._directory = self._directory or self._prepare()
            self._take_port()
            self._launch(self._directory)
        except BaseException:
            if first:  # nobody will stop what never started
                self.stop()
            raise
        return self

    def stop(self) -> None:
        """Shut it down, remove its directory and let go of the port. Does nothing where nothing is left to stop."""
        self._shut_down()
        if self._reservation is not None:
            self._reservation.close()
            self._reservation = None
        if self._directory is not None:
            remove_directory(self._directory)
            self._directory = None

    def kill(self) -> None:
        """Kill it with SIGKILL (kill -9), the whole family of processes at once.

        Raises:
            ServerError: It is not running.
        """
        self._kill(self._running_process())

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP): connections stay open and nothing answers, until `resume`.

        Raises:
            ServerError: It is not running.
        """
        main = psutil.Process(self._running_process().pid)
        _suspend(main)  # the main process first: it starts no more children
        self._frozen = family(main)
        for member in self._frozen[1:]:
            _suspend(member)

    def resume(self) -> None:
        """Undo `freeze`."""
        for member in reversed(self._frozen):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.resume()
        self._frozen = []

    def restart(self) -> Self:
        """Shut it down in order and start it again, with its data. A dead or frozen one comes back too."""
        self._shut_down()
        return self.start()

    def restore(self) -> Self:
        """Make it serve again, whatever a test did to it: resume, or start."""
        self.resume()
        return self if self.running else self.start()

    # Inside ---------------------------------------------------------------------------------------------------------
    def _take_port(self) -> None:
        self._reservation = self._reservation or reserve_port(self._port)
        self._port = self._reservation.getsockname()[1]
        if sys.platform != "linux":
            self._reservation.close()
            self._reservation = None

    def _launch(self, directory: Path) -> None:
        command, options = self._command(directory), self._popen_options()
        with (directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True, **options
            )
        reaper().tell("process", self._process.pid)
        self._wait_until_it_answers()

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise ServerError(f"{self} is not running")
        return self._process

    def _shut_down(self) -> None:
        self.resume()
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._kill(self._process)
        reaper().tell("forget", self._process.pid)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        kill_family(psutil.Process(process.pid))
        process.wait(10)
        self._frozen = []
        reaper().tell("forget", process.pid)

    def _wait_until_it_answers(self, timeout: float = 30.0) -> None:
        end = time.monotonic() + timeout
        while not self._answers_now():
            if not self.running or time.monotonic() > end:
                raise ServerError(f"{self} did not start; the end of its log:\n{self.log[-2000:]}")
            time.sleep(0.005)

    def _answers_now(self) -> bool:
        try:
            return self._answers()
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "frozen" if self.frozen else "running" if self.running else "down"
        return f"<{type(self).__name__} {self.binary} on {HOST}:{self._port or '?'}, {state}>"


def _suspend(member: psutil.Process) -> None:
    """Stop a process, and wait until it has stopped."""
    with contextlib.suppress(psutil.NoSuchProcess):  # it ended between the look and the signal
        member.suspend()
        while member.status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}:
            time.sleep(0.001)
