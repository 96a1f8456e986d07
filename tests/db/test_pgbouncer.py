"""Behind PgBouncer in transaction mode: many clients on few connections, and nothing that only works on one's own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from creatormate_resilience.db import Database
from creatormate_resilience.exceptions import ConfigurationError, DatabaseError

pytestmark = [pytest.mark.anyio, pytest.mark.server]

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def bouncer(postgres_url: str) -> AsyncIterator[str]:
    """PgBouncer in transaction mode with three connections to the server; gives its URL."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed")
    url, port = make_url(postgres_url), free_port()
    login = f" user={url.username}" + (f" password={url.password}" if url.password else "")
    directory = tempfile.TemporaryDirectory()
    settings = Path(directory.name) / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{url.database} = host={url.host} port={url.port}{login}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 3\n"
    )
    Path(directory.name).chmod(0o755)  # as root it runs as another user, who has to get in
    settings.chmod(0o644)
    command = [PGBOUNCER, *(("-u", "nobody") if os.getuid() == 0 else ()), str(settings)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 0.2).close()
                    break
                except OSError:
                    assert process.poll() is None, process.stderr and process.stderr.read()
                    await asyncio.sleep(0.02)
        yield url.set(drivername="postgresql", host="127.0.0.1", port=port).render_as_string(hide_password=False)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        assert process.stderr is not None
        process.stderr.close()
        directory.cleanup()


async def test_many_clients_share_few_connections(bouncer: str) -> None:
    """Reads, writes, retried transactions, different statements at the same time: none meets what another left."""
    nodes = [Database(bouncer, pgbouncer=True, pool_size=6, max_overflow=0) for _ in range(3)]
    for node in nodes:
        await node.start()

    async def work(node: Database, number: int) -> None:
        async with node.connect() as connection:
            assert (await connection.execute(text(f"SELECT {number} + :n"), {"n": 1})).scalar_one() == number + 1
        async with node.begin() as session:
            assert (await session.execute(text("SELECT CAST(:n AS int) * 2"), {"n": number})).scalar_one() == number * 2

        async def transaction(tx: Any) -> int:
            return (await tx.session.execute(text("SELECT CAST(:n AS int)"), {"n": number})).scalar_one()

        assert await node.run_transaction(transaction) == number

    await asyncio.gather(*(work(nodes[number % 3], number) for number in range(120)))
    for node in nodes:
        await node.aclose()


async def test_reading_refuses_to_write_and_leaves_nothing_behind(bouncer: str) -> None:
    """`connect()` reads in a transaction of its own; the next client on that connection may write."""
    async with Database(bouncer, pgbouncer=True) as database:
        async with database.begin() as session:
            await session.execute(text("CREATE TABLE IF NOT EXISTS notes (text text)"))
        with pytest.raises(DatabaseError, match="only reading is allowed"):
            async with database.connect() as connection:
                await connection.execute(text("INSERT INTO notes VALUES ('x')"))
        for _ in range(6):
            async with database.begin() as session:
                await session.execute(text("INSERT INTO notes VALUES ('y')"))
        async with database.begin() as session:
            await session.execute(text("DROP TABLE notes"))


async def test_without_the_preset_it_is_a_clear_error(bouncer: str) -> None:
    """PgBouncer refuses what the library sets on connections of its own."""
    with pytest.raises((ConfigurationError, DatabaseError), match=r"unsupported startup parameter|pgbouncer"):
        async with Database(bouncer):
            pass


def test_the_preset_is_for_postgresql() -> None:
    """Elsewhere it would mean nothing."""
    with pytest.raises(ConfigurationError, match="pgbouncer=True does not go with sqlite"):
        Database("sqlite:///x.db", pgbouncer=True)
