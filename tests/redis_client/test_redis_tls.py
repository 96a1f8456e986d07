"""TLS to a real server behind a forwarder that ends it: who is trusted, and what a wrong certificate does.

Not every server program speaks TLS itself; the bundled one does not.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.exceptions

from creatormate_resilience.cache.redis import RedisStore
from creatormate_resilience.exceptions import CacheUnavailableError
from creatormate_resilience.redis_client import open_redis
from servers import RedisServer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.server,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the certificates, is not on PATH"),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    curve = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", key, "-out", certificate]
    command = ["openssl", "req", "-x509", "-newkey", *curve, "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.fixture
async def tls_port(certificate: tuple[Path, Path], redis_server: RedisServer):
    """The port of a forwarder that ends TLS before the server."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    async with forwarding(context, redis_server.port) as port:
        yield port


@asynccontextmanager
async def forwarding(context: ssl.SSLContext, to: int):
    """Listen with TLS and pass everything on without."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", to)
        try:
            await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass  # the client is gone, or the test is over
        finally:
            upstream_writer.close()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, to its end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_a_trusted_certificate_is_all_it_takes(tls_port: int, certificate: tuple[Path, Path]):
    """With the authority in the URL everything works as without TLS."""
    store = RedisStore(f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={certificate[0]}", timeout=5, connect_timeout=5)
    assert await store.acquire_lock("tls", b"t", 60)
    assert await asyncio.gather(*(store.get("tls") for _ in range(20))) == [b"t"] * 20
    assert await store.release_lock("tls", b"t")
    await store.aclose()


@pytest.mark.parametrize("options", ["", "?ssl_check_hostname=no", "?ssl_cert_reqs=optional"])
async def test_a_certificate_that_nobody_trusts_is_refused(tls_port: int, options: str):
    """Verification is on unless it is switched off in so many words."""
    store = RedisStore(f"rediss://127.0.0.1:{tls_port}/0{options}", timeout=5, connect_timeout=5)
    with pytest.raises(CacheUnavailableError, match="certificate verify failed"):
        await store.get("k")
    await store.aclose()


async def test_the_wrong_host_is_refused(tls_port: int, certificate: tuple[Path, Path]):
    """The certificate is of 127.0.0.1, not of localhost."""
    client = open_redis(f"rediss://localhost:{tls_port}/0?ssl_ca_certs={certificate[0]}", timeout=5, connect_timeout=5)
    with pytest.raises(redis.exceptions.ConnectionError, match="certificate"):
        await client.ping()
    await client.aclose()


async def test_verification_can_be_switched_off(tls_port: int):
    """For those who must."""
    client = open_redis(f"rediss://127.0.0.1:{tls_port}/0?ssl_cert_reqs=none", timeout=5, connect_timeout=5)
    assert await client.ping()
    await client.aclose()


async def test_tls_to_a_server_without_it_is_unavailable_in_time(redis_url: str):
    """It is neither a hang nor another error."""
    store = RedisStore(redis_url.replace("redis://", "rediss://"), timeout=1)
    with pytest.raises(CacheUnavailableError):
        await store.get("k")
    await store.aclose()
