"""A task as text, for engines beyond this process: a versioned JSON document that names its function."""

from __future__ import annotations

import functools
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, Final, cast

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.tasks._declaration import is_declared
from creatormate_resilience.tasks._engine import TaskRequest
from creatormate_resilience.tasks._options import TagValue

__all__ = ("Envelope", "check_json", "check_portable", "reference_of", "resolve")

_VERSION: Final = 1
_READABLE: Final = (1,)  # one version back, once there are two
_MOST_DEPTH: Final = 50
_MOST_BYTES: Final = 1024 * 1024
_MOST_INT: Final = 10**4000  # Python refuses to print, and to read, a few more digits


_FIELDS: Final[Mapping[str, type | tuple[type, ...]]] = MappingProxyType(
    dict.fromkeys(("id", "name", "function"), str)
    | {"args": (list, tuple)}
    | dict.fromkeys(("kwargs", "options", "tags", "headers"), Mapping)
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a worker elsewhere needs to run a task.

    Attributes:
        id: The task's.
        name: The task's.
        function: Where its function is found, as `module:qualified.name`.
        args: Its positional arguments, JSON values.
        kwargs: Its keyword arguments, JSON values.
        options: The options of the submission that the worker honours, JSON values.
        tags: The task's.
        headers: Request id and trace of the request it came from.
    """

    id: str
    name: str
    function: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: Mapping[str, Any]
    tags: Mapping[str, TagValue]
    headers: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """As a document that `from_json` reads, here and in the next version."""
        return {"v": _VERSION} | {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Envelope:
        """Read a document.

        Args:
            document: As `to_json` gave it. What it has beyond the known fields is a newer version's, and is left out.

        Raises:
            ConfigurationError: It is of a version that is not read here, or not an envelope.
        """
        if not isinstance(document, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"a task's envelope is a {type(document).__name__}; accepted is an object")
        version = document.get("v")
        if type(version) is not int or version not in _READABLE:
            raise ConfigurationError(
                f"a task's envelope has version {version!r:.50}; read here are {', '.join(map(str, _READABLE))}. "
                "Update the workers before what submits to them"
            )
        try:
            fields = {name: document[name] for name in cls.__slots__}
        except KeyError as missing:
            raise ConfigurationError(f"a task's envelope lacks {missing}") from None
        for name, accepted in _FIELDS.items():
            if not isinstance(fields[name], accepted):
                raise ConfigurationError(f"a task's envelope has a {type(fields[name]).__name__} as {name!r}")
        for name, values in (("kwargs", object), ("options", object), ("tags", object), ("headers", str)):
            if not all(isinstance(key, str) and isinstance(value, values) for key, value in fields[name].items()):
                raise ConfigurationError(f"a task's envelope has other keys or values than texts in {name!r}")
        return cls(**fields)


def check_portable(request: TaskRequest) -> str:
    """Refuse what another process could not run.

    Args:
        request: A submission.

    Returns:
        The reference of its function.

    Raises:
        TypeError: The function cannot be found from elsewhere, or an argument is not JSON. The error names it.
    """
    reference = reference_of(request.fn)
    for number, value in enumerate(request.args):
        check_json(value, f"argument {number + 1}")
    for name, value in request.kwargs.items():
        check_json(value, f"argument {name!r:.100}")
    size = len(json.dumps([request.args, dict(request.kwargs)]))
    if size > _MOST_BYTES:
        raise TypeError(
            f"the arguments take {size} bytes as JSON; accepted are {_MOST_BYTES}. Store them, and hand over where"
        )
    return reference


def reference_of(fn: Callable[..., Any]) -> str:
    """Where a function is found, from any process that can import its module.

    Args:
        fn: A function declared with `task`.

    Returns:
        `module:qualified.name`.

    Raises:
        TypeError: It cannot be found: a lambda, a closure, a method, a partial, or one that `task` does not declare.
    """
    if isinstance(fn, functools.partial):
        raise TypeError("fn is a functools.partial; a portable task takes the function itself and its arguments")
    module, qualname = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        raise TypeError(f"fn is a {type(fn).__name__}; a portable task takes a function at the top of a module")
    if _look_up(module, qualname) is not fn or module == "__main__":
        where = "in the main module" if module == "__main__" else "not found under its name"
        raise TypeError(
            f"{module}.{qualname:.200} is {where}; a portable task takes a function at the top of a module that can be "
            "imported, not a lambda, a closure or a method"
        )
    _check_declared(fn, f"{module}:{qualname}")
    return f"{module}:{qualname}"


def resolve(reference: str) -> Callable[..., Any]:
    """The function of a reference.

    Args:
        reference: As `reference_of` gave it. It comes from outside this process, so nothing is imported for it, and
            only functions that their own module declares as tasks are given back.

    Raises:
        ConfigurationError: There is no such function here, or it is not declared as a task.
    """
    module, _, qualname = reference.partition(":")
    found = _look_up(module, qualname)
    if found is None:
        raise ConfigurationError(
            f"the task's function {reference!r:.300} is not known here; import its module where the executor is made"
        )
    try:
        _check_declared(found, reference)
    except TypeError as error:
        raise ConfigurationError(str(error)) from None
    return cast("Callable[..., Any]", found)


def _look_up(module: str, qualname: str) -> object:
    """What stands in a module, or in a class there. Nobody is asked: a `__getattr__` could import, or do anything."""
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        if isinstance(found, ModuleType):
            names = object.__getattribute__(found, "__dict__")  # `vars` would load a lazy module
        elif isinstance(found, type):
            names = vars(found)
        else:
            return None
        found = names.get(part)
    return cast("object", found.__func__) if isinstance(found, staticmethod) else found


def _check_declared(fn: object, reference: str) -> None:
    if not callable(fn) or not is_declared(fn):
        raise TypeError(
            f"{reference!r:.300} is not declared as a task; mark it with @task(), which also lets workers run it"
        )


def check_json(value: object, where: str) -> None:
    """Refuse what JSON would refuse or give back as something else, at a bounded cost.

    Args:
        value: Anything.
        where: Names it in the error.

    Raises:
        TypeError: It is or holds something that is not JSON, or it is too large or nested too deep.
    """
    _check_json(value, where, 0, itertools.count())


def _check_json(value: Any, where: str, depth: int, looked_at: Iterator[int]) -> None:
    kind = cast("type[object]", type(value))
    if value is None or kind is bool or kind is str or (kind is float and math.isfinite(value)):
        return
    if kind is int and -_MOST_INT < value < _MOST_INT:
        return
    if depth >= _MOST_DEPTH:
        raise TypeError(f"{where} is nested deeper than {_MOST_DEPTH}")
    if kind is not list and kind is not dict:
        raise TypeError(
            f"{where} is or holds a {kind.__name__}; a portable task takes JSON only: None, True and False, "
            "finite numbers of at most 4000 digits, texts, lists, and dicts with text keys"
        )
    for item in value:
        if next(looked_at) >= _MOST_BYTES // 2:  # each takes two bytes at least; a shared one would be sent many times
            raise TypeError(f"{where} takes more than {_MOST_BYTES} bytes as JSON. Store it, and hand over where")
        if kind is dict and type(item) is not str:
            raise TypeError(f"{where} has a {type(item).__name__} as a key; JSON has texts only")
        _check_json(value[item] if kind is dict else item, where, depth + 1, looked_at)
