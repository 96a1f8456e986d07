"""Write the public API as text, one line a name: `python tests/architecture/public_api.py > docs/public-api.txt`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

PACKAGE = "creatormate_resilience"


def public_modules() -> Iterator[str]:
    package = importlib.import_module(PACKAGE)
    yield PACKAGE
    for info in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield info.name


def signature(value: Any) -> str:
    try:
        text = str(inspect.signature(value))
    except (TypeError, ValueError):
        return "(...)"
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return re.sub(r"<function [\w.<>]*?([\w]+)>", r"\1", text)


def describe(module: str, name: str, value: Any) -> Iterator[str]:
    where = f"{module}.{name}"
    if not inspect.isclass(value):
        yield f"{where}{signature(value)}" if callable(value) and inspect.isroutine(value) else where
        return
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    fields = getattr(value, "model_fields", None)  # pydantic writes its own version's inner types into a signature
    made_by = "" if issubclass(value, Exception) or fields else f" {signature(value)}"
    yield f"class {where}({bases}){made_by}"
    for name, field in (fields or {}).items():
        yield f"    {where}.{name}: {field.annotation} = {field.default!r}"
    for member, attribute in sorted(vars(value).items()):
        if member.startswith("_"):
            continue
        plain = attribute.__func__ if isinstance(attribute, staticmethod | classmethod) else attribute
        if inspect.isroutine(plain):
            yield f"    {where}.{member}{signature(plain)}"
        elif isinstance(attribute, property):
            yield f"    {where}.{member}"


def public_api() -> str:
    lines: list[str] = []
    for module_name in sorted(public_modules()):
        module = importlib.import_module(module_name)
        for name in sorted(module.__all__):
            value = getattr(module, name)
            home = getattr(value, "__module__", module_name)
            if home.startswith(PACKAGE) and not home.startswith(module_name) and module_name != PACKAGE:
                lines.append(f"{module_name}.{name} = {home}.{name}")
            elif module_name == PACKAGE:
                lines.append(f"{module_name}.{name}")
            else:
                lines += describe(module_name, name, value)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(public_api(), end="")  # noqa: T201
