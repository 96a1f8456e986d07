"""The executor that a command line names as `module:attribute`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.tasks import TaskExecutor
from creatormate_resilience.tasks.procrastinate import ProcrastinateEngine

__all__ = ("HELP", "load")

HELP = "where the TaskExecutor with a ProcrastinateEngine is, such as app.tasks:executor"


def load(target: str) -> tuple[TaskExecutor, ProcrastinateEngine]:
    """Import a module, from the working directory too, and take the executor from it.

    Args:
        target: `module:attribute`.

    Returns:
        The executor and its engine.

    Raises:
        ConfigurationError: There is no such module or attribute, or it is not a durable executor.
    """
    module, separator, attribute = target.partition(":")
    if not separator or not module or not attribute:
        raise ConfigurationError(f"{target!r:.200} names no executor; accepted is module:attribute")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise  # something that the module itself needs
        raise ConfigurationError(f"there is no module {module!r:.200}, in {here} neither") from None
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, TaskExecutor) or not isinstance(found.engine, ProcrastinateEngine):
        raise ConfigurationError(
            f"{target!r:.200} is a {type(found).__name__}; accepted is a TaskExecutor with a ProcrastinateEngine"
        )
    return found, found.engine
