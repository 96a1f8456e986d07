"""Tasks behind FastAPI: background tasks that are not lost, 202 with a place to ask, and one worker to ask."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from creatormate_resilience.exceptions import ConfigurationError, NotFoundError
from creatormate_resilience.integrations.fastapi import (
    BackgroundTasks,
    accepted,
    background_tasks,
    resilience_lifespan,
    setup_error_handlers,
    task_router,
)
from creatormate_resilience.settings import Settings
from creatormate_resilience.tasks import TaskExecutor, current_task
from creatormate_resilience.toolkit import Resilience

pytestmark = pytest.mark.anyio

RING: list[Any] = []
RING.append(RING)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Mails:
    """Sends them when its gate opens."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.gate = asyncio.Event()

    async def send(self, address: str) -> str:
        current_task().set_progress(0.5, "knocking")
        await self.gate.wait()
        if address == "nobody":
            raise NotFoundError("secret detail")
        self.sent.append(address)
        return address


def make_app(r: Resilience, mails: Mails) -> FastAPI:
    app = FastAPI(lifespan=resilience_lifespan(r))
    setup_error_handlers(app)
    app.include_router(task_router(r))
    Background = Annotated[BackgroundTasks, background_tasks(r)]  # noqa: N806 - a type

    @app.post("/signup")
    async def sign_up(address: str, background: Background, fail: bool = False) -> str:
        background.add_task(mails.send, address)
        background.add_task_with({"timeout": 30.0, "tags": {"kind": "copy"}}, mails.send, f"copy-{address}")
        if fail:
            raise NotFoundError("user")
        return "welcome"

    @app.post("/mails")
    async def order(address: str, request: Request) -> Any:
        return accepted(await r.tasks.submit(mails.send, address), request)

    return app


@pytest.fixture
async def mails() -> Mails:
    return Mails()


@pytest.fixture
async def client(mails: Mails, serve: Callable[[Any], Any]) -> AsyncIterator[httpx.AsyncClient]:
    """One slot, two places."""
    r = Resilience(Settings(), tasks=TaskExecutor(max_concurrent=1, max_queue=2))
    async with serve(make_app(r, mails)) as url, httpx.AsyncClient(base_url=url) as http:
        yield http


async def test_background_tasks_run_when_the_endpoint_has_succeeded(client: httpx.AsyncClient, mails: Mails) -> None:
    """In their order, as the executor's tasks; an endpoint that fails submits none."""
    mails.gate.set()
    failed = await client.post("/signup", params={"address": "x", "fail": True})
    answer = await client.post("/signup", params={"address": "a"})
    assert (failed.status_code, answer.status_code, answer.json()) == (404, 200, "welcome")
    while len(mails.sent) < 2:
        await asyncio.sleep(0.005)
    assert mails.sent == ["a", "copy-a"]


async def test_a_full_queue_answers_503_and_leaves_nothing_behind(client: httpx.AsyncClient, mails: Mails) -> None:
    """Not one of the two: the first, for which there was room, is cancelled. Retry-After says when to come again."""
    first = await client.post("/mails", params={"address": "a"})
    second = await client.post("/mails", params={"address": "b"})
    refused = await client.post("/signup", params={"address": "c"})
    assert (first.status_code, second.status_code, refused.status_code) == (202, 202, 503)
    assert refused.json()["code"] == "TASK_QUEUE_FULL"
    assert int(refused.headers["retry-after"]) >= 1
    mails.gate.set()
    for answer in (first, second):
        while (await client.get(answer.headers["location"])).json()["status"] != "succeeded":
            await asyncio.sleep(0.005)
    assert mails.sent == ["a", "b"]


async def test_202_says_where_to_ask_and_the_answers_there(client: httpx.AsyncClient, mails: Mails) -> None:
    """Unfinished with progress and Retry-After, then the result."""
    answer = await client.post("/mails", params={"address": "a"})
    assert answer.json() == {"id": answer.json()["id"], "status_url": answer.headers["location"]}
    assert answer.headers["retry-after"] == "1"
    while (seen := await client.get(answer.headers["location"])).json()["progress"] is None:
        await asyncio.sleep(0.005)
    assert seen.json() == {
        "id": answer.json()["id"],
        "status": "running",
        "progress": {"fraction": 0.5, "message": "knocking"},
        "result": None,
        "problem": None,
    }
    assert (seen.headers["retry-after"], seen.headers["cache-control"]) == ("1", "no-store")
    mails.gate.set()
    while (seen := await client.get(answer.headers["location"])).json()["status"] == "running":
        await asyncio.sleep(0.005)
    assert (seen.json()["result"], "retry-after" in seen.headers) == ("a", False)


async def test_a_failed_task_shows_a_problem_and_nothing_internal(client: httpx.AsyncClient, mails: Mails) -> None:
    """The same document that the error would have been as an answer."""
    mails.gate.set()
    answer = await client.post("/mails", params={"address": "nobody"})
    while not (seen := await client.get(answer.headers["location"])).json()["problem"]:
        await asyncio.sleep(0.005)
    assert (seen.json()["status"], seen.json()["problem"]["status"]) == ("failed", 404)
    assert "secret" not in seen.text


async def test_a_task_can_be_cancelled_and_an_unknown_one_is_404(client: httpx.AsyncClient) -> None:
    """DELETE tells what became of it; an id nobody has is not found, for both."""
    answer = await client.post("/mails", params={"address": "a"})
    cancelled = await client.delete(answer.headers["location"])
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    for call in (client.get, client.delete):
        unknown = await call("/tasks/nope")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "TASK_NOT_FOUND")


async def test_accepted_needs_the_router(serve: Callable[[Any], Any]) -> None:
    """The error says what to include."""
    app, told = FastAPI(), list[str]()
    executor = TaskExecutor()

    @app.get("/")
    async def order(request: Request) -> None:
        try:
            accepted(await executor.submit(asyncio.sleep, 0), request)
        except ConfigurationError as error:
            told.append(str(error))

    async with executor, serve(app) as url, httpx.AsyncClient() as http:
        await http.get(url)
    assert told == ["accepted() needs app.include_router(task_router(...)), to say where to ask"]


async def test_options_of_a_background_task_are_checked_at_the_call() -> None:
    """Not when the endpoint has returned."""
    with pytest.raises(ValueError, match="timeout is -1"):
        BackgroundTasks().add_task_with({"timeout": -1.0}, asyncio.sleep, 0)


async def test_what_is_added_after_the_endpoint_has_returned_is_refused(serve: Callable[[Any], Any]) -> None:
    """A stream that adds a task finds out that nobody would submit it."""
    executor = TaskExecutor()
    app = FastAPI()
    seen: list[Exception] = []
    Background = Annotated[BackgroundTasks, background_tasks(executor)]  # noqa: N806 - a type

    @app.get("/numbers")
    async def numbers(background: Background) -> StreamingResponse:
        async def chunks() -> AsyncIterator[str]:
            try:
                background.add_task(print, "lost")
            except ConfigurationError as error:
                seen.append(error)
            yield "1"

        return StreamingResponse(chunks())

    async with executor, serve(app) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/numbers")).text == "1"
    assert "submit it to the executor" in str(seen[0])


@pytest.mark.parametrize("returned", [float("nan"), {"rate": float("inf")}, {"data": b"\xff"}, RING])
async def test_a_result_that_is_no_json_is_a_problem_and_not_a_500(serve: Callable[[Any], Any], returned: Any) -> None:
    """Who asks learns that the task has ended, and does not ask for ever."""
    executor = TaskExecutor()
    app = FastAPI()
    app.include_router(task_router(executor))

    async def returns() -> Any:
        return returned

    async with executor, serve(app) as url, httpx.AsyncClient(base_url=url) as client:
        handle = await executor.submit(returns)
        await handle
        answer = await client.get(f"/tasks/{handle.id}")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["result"]) == ("succeeded", None)
    assert answer.json()["problem"]["code"] == "TASK_FAILED"


APP = """
from fastapi import FastAPI
from creatormate_resilience.integrations.fastapi import task_router
from creatormate_resilience.tasks import TaskExecutor
app = FastAPI()
app.include_router(task_router(TaskExecutor()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_several_workers_of_one_server_are_refused(tmp_path: Path, workers: int) -> None:
    """With `--workers 2` one of them does not start, and says why; with one all is well."""
    (tmp_path / "service.py").write_text(APP)
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", "0", "--workers", str(workers)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # where the lock is that workers find each other by
    server = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert server.stderr is not None
    told = ""
    try:
        for line in server.stderr:
            told += line
            if "several workers" in line or (workers == 1 and "startup complete" in line):
                break
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stderr.close()
    assert ("start one worker (--workers 1)" in told) is (workers == 2)
    assert "startup complete" in told


ALONE = """
import asyncio, multiprocessing, sys
from fastapi import FastAPI
from creatormate_resilience.integrations.fastapi import resilience_lifespan, task_router
from creatormate_resilience.tasks import Capability, TaskExecutor
from creatormate_resilience.toolkit import Resilience


async def two_routers():
    app = FastAPI()
    app.include_router(task_router(TaskExecutor()))
    app.include_router(task_router(TaskExecutor(), prefix="/more"))
    async with app.router.lifespan_context(app):
        print("two routers")


async def starts(app):
    async with app.router.lifespan_context(app):
        print("started")


async def holds(app, up, done):
    async with app.router.lifespan_context(app):
        up.set()
        done.wait()


def memory(up, done):
    asyncio.run(two_routers())
    app = FastAPI()
    app.include_router(task_router(TaskExecutor()))
    asyncio.run(holds(app, up, done))


def shared():
    executor = TaskExecutor()
    kind = type(executor.engine)
    executor.engine.__class__ = type("Shared", (kind,), {"capabilities": frozenset(Capability)})
    app = FastAPI()
    app.include_router(task_router(Resilience(tasks=executor)))
    asyncio.run(starts(app))


if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    up, done = fork.Event(), fork.Event()
    first, second = fork.Process(target=memory, args=(up, done)), fork.Process(target=shared)
    first.start()
    up.wait(20)
    second.start()
    second.join()
    done.set()
    first.join()
"""


@pytest.mark.slow
def test_one_worker_may_have_two_routers_and_a_shared_engine_several_workers(tmp_path: Path) -> None:
    """Only what would really be asked of the wrong worker is refused, also where a Resilience has the engine."""
    (tmp_path / "alone.py").write_text(ALONE)
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "alone.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "two routers\nstarted\n", done.stderr
