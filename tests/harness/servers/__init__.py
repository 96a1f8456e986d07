"""Real servers for the tests: Redis or Valkey, and PostgreSQL, on free ports of 127.0.0.1.

They belong to the test, so it can kill, freeze, restart and cut them off::

    with RedisServer() as server:
        client = redis.asyncio.from_url(server.url)
        server.kill()     # kill -9: nothing it acknowledged is lost
        server.start()    # same port, same data

`_binaries` says where the programs are looked for, `_reaper` how nothing of them outlives the test run.
"""

from __future__ import annotations

from servers._binaries import Binary, MissingServerError, find_postgres, find_redis
from servers._process import Server, ServerError
from servers.postgres import PostgresServer
from servers.redis import RedisServer

__all__ = (
    "Binary",
    "MissingServerError",
    "PostgresServer",
    "RedisServer",
    "Server",
    "ServerError",
    "find_postgres",
    "find_redis",
)
