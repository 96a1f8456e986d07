"""`FaultProxy`: each fault, seen by a plain socket client that talks to a real echo server through it."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator

import anyio
import pytest

from creatormate_resilience.testing import FaultProxy

QUICK = 0.2  # seconds after which we believe that nothing comes
PATIENT = 10.0  # seconds within which everything that should come does


class EchoServer(socketserver.ThreadingTCPServer):
    """Sends back what it gets, and remembers it."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), EchoHandler)
        self.port: int = self.server_address[1]
        self.received = bytearray()


class EchoHandler(socketserver.BaseRequestHandler):
    """One connection."""

    server: EchoServer

    def handle(self) -> None:
        """Echo until the client has said everything; a reset ends it too."""
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(65536):
                self.server.received += data
                self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    """A running echo server."""
    with EchoServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: EchoServer) -> Iterator[FaultProxy]:
    """A proxy in front of it."""
    with FaultProxy("127.0.0.1", echo.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    """A client connected through the proxy, which has had its first answer."""
    with connect(proxy) as connection:
        assert ask(connection, b"hello") == b"hello"
        yield connection


def connect(proxy: FaultProxy) -> socket.socket:
    """A new connection through the proxy."""
    connection = socket.create_connection((proxy.host, proxy.port), timeout=PATIENT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket, message: bytes) -> bytes:
    """Say something and hear the echo."""
    connection.sendall(message)
    return receive(connection, len(message))


def receive(connection: socket.socket, count: int) -> bytes:
    """Exactly this many bytes, or fewer where the stream ends before."""
    data = b""
    while len(data) < count and (chunk := connection.recv(count - len(data))):
        data += chunk
    return data


def nothing_comes(connection: socket.socket) -> bool:
    """Whether the connection stays open and silent for a while."""
    connection.settimeout(QUICK)
    try:
        return connection.recv(1) is None
    except TimeoutError:
        return True
    finally:
        connection.settimeout(PATIENT)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread to get somewhere."""
    end = time.monotonic() + PATIENT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_bytes_pass_unchanged_in_both_directions(client):
    """Without a fault the proxy is a wire: megabytes pass unchanged while both sides talk at the same time."""
    message = bytes(range(256)) * 20_000
    sender = threading.Thread(target=client.sendall, args=(message,))
    sender.start()
    assert receive(client, len(message)) == message
    sender.join()


def test_end_of_stream_is_passed_on_after_the_last_byte(client):
    """A client that has said everything still gets the whole answer, and then the end of the stream."""
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert receive(client, 100) == b"last words"


def test_latency_delays_a_round_trip_by_both_directions(proxy, client):
    """With `direction="both"` a round trip takes twice the latency, with one direction it takes it once."""
    proxy.latency(0.05)
    started = time.monotonic()
    ask(client, b"x")
    assert time.monotonic() - started >= 0.1
    proxy.heal()
    proxy.latency(0.05, direction="reply")
    started = time.monotonic()
    ask(client, b"x")
    assert time.monotonic() - started >= 0.05


def test_latency_delays_messages_that_follow_each_other_only_once(proxy, client):
    """Latency is a distance, not a bottleneck: twenty messages sent at once do not wait for each other."""
    proxy.latency(0.2, direction="request")
    started = time.monotonic()
    for number in range(20):
        client.sendall(b"%02d" % number)
        time.sleep(0.002)  # so that they are separate packets
    assert receive(client, 40) == b"".join(b"%02d" % number for number in range(20))
    assert 0.2 <= time.monotonic() - started < 2.0  # one after the other they would take 4 s


def test_bandwidth_limits_how_fast_bytes_arrive(proxy, client):
    """A limit of 20,000 bytes a second makes 5,000 bytes take a quarter of a second, and they trickle in."""
    proxy.bandwidth(20_000, direction="reply")
    started = time.monotonic()
    client.sendall(b"x" * 5_000)
    assert receive(client, 100) == b"x" * 100
    first = time.monotonic() - started
    assert receive(client, 4_900) == b"x" * 4_900
    assert first < time.monotonic() - started
    assert time.monotonic() - started >= 0.2  # the last piece is there before its own time is over


def test_black_hole_holds_everything_back_until_healed(proxy, client, echo):
    """In a black hole nothing arrives on either side and nothing is refused; healed, what was held arrives."""
    proxy.blackhole()
    echo.received.clear()
    client.sendall(b"anyone there?")
    assert nothing_comes(client)
    assert echo.received == b""
    proxy.heal()
    assert receive(client, 13) == b"anyone there?"


def test_black_hole_in_one_direction_lets_the_other_pass(proxy, client, echo):
    """With `direction="reply"` the server gets the request, and the client nothing."""
    echo.received.clear()
    proxy.blackhole(direction="reply")
    client.sendall(b"do it")
    wait_until(lambda: echo.received == b"do it")
    assert nothing_comes(client)


def test_new_connections_into_a_black_hole_stay_silent(proxy, client):
    """A connection made during a black hole is accepted, gets no answer, and works once it is healed."""
    proxy.blackhole()
    with connect(proxy) as late:
        late.sendall(b"hello?")
        assert nothing_comes(late)
        proxy.heal()
        assert receive(late, 6) == b"hello?"


def test_reset_ends_connections_and_accepts_new_ones(proxy, client):
    """`reset` makes the client's next read fail with a reset; a new connection works."""
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert proxy.connections == 0
    with connect(proxy) as again:
        assert ask(again, b"back") == b"back"


def test_reset_also_frees_connections_held_in_a_black_hole(proxy, client):
    """What waits in a black hole does not keep a connection from being reset."""
    proxy.blackhole()
    client.sendall(b"held")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_refuse_is_a_server_that_is_down(proxy, client):
    """`refuse` resets what is connected and refuses the rest, until `heal` listens on the same port again."""
    port = proxy.port
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.refuse()  # already down: nothing more to do
    proxy.heal()
    assert proxy.port == port
    with connect(proxy) as again:
        assert ask(again, b"up") == b"up"


def test_refused_port_cannot_be_taken_by_someone_else(proxy):
    """While it refuses, nobody else gets the port, so it can be had again."""
    proxy.refuse()
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind((proxy.host, proxy.port))


def test_cut_after_truncates_a_reply(proxy, client):
    """The client gets exactly the bytes that still passed, then the end of the stream, as from a crashing server."""
    proxy.cut_after(700)
    client.sendall(b"x" * 1000)
    assert receive(client, 2000) == b"x" * 700


def test_cut_after_counts_over_messages_and_happens_once(proxy, client):
    """Bytes count on over messages and connections; after the cut the next connection is whole."""
    proxy.cut_after(10)
    assert ask(client, b"123456") == b"123456"
    assert ask(client, b"789abc") == b"789a"
    with connect(proxy) as again:
        assert ask(again, b"123456789abcdef") == b"123456789abcdef"


def test_cut_request_reaches_the_server_truncated(proxy, client, echo):
    """Cut in the other direction, the server gets part of a request and the client sees its connection reset."""
    echo.received.clear()
    proxy.cut_after(4, direction="request")
    client.sendall(b"transfer 100")
    with pytest.raises(ConnectionResetError):
        while client.recv(100):
            pass
    wait_until(lambda: proxy.connections == 0 and len(echo.received) >= 4)
    assert echo.received == b"tran"


def test_lost_reply_was_a_delivered_request(proxy, client, echo):
    """`lose_reply` delivers the request and cuts the connection before a byte of the answer; once."""
    echo.received.clear()
    proxy.lose_reply()
    client.sendall(b"increment")
    assert receive(client, 9) == b""
    assert echo.received == b"increment"
    with connect(proxy) as again:
        assert ask(again, b"and now?") == b"and now?"


def test_heal_disarms_a_cut_that_did_not_happen(proxy, client):
    """A cut nobody ran into is gone after `heal`."""
    proxy.lose_reply()
    proxy.heal()
    assert ask(client, b"still here") == b"still here"


def test_server_that_is_down_shows_as_reset(proxy, echo):
    """Where the server itself refuses, the client's connection is accepted and then reset."""
    echo.shutdown()
    echo.server_close()
    with pytest.raises(ConnectionResetError), connect(proxy) as client:
        client.recv(1)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True}), ("trio", {})],
    ids=["asyncio", "uvloop", "trio"],
)
async def test_proxy_serves_clients_of_every_event_loop(proxy):
    """It runs in its own thread, so it can be used and controlled from asyncio, uvloop and trio."""
    async with await anyio.connect_tcp(proxy.host, proxy.port) as client:
        await client.send(b"hello")
        assert await client.receive() == b"hello"
        proxy.blackhole()
        await client.send(b"held")
        with anyio.move_on_after(0.05) as waiting:
            await client.receive()
        assert waiting.cancelled_caught
        proxy.heal()
        assert await client.receive() == b"held"
        proxy.reset()
        with pytest.raises(anyio.BrokenResourceError):
            await client.receive()


def test_connections_are_counted_and_bounded(echo):
    """`connections` tells how many are open; one more than `max_connections` is reset at once."""
    with FaultProxy("127.0.0.1", echo.port, max_connections=1) as proxy, connect(proxy) as first:
        assert ask(first, b"one") == b"one"
        assert proxy.connections == 1
        with pytest.raises(ConnectionResetError), connect(proxy) as second:
            second.recv(1)
        first.close()
        wait_until(lambda: proxy.connections == 0)


def test_closing_twice_and_starting_again_is_fine(echo):
    """A closed proxy refuses connections, closing it again does nothing, and it can be started again."""
    proxy = FaultProxy("127.0.0.1", echo.port)
    with proxy:
        port = proxy.port
    proxy.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENT)
    with proxy, connect(proxy) as client:
        assert ask(client, b"again") == b"again"


def test_closing_ends_its_thread_and_its_connections(echo):
    """Nothing of it is left after `close`, not even a connection held in a black hole."""
    with FaultProxy("127.0.0.1", echo.port) as proxy, connect(proxy) as client:
        name = f"fault-proxy-{proxy.port}"
        proxy.blackhole()
        client.sendall(b"held")
        proxy.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert name not in {thread.name for thread in threading.enumerate()}


def test_proxy_left_open_warns():
    """A proxy that nobody closed warns as an open file does, and its thread ends."""
    proxy = FaultProxy("127.0.0.1", 9).start()
    thread = next(thread for thread in threading.enumerate() if thread.name == f"fault-proxy-{proxy.port}")
    with pytest.warns(ResourceWarning, match="was not closed"):
        del proxy
    thread.join(PATIENT)
    assert not thread.is_alive()


def test_url_leads_through_the_proxy(proxy):
    """`url_for` replaces host and port and keeps everything else."""
    at = f"127.0.0.1:{proxy.port}"
    assert proxy.url_for("redis://me:p%40ss@cache.example:6379/2?x=1") == f"redis://me:p%40ss@{at}/2?x=1"
    assert proxy.url_for("postgresql+asyncpg://db.example/app") == f"postgresql+asyncpg://{at}/app"


def test_representation_tells_what_is_wrong(proxy, client):
    """An operator, or a failing test's output, sees the faults in force."""
    assert repr(proxy).endswith("connections=1>")
    proxy.latency(0.25, direction="reply")
    proxy.blackhole(direction="request")
    proxy.bandwidth(5000, direction="reply")
    proxy.cut_after(7)
    assert "request blackhole, reply latency=0.25s bandwidth=5000B/s cut in 7 bytes" in repr(proxy)
    proxy.refuse()
    assert "refusing, connections=0" in repr(proxy)
    proxy.close()
    assert "not running" in repr(proxy)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("host", {"host": "", "port": 1}),
        ("port", {"host": "localhost", "port": 0}),
        ("port", {"host": "localhost", "port": "6379"}),
        ("listen_port", {"host": "localhost", "port": 1, "listen_port": 65536}),
        ("max_connections", {"host": "localhost", "port": 1, "max_connections": 0}),
    ],
)
def test_constructor_names_the_argument_it_refuses(name, arguments):
    """A bad argument is refused at the call, by name."""
    with pytest.raises(ValueError, match=f"^{name} must be"):
        FaultProxy(**arguments)


@pytest.mark.parametrize(
    ("method", "arguments", "name"),
    [
        ("latency", {"seconds": -1}, "seconds"),
        ("latency", {"seconds": float("nan")}, "seconds"),
        ("latency", {"seconds": 1, "direction": "up"}, "direction"),
        ("bandwidth", {"bytes_per_second": 0}, "bytes_per_second"),
        ("blackhole", {"direction": "sideways"}, "direction"),
        ("cut_after", {"count": -1}, "count"),
        ("cut_after", {"count": 1, "direction": "both"}, "direction"),
        ("url_for", {"url": "app.db"}, "url"),
    ],
)
def test_fault_names_the_argument_it_refuses(proxy, client, method, arguments, name):
    """A bad argument is refused by name, and nothing is changed by it."""
    with pytest.raises(ValueError, match=f"^{name} must"):
        getattr(proxy, method)(**arguments)
    assert ask(client, b"fine") == b"fine"


def test_control_before_start_says_what_to_do():
    """A fault asked of a proxy that is not running is an error that says how to run it."""
    with pytest.raises(RuntimeError, match="start"):
        FaultProxy("127.0.0.1", 1).blackhole()


def test_starting_twice_is_an_error(proxy):
    """A proxy runs once at a time."""
    with pytest.raises(RuntimeError, match="already running"):
        proxy.start()


def test_busy_listen_port_is_an_error(proxy, echo):
    """A port that someone listens on is not taken over."""
    with pytest.raises(OSError, match="in use"):
        FaultProxy("127.0.0.1", echo.port, listen_port=proxy.port).start()
