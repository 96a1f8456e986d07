"""The service as a process: `python -m examples.creator_service --upstream-url http://127.0.0.1:8001`."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.log import configure_logging
from examples.creator_service.app import create_app
from examples.creator_service.serving import add_options, serve
from examples.creator_service.settings import CreatorSettings


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="creator_service", description=__doc__)
    add_options(parser, port=8000)
    parser.add_argument("--upstream-url", help="where YouTube and OpenAI are (default: UPSTREAM_URL)")
    parser.add_argument("--scratch", action="store_true", help="keep the database in a temporary directory")
    parser.add_argument("--library-off", action="store_true", help="answer the plain way, for comparison")
    options = parser.parse_args()
    with ExitStack() as stack:
        try:
            app = _make_app(options, stack)
        except ConfigurationError as error:
            raise SystemExit(f"creator_service: {error}") from None
        serve(app, port=options.port, end_with_stdin=options.end_with_stdin)


def _make_app(options: argparse.Namespace, stack: ExitStack) -> FastAPI:
    given: dict[str, Any] = {} if options.upstream_url is None else {"upstream_url": options.upstream_url}
    if options.scratch:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="creator-service-"))
        given["database_url"] = f"sqlite+aiosqlite:///{Path(directory, 'creator.db')}"
    settings = CreatorSettings(**given)
    configure_logging(level=settings.log_level)
    if settings.upstream_url is None:
        raise ConfigurationError(
            "UPSTREAM_URL is not set; start `python -m examples.creator_service.upstreams` and name its URL"
        )
    return create_app(settings, settings.upstream_url, library_on=not options.library_off)


if __name__ == "__main__":
    main()
