"""The corpus with Sentry on: no secret is in any event, byte for byte.

What `sentry_sdk.init` patches cannot be unpatched, so this runs in a process of its own; this file is its script too.
"""

from __future__ import annotations

import gzip
import http.server
import subprocess
import sys
import threading
from pathlib import Path

from tests.integrations.hostile.app import make_app
from tests.integrations.hostile.corpus import exchange_all, rows
from tests.integrations.hostile.failures_family import DATA, ORDINARY
from tests.integrations.hostile.failures_foreign import BUILTINS, CLASSES, TEXTS
from tests.integrations.hostile.marks import secrets_in
from tests.integrations.hostile.rows import Row
from tests.integrations.hostile.server import served

from creatormate_resilience.integrations.sentry import SentryListener, start_sentry

ROOT = Path(__file__).parents[3]


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes what is reported."""

    received: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        packed = self.headers.get("content-encoding") == "gzip"
        self.received.append(gzip.decompress(body) if packed else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Nothing."""


def chosen() -> list[Row]:
    """What carries secrets to Sentry and takes it no second to look at: it walks through ten thousand causes."""
    names = {f"/raise/{failure.name}" for failure in (*TEXTS, *CLASSES, *BUILTINS, *ORDINARY, *DATA)}
    slow = {f"/raise/{name}" for name in ("recursion", "group-of-thousands", "group-of-groups", "name-of-a-megabyte")}
    return [row for row in rows() if (row.name in names or "secret" in row.name) and row.name not in slow]


def report() -> None:
    """Send the corpus to an application that reports to Sentry, and print what was reported."""
    Receiver.received = []
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    sentry = start_sentry(f"http://key@127.0.0.1:{receiver.server_port}/1", transport_queue_size=5000)
    with served(make_app(listeners=[SentryListener()])) as server:
        exchange_all(server.port, chosen())
        sentry.close(20)
    receiver.shutdown()
    sys.stdout.buffer.write(b"\n".join(Receiver.received))


def test_no_secret_reaches_sentry(tmp_path):
    """Not in one event of those that the corpus makes, in any coding."""
    told = subprocess.run(
        [sys.executable, __file__],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert told.returncode == 0, told.stderr.decode()
    events = told.stdout.split(b"\n")
    assert sum(b'"exception"' in event for event in events) > 50
    assert [found for event in events for found in secrets_in(event)] == []


if __name__ == "__main__":
    report()
