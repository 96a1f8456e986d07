"""FastAPI: what `integrations.starlette` gives, plus validation errors, a health router and OpenAPI descriptions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any, Unpack, cast

from creatormate_resilience.exceptions import InputValidationError, MissingDependencyError, ResilienceError
from creatormate_resilience.integrations._openapi import describe_problems, problem_content
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
from creatormate_resilience.options import config_of
from creatormate_resilience.redaction import redact_text
from creatormate_resilience.toolkit import Resilience

_INSTALLED = find_spec("fastapi") is not None
if TYPE_CHECKING or _INSTALLED:
    from fastapi import APIRouter, FastAPI
    from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError

__all__ = ("health_router", "problem_response", "problem_responses", "resilience_lifespan", "setup_error_handlers")

_PART = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_ITEMS_LIMIT = 100
_NODES_LIMIT = 1000
_TEXT_LIMIT = 100_000
_WORD = re.compile(r"[^\W_]{4,}")
# Their messages are pydantic's and hold nothing that was sent. Others may: of a validator, of a tag that nobody knows.
_PLAIN_KINDS = frozenset({
    "bool_parsing", "bool_type", "datetime_parsing", "decimal_parsing", "dict_type", "enum", "extra_forbidden",
    "finite_number", "float_parsing", "float_type", "greater_than", "greater_than_equal", "int_from_float",
    "int_parsing", "int_type", "json_invalid", "less_than", "less_than_equal", "list_type", "literal_error", "missing",
    "model_attributes_type", "string_pattern_mismatch", "string_too_long", "string_too_short", "string_type",
    "too_long", "too_short", "uuid_parsing",
})  # fmt: skip


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
        problems: Iterable[Any] = exc.errors() if isinstance(exc, RequestValidationError) else ()
        wrong = [_field_error(problem) for problem in islice(problems, _ITEMS_LIMIT)]
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


def _field_error(problem: Mapping[str, Any]) -> dict[str, object]:
    where, *path = [*problem.get("loc", ())] or ["body"]
    kind = str(problem.get("type", "invalid"))
    message = str(problem.get("msg", ""))[:200]
    if kind not in _PLAIN_KINDS and _repeats(message.casefold(), problem.get("input")):
        message = "This value is not valid."
    return {
        "in": _part(where),
        "pointer": "#" if kind == "json_invalid" else "#" + "".join(f"/{_part(step)}" for step in path),
        "code": kind[:64],
        "detail": redact_text(message),
    }


def _part(part: object) -> str:
    """A step of a pointer; a key that the client made up and that is no name does not come back to it."""
    if isinstance(part, int):
        return str(part)[:20]
    name = str(part)
    return name if _PART.fullmatch(name) and redact_text(name) == name else "*"


def _repeats(message: str, value: object) -> bool:
    """Whether what was sent, or a word of it, is in a message; also where that is too much to look through."""
    words = _WORD.findall(message.removeprefix("value error, ").removeprefix("assertion failed, "))
    left: list[object] = [value]
    for _ in range(_NODES_LIMIT):
        if not left:
            return False
        item = left.pop()
        if isinstance(item, Mapping | list | tuple):
            left += _inside(cast("Mapping[Any, Any] | Sequence[Any]", item))
        elif _stands_in(item, message, words):
            return True
    return True


def _inside(container: Mapping[Any, Any] | Sequence[Any]) -> Iterable[object]:
    """Items; values, and keys that are no field's name."""
    if not isinstance(container, Mapping):
        return container[:_NODES_LIMIT]
    made_up = (key for key in islice(container, _NODES_LIMIT) if not str(key).isidentifier())
    return [*made_up, *islice(container.values(), _NODES_LIMIT)]


def _stands_in(value: object, message: str, words: Iterable[str]) -> bool:
    if value is None or isinstance(value, bool):
        return False
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if len(text) > _TEXT_LIMIT:
        return True
    folded = text.casefold()
    return (len(folded) > 1 and folded in message) or any(word in folded for word in words)


def _require() -> None:
    if not _INSTALLED:
        raise MissingDependencyError("fastapi", extra="fastapi", needed_by="integrations.fastapi")
