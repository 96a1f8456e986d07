"""FastAPI: what `integrations.starlette` gives, plus validation errors, OpenAPI descriptions, health and tasks."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ParamSpec, Unpack

from creatormate_resilience.exceptions import (
    ConfigurationError,
    FeatureDisabledError,
    InputValidationError,
    MissingDependencyError,
    ResilienceError,
    TaskError,
    TaskNotFoundError,
)
from creatormate_resilience.integrations._openapi import describe_problems, problem_content
from creatormate_resilience.integrations._sole_worker import sole_worker
from creatormate_resilience.integrations._validation import field_errors
from creatormate_resilience.integrations.asgi import (
    ErrorHandlingConfig,
    ErrorHandlingOptions,
    ProblemAnswer,
    accepted_language,
)
from creatormate_resilience.integrations.starlette import (
    check_app,
    health_routes,
    make_reporter,
    mount_error_layers,
    problem_response,
    register_error_handlers,
    resilience_lifespan,
)
from creatormate_resilience.log import get_logger
from creatormate_resilience.options import config_of
from creatormate_resilience.tasks import (
    Capability,
    TaskExecutor,
    TaskHandle,
    TaskOptions,
    TaskOptionValues,
    TaskRecord,
    TaskSubmitter,
)
from creatormate_resilience.toolkit import Resilience

_INSTALLED = find_spec("fastapi") is not None
if TYPE_CHECKING or _INSTALLED:
    from fastapi import APIRouter, Depends, FastAPI, Request
    from fastapi.encoders import jsonable_encoder
    from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
    from starlette.responses import JSONResponse
    from starlette.routing import NoMatchFound

__all__ = (
    "BackgroundTasks",
    "accepted",
    "background_tasks",
    "health_router",
    "problem_response",
    "problem_responses",
    "resilience_lifespan",
    "setup_error_handlers",
    "task_router",
)

P = ParamSpec("P")
_log = get_logger("integrations.fastapi")
_ROUTE = "look_at_task"
_LOOK_AGAIN = "1"


def setup_error_handlers(
    app: FastAPI, config: ErrorHandlingConfig | None = None, **options: Unpack[ErrorHandlingOptions]
) -> None:
    """Answer every error with a problem document that shows nothing internal; give every request a context.

    Args:
        app: The application; before or after its middleware and routes are added, or from its lifespan.
        config: How errors are answered, or `**options`, its fields.
        **options: See `ErrorHandlingConfig`.

    Validation errors name the fields and what is wrong with them, never what was sent. The OpenAPI document shows
    problem documents where it showed FastAPI's own errors.

    Raises:
        ConfigurationError: An option is not accepted.
    """
    _require()
    check_app(app)
    config = config_of(ErrorHandlingConfig, config, options)
    reporter = make_reporter(config)

    async def on_validation_error(connection: Any, exc: Exception) -> Any:
        if connection.scope["type"] != "http":
            raise exc  # a websocket's error boundary knows whether it was accepted
        wrong = field_errors(exc.errors() if isinstance(exc, RequestValidationError) else ())
        error = InputValidationError("the request does not fit", errors=wrong, context={"errors": wrong})
        reporter.report(error)
        return ProblemAnswer(error, config, accept_language=accepted_language(connection.scope, config))

    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(WebSocketRequestValidationError, on_validation_error)
    register_error_handlers(app, config, reporter)
    mount_error_layers(app, config, reporter)
    _describe(app)


def _describe(app: FastAPI) -> None:
    build: Callable[[], dict[str, Any]] = getattr(app.openapi, "without_problems", None) or app.openapi

    def openapi() -> dict[str, Any]:
        return describe_problems(build())

    openapi.without_problems = build  # type: ignore[attr-defined]
    app.openapi = openapi  # type: ignore[method-assign]


def health_router(resilience: Resilience, *, details: bool = False) -> APIRouter:
    """`/livez`, `/readyz` and `/startupz` for `app.include_router(...)`.

    Args:
        resilience: Whose health.
        details: Whether answers show more than names and states; keep it off where strangers can ask.
    """
    _require()
    router = APIRouter()
    for route in health_routes(resilience, details=details):
        router.add_route(route.path, route.endpoint, include_in_schema=False)
    return router


def problem_responses(*types: type[ResilienceError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI descriptions of errors: `@app.get(..., responses=problem_responses(NotFoundError))`.

    Args:
        *types: The errors an endpoint may answer with.
    """
    by_status: dict[int, list[type[ResilienceError]]] = {}
    for cls in types:
        if not isinstance(cls, type) or not issubclass(cls, ResilienceError):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"types holds {cls!r:.200}; accepted are classes of ResilienceError")
        by_status.setdefault(cls.status_code, []).append(cls)
    return {
        status: {
            "description": "\n\n".join(f"{cls.code}: {cls.default_user_message}" for cls in group),
            "content": problem_content(group),
        }
        for status, group in by_status.items()
    }


class BackgroundTasks:
    """Tasks that an endpoint wants to be run once it has succeeded; see `background_tasks`."""

    def __init__(self) -> None:
        self._wanted: list[tuple[TaskOptionValues, Callable[[TaskSubmitter], Awaitable[TaskHandle[Any]]]]] = []
        self._submitted = False

    def add_task(self, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a function in the background when the endpoint has returned.

        Args:
            fn: A function or coroutine function.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Raises:
            ConfigurationError: The endpoint has returned already, and its tasks were submitted.
        """
        self.add_task_with(TaskOptionValues(), fn, *args, **kwargs)

    def add_task_with(
        self, options: TaskOptionValues, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """As `add_task`, with options: `add_task_with({"timeout": 60.0}, send_mail, address)`.

        Args:
            options: See `tasks.TaskOptions`.
            fn: A function or coroutine function.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Raises:
            ValueError: An option is out of its range.
            TypeError: An option is of a type that is not accepted, or unknown.
            ConfigurationError: The endpoint has returned already, and its tasks were submitted.
        """
        if self._submitted:  # a stream, or a dependency that ends later
            raise ConfigurationError(
                "add_task() came after the endpoint had returned and its tasks were submitted; submit it to the "
                "executor: await r.tasks.submit(fn, x)"
            )
        TaskOptions(**options)  # checks them here and now

        def submit(submitter: TaskSubmitter) -> Awaitable[TaskHandle[Any]]:
            return submitter.submit(fn, *args, **kwargs)

        self._wanted.append((options, submit))

    async def submit_to(self, executor: TaskExecutor) -> None:
        """Submit all of them, in their order; where one is not taken, those before it are cancelled.

        Args:
            executor: Runs them.

        Raises:
            TaskQueueFullError: There is no room for all.
        """
        taken: list[TaskHandle[Any]] = []
        self._submitted = True
        try:
            for options, submit in self._wanted:
                taken.append(await submit(executor.options(**options)))
        except BaseException:
            for handle in taken:
                await handle.cancel()
            raise


def background_tasks(tasks: Resilience | TaskExecutor) -> Any:
    """What an endpoint takes in the place of FastAPI's `BackgroundTasks`.

    Used as `Background = Annotated[BackgroundTasks, background_tasks(r)]`, and then `async def order(background:
    Background): background.add_task(send_mail, address)`. The tasks are submitted when the endpoint has returned, and
    before its answer is sent: an endpoint that fails submits none, and a full queue becomes a 503 with Retry-After
    instead of work that is lost. They have the executor's bounds, timeouts, retries and records.

    Args:
        tasks: Who runs them.

    Returns:
        A FastAPI dependency.
    """
    _require()

    async def collect() -> AsyncGenerator[BackgroundTasks]:
        background = BackgroundTasks()
        yield background
        await background.submit_to(_executor(tasks))

    return Depends(collect, scope="function")


def task_router(
    tasks: Resilience | TaskExecutor, *, prefix: str = "/tasks", dependencies: Sequence[Any] = ()
) -> APIRouter:
    """`GET {prefix}/{id}` tells how a task stands, `DELETE {prefix}/{id}` cancels it; for `app.include_router(...)`.

    An id cannot be guessed, and who knows it may ask: where that is too little give `dependencies` that check who asks.

    Args:
        tasks: Who runs them.
        prefix: Of the paths.
        dependencies: Of both routes, such as `[Depends(current_user)]`.

    Returns:
        A router. At its start it refuses the second worker of a server whose tasks are in memory: each would know only
        its own.
    """
    _require()

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncGenerator[None]:
        with nullcontext() if _any_worker_may_answer(tasks) else sole_worker("the results of tasks are kept"):
            yield

    router = APIRouter(prefix=prefix, dependencies=dependencies, lifespan=lifespan, tags=["tasks"])

    @router.get("/{task_id}", name=_ROUTE, responses=problem_responses(TaskNotFoundError))
    async def look_at_task(task_id: str) -> JSONResponse:
        executor = _executor(tasks)
        return await _status_answer(executor, await executor.get(task_id))

    @router.delete("/{task_id}", responses=problem_responses(TaskNotFoundError))
    async def cancel_task(task_id: str) -> JSONResponse:
        executor = _executor(tasks)
        await executor.cancel(task_id)
        return await _status_answer(executor, await executor.get(task_id))

    return router


def accepted(handle: TaskHandle[Any], request: Request) -> JSONResponse:
    """The answer 202 to a request whose work goes on in the background: id and, in `Location`, where to ask for it.

    Args:
        handle: Of the task.
        request: The request; its application includes a `task_router`.

    Raises:
        ConfigurationError: It includes none.
    """
    try:
        path = request.app.url_path_for(_ROUTE, task_id=handle.id)
    except NoMatchFound:
        raise ConfigurationError("accepted() needs app.include_router(task_router(...)), to say where to ask") from None
    url = f"{request.scope.get('root_path', '')}{path}"  # without the host, which the client may have made up
    headers = {"Location": url, "Retry-After": _LOOK_AGAIN, "Cache-Control": "no-store"}
    return JSONResponse({"id": handle.id, "status_url": url}, 202, headers)


async def _status_answer(executor: TaskExecutor, record: TaskRecord) -> JSONResponse:
    said = record.progress
    answer: dict[str, Any] = {
        "id": record.id,
        "status": record.status.value,
        "progress": None if said is None else {"fraction": said.fraction, "message": said.message},
        "result": None,
        "problem": None,
    }
    headers = {"Cache-Control": "no-store"}
    if not record.status.final:
        return JSONResponse(answer, headers=headers | {"Retry-After": _LOOK_AGAIN})
    try:
        result = await executor.result(record.id, timeout=0.0)
        return JSONResponse(answer | {"result": _encoded(result)}, headers=headers)
    except ResilienceError as error:
        return JSONResponse(answer | {"problem": error.to_problem()}, headers=headers)


def _encoded(result: object) -> object:
    try:
        encoded = jsonable_encoder(result)
        json.dumps(encoded, allow_nan=False)
    except Exception as error:
        _log.error("the result of a task cannot be shown as JSON", type=type(result).__name__, exc_info=error)
        raise TaskError("what the task returned cannot be shown as JSON") from error
    return encoded


def _any_worker_may_answer(tasks: Resilience | TaskExecutor) -> bool:
    try:
        return Capability.DURABLE in _executor(tasks).engine.capabilities
    except FeatureDisabledError:  # then there are no tasks, and each request is told so
        return True


def _executor(tasks: Resilience | TaskExecutor) -> TaskExecutor:
    return tasks if isinstance(tasks, TaskExecutor) else tasks.tasks


def _require() -> None:
    if not _INSTALLED:
        raise MissingDependencyError("fastapi", extra="fastapi", needed_by="integrations.fastapi")
