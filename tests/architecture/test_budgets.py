"""Sizes that keep a file readable, and the ban on module-level state (design section 2, rules 3 and 6)."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "creatormate_resilience"
TREES = {
    str(path.relative_to(SOURCE)): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))
}
FUNCTIONS = [
    (path, node)
    for path, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
    return (function.end_lineno or first.lineno) - first.lineno + 1


def test_no_file_passes_400_lines():
    """A file above 400 lines is really two."""
    sizes = {path: len((SOURCE / path).read_text(encoding="utf-8").splitlines()) for path in TREES}
    assert {path: size for path, size in sizes.items() if size > 400} == {}


def test_no_function_body_passes_50_lines():
    """A function above 50 lines is really two, and the median stays at 7 or below."""
    sizes = sorted(body_lines(function) for _, function in FUNCTIONS)
    assert [f"{path}:{f.lineno} {f.name}" for path, f in FUNCTIONS if body_lines(f) > 50] == []
    assert sizes[len(sizes) // 2] <= 7


def test_no_module_level_state():
    """Nothing at module level can be changed by running: no mutable containers, no `global`, no counters."""
    mutable = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    found = []
    for path, tree in TREES.items():
        for node in tree.body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if isinstance(value, mutable) or (
                isinstance(value, ast.Call)
                and isinstance(value.func, ast.Name)
                and value.func.id in {"list", "dict", "set", "defaultdict", "deque", "OrderedDict", "WeakSet"}
            ):
                found.append(f"{path}:{node.lineno}")
    globals_ = [(path, n) for path, tree in TREES.items() for n in ast.walk(tree) if isinstance(n, ast.Global)]
    found += [f"{path}:{node.lineno} global" for path, node in globals_]
    assert found == []


def test_public_modules_have_a_tuple_of_public_names():
    """Every public module says in a tuple `__all__` what it offers, and offers nothing that is not there."""
    import importlib

    for path in TREES:
        if any(part.startswith("_") and part != "__init__.py" for part in Path(path).parts):
            continue
        name = f"creatormate_resilience.{path.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")
        module = importlib.import_module(name.removesuffix(".__init__"))
        assert isinstance(module.__all__, tuple), path
        assert [public for public in module.__all__ if not hasattr(module, public)] == [], path
