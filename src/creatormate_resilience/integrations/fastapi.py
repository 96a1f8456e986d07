"""FastAPI: what `integrations.starlette` gives, plus validation errors, a health router and OpenAPI descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from creatormate_resilience.exceptions import InputValidationError, MissingDependencyError, ResilienceError
from creatormate_resilience.integrations.starlette import health_routes, problem_response, resilience_lifespan
from creatormate_resilience.integrations.starlette import setup_error_handlers as setup_starlette_handlers
from creatormate_resilience.toolkit import Resilience

_INSTALLED = find_spec("fastapi") is not None
if TYPE_CHECKING or _INSTALLED:
    from fastapi import APIRouter, FastAPI
    from fastapi.exceptions import RequestValidationError
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ("health_router", "problem_response", "problem_responses", "resilience_lifespan", "setup_error_handlers")


def setup_error_handlers(app: FastAPI, *, domain: str | None = None) -> None:
    """Answer every error with a problem document that shows nothing internal.

    Args:
        app: The application; may be called before it starts or from its lifespan.
        domain: Name of this service, for peers that rebuild the error.

    Validation errors name the fields and what is wrong with them, never what was sent.
    """
    _require()

    async def on_validation_error(_request: Request, exc: Exception) -> Response:
        problems: Sequence[Any] = exc.errors() if isinstance(exc, RequestValidationError) else ()
        return problem_response(
            InputValidationError(errors=[_field_error(problem) for problem in problems]), domain=domain
        )

    app.add_exception_handler(RequestValidationError, on_validation_error)
    setup_starlette_handlers(app, domain=domain)


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
    described: dict[int | str, dict[str, Any]] = {}
    for cls in types:
        known = described.get(cls.status_code, {"description": ""})["description"]
        text = f"{cls.code}: {cls.default_user_message}"
        described[cls.status_code] = {
            "description": f"{known}\n\n{text}" if known else text,
            "content": {"application/problem+json": {"schema": {"type": "object", "title": "Problem"}}},
        }
    return described


def _field_error(problem: Any) -> dict[str, object]:
    location = [str(part).replace("~", "~0").replace("/", "~1") for part in problem.get("loc", ())]
    where = location[0] if location else "body"
    return {
        "in": where,
        "pointer": "#/" + "/".join(location[1:]),
        "code": str(problem.get("type", "invalid")),
        "detail": str(problem.get("msg", "is not valid"))[:200],
    }


def _require() -> None:
    if not _INSTALLED:
        raise MissingDependencyError("fastapi", extra="fastapi", needed_by="integrations.fastapi")
