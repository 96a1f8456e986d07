"""The floor plan of the house, held over the import statements themselves (design section 2)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "creatormate_resilience"
SOURCE = Path(__file__).parents[2] / "src" / PACKAGE

FLOORS = {
    0: {
        "client_ip",
        "clock",
        "counter",
        "deadline",
        "events",
        "exceptions",
        "latencies",
        "options",
        "outcome",
        "policy",
        "redaction",
        "request_context",
    },
    1: {"log", "redis_client", "time_limit"},
    2: {"breaker", "policies"},
    3: {"clients", "cache", "db", "tasks"},
    4: {"settings", "health"},
    5: {"toolkit"},
    6: {"shortcuts", "integrations", "testing"},
    7: {"cli"},
}
FLOOR_OF = {unit: floor for floor, units in FLOORS.items() for unit in units}

# Beyond "only in the file named after it"; see design section 2, rule 2.
ALLOWED_THIRD_PARTY = {
    "anyio": lambda path: FLOOR_OF.get(unit_of(path), 0) > 0,
    "structlog": lambda path: path in {"log/_logger.py", "log/_setup.py", "integrations/structlog.py"},
    "sqlalchemy": lambda path: path.startswith("db/"),
    "pydantic": lambda path: path in {"settings.py", "cache/_codec/pydantic.py"},
    "pydantic_settings": lambda path: path == "settings.py",
    "msgspec": lambda path: path == "cache/_codec/msgspec.py",
    "cachebox": lambda path: path == "cache/_memory.py",
    "starlette": lambda path: path == "integrations/fastapi.py" or path.startswith("integrations/dashboard/"),
    "sentry_sdk": lambda path: path == "integrations/sentry.py",
    "hypothesis": lambda path: path.startswith("testing/"),
    "asyncpg": lambda path: path == "db/_postgresql.py",
    "aiosqlite": lambda path: path == "db/_sqlite.py",
    "httpx2": lambda path: path == "clients/httpx.py",
    "urllib3": lambda path: path == "clients/requests.py",  # what requests is made of
}
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "core"}


@dataclass(frozen=True)
class Import:
    """One import statement: which file has it, what it names, and whether it stands inside a function."""

    path: str
    module: str
    line: int
    in_function: bool
    star: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def unit_of(path: str) -> str:
    return path.split("/", maxsplit=1)[0].removesuffix(".py")


def module_of(path: str) -> str:
    return f"{PACKAGE}.{path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}".removesuffix(".__init__")


def imports_in(text: str, path: str) -> Iterator[Import]:
    def walk(node: ast.AST, in_function: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(path, alias.name, child.lineno, inside, star=False)
            elif isinstance(child, ast.ImportFrom):
                package = ".".join(module_of(path).split(".")[: -child.level]) if child.level else ""
                module = ".".join(filter(None, [package, child.module]))
                for alias in child.names:
                    yield Import(path, f"{module}.{alias.name}", child.lineno, inside, star=alias.name == "*")
            yield from walk(child, inside)

    yield from walk(ast.parse(text), in_function=False)


PATHS = sorted(str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py"))
IMPORTS = [found for path in PATHS for found in imports_in((SOURCE / path).read_text(encoding="utf-8"), path)]


def broken_floors(imports: list[Import]) -> list[str]:
    broken = []
    for found in imports:
        if not found.module.startswith(f"{PACKAGE}.") or found.path == "__init__.py":
            continue
        mine, theirs = unit_of(found.path), found.module.split(".")[1]
        if mine == theirs or theirs not in FLOOR_OF:
            continue
        if FLOOR_OF[theirs] > FLOOR_OF[mine] or (FLOOR_OF[theirs] == FLOOR_OF[mine] != 0):
            broken.append(f"{found} (floor {FLOOR_OF[mine]} to floor {FLOOR_OF[theirs]})")
    return broken


def stray_third_party(imports: list[Import]) -> list[str]:
    stray = []
    for found in imports:
        root = found.module.split(".")[0]
        if root == PACKAGE or root in sys.stdlib_module_names or root == "__future__":
            continue
        named_after = Path(found.path).stem == root
        if not named_after and not ALLOWED_THIRD_PARTY.get(root, lambda _path: False)(found.path):
            stray.append(str(found))
    return stray


def cycles(imports: list[Import]) -> list[list[str]]:
    modules = {module_of(path) for path in PATHS}

    def target(name: str) -> str | None:
        return name if name in modules else (name.rpartition(".")[0] if name.rpartition(".")[0] in modules else None)

    graph: dict[str, set[str]] = {module: set() for module in modules}
    for found in imports:
        to = target(found.module)
        if to is not None and to != module_of(found.path):
            graph[module_of(found.path)].add(to)
    done: set[str] = set()
    found_cycles: list[list[str]] = []

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            found_cycles.append([*trail[trail.index(module) :], module])
            return
        if module not in done:
            for following in sorted(graph[module]):
                visit(following, [*trail, module])
            done.add(module)

    for module in sorted(modules):
        visit(module, [])
    return found_cycles


def test_every_unit_stands_on_a_floor():
    """A new unit must be given a floor here, or nobody could say what it may import."""
    units = {unit_of(path) for path in PATHS} - {"__init__"}
    assert units <= set(FLOOR_OF), f"no floor for {sorted(units - set(FLOOR_OF))}"


def test_imports_only_point_down():
    """A unit imports lower floors and itself; never a sibling (floor 0 excepted), never above."""
    assert broken_floors(IMPORTS) == []


def test_third_party_packages_are_imported_only_where_they_belong():
    """A third-party package is imported only in the file named after it, the listed exceptions apart."""
    assert stray_third_party(IMPORTS) == []


def test_no_import_stands_inside_a_function():
    """Function-level imports hide cycles and cost time in hot paths."""
    assert [str(found) for found in IMPORTS if found.in_function] == []


def test_no_star_imports():
    """A star import makes an unreadable API."""
    assert [str(found) for found in IMPORTS if found.star] == []


def test_no_import_cycles():
    """No module imports itself through others, inside a unit or across units."""
    assert cycles(IMPORTS) == []


def test_file_names_say_what_is_in_them():
    """No grab-bags: the name of a file is a noun of the field."""
    assert [path for path in PATHS if Path(path).stem.strip("_") in VAGUE] == []


@pytest.mark.parametrize(
    ("path", "text", "check"),
    [
        ("policies/_retry.py", "from creatormate_resilience.breaker import CircuitBreaker", broken_floors),
        ("clock.py", "import creatormate_resilience.toolkit", broken_floors),
        ("cache/_cache.py", "if TYPE_CHECKING:\n    from creatormate_resilience.db import Database", broken_floors),
        ("health.py", "def f():\n    import creatormate_resilience.shortcuts", broken_floors),
        ("tasks/_executor.py", "import redis.asyncio", stray_third_party),
        ("events.py", "import anyio", stray_third_party),
    ],
)
def test_the_checks_catch_planted_violations(path, text, check):
    """The rules above are able to fail: each planted violation is reported once."""
    assert len(check(list(imports_in(text, path)))) == 1
