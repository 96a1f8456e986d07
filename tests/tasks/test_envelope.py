"""A task as text: what goes in comes out, what would not is refused at once, and a reference gives out nothing else."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks import declared

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.tasks import TaskExecutor, TaskPriority, task
from creatormate_resilience.tasks._engine import TaskRequest, TaskSpec
from creatormate_resilience.tasks._envelope import Envelope, check_portable, reference_of, resolve
from creatormate_resilience.tasks._options import TaskOptions

EXAMPLES = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 60
SPEC = TaskSpec("portable", "async", TaskOptions(portable=True))
REFERENCE = "tests.tasks.declared:portable"

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
foreign = st.one_of(
    st.tuples(scalars),
    st.binary(),
    st.sampled_from(
        [float("nan"), float("inf"), -float("inf"), 1j, ..., object(), TaskPriority.LOW, OrderedDict(), {1}]
    ),
    st.dictionaries(st.integers() | st.none() | st.booleans(), scalars, min_size=1),
)


def submitted(*args: Any, **kwargs: Any) -> TaskRequest:
    return TaskRequest(declared.portable, args, kwargs, SPEC)


def envelope(**changes: Any) -> dict[str, Any]:
    return (
        Envelope("id", "name", REFERENCE, [1], {"a": 2}, {"timeout": 1.0}, {"user": 7}, {"x": "y"}).to_json() | changes
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(json_values, max_size=3), st.dictionaries(st.text(), json_values, max_size=3))
def test_json_values_come_out_as_they_went_in(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Also after they were text; equal, of the same types, and the same sign of zero."""
    assert check_portable(submitted(*args, **kwargs)) == REFERENCE
    sent = Envelope("id", "name", REFERENCE, args, kwargs, {}, {"user": 7}, {"traceparent": "00-"})
    received = Envelope.from_json(json.loads(json.dumps(sent.to_json())))
    assert received == sent
    assert repr(received) == repr(sent)


@settings(max_examples=EXAMPLES, deadline=None)
@given(foreign, st.sampled_from(["argument", "keyword", "in a list", "in a dict"]))
def test_what_is_not_json_is_refused_and_named(value: Any, where: str) -> None:
    """Tuples, NaN, keys that are not texts, subclasses: JSON would give them back as something else."""
    requests = {
        "argument": submitted(0, value),
        "keyword": submitted(a=value),
        "in a list": submitted(0, [value]),
        "in a dict": submitted(a={"b": value}),
    }
    with pytest.raises(TypeError, match=r"argument 2|argument 'a'"):
        check_portable(requests[where])


class Text(str):
    __slots__ = ()


class Items(list[int]):
    pass


@pytest.mark.parametrize("value", [Text("a"), Items([1]), {Text("a"): 1}, {1: 1}], ids=repr)
def test_subclasses_are_refused(value: Any) -> None:
    """They would arrive as what they are made of."""
    with pytest.raises(TypeError, match="argument 1"):
        check_portable(submitted(value))


def nested(depth: int, *, shared: int = 1) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value] * shared
    return value


def test_depth_and_size_are_bounded_and_looking_costs_no_more_than_they() -> None:
    """Fifty levels, a megabyte; a list in itself, and 2**40 paths through forty lists, are refused at once."""
    check_portable(submitted(nested(49)))
    cycle: list[Any] = []
    cycle.append(cycle)
    for deep in (nested(60), nested(100_000), cycle, [cycle, cycle]):
        with pytest.raises(TypeError, match="nested deeper than 50"):
            check_portable(submitted(deep))
    check_portable(submitted("x" * 1_000_000))
    for large in (
        "x" * 1_100_000,
        ["x" * 1000] * 1100,
        nested(40, shared=2),
        [0] * 600_000,
        {str(n): n for n in range(200_000)},
    ):
        with pytest.raises(TypeError, match=r"1048576"):
            check_portable(submitted(large))


def test_a_number_of_too_many_digits_is_refused_as_an_argument() -> None:
    """Python itself would not print it, and the error names the argument."""
    check_portable(submitted(10**3999))
    with pytest.raises(TypeError, match="argument 1"):
        check_portable(submitted([10**5000]))


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.0, [1], "x" * 10_000])
def test_another_version_is_refused_in_few_words(version: Any) -> None:
    """Also what only equals the number one."""
    with pytest.raises(ConfigurationError, match="has version") as caught:
        Envelope.from_json(envelope(v=version))
    assert len(str(caught.value)) < 300


HOSTILE = [
    ("id", 7),
    ("id", None),
    ("name", []),
    ("function", None),
    ("function", ["os:system"]),
    ("args", "abc"),
    ("args", {"a": 1}),
    ("args", None),
    ("kwargs", [1]),
    ("kwargs", None),
    ("options", "timeout"),
    ("tags", None),
    ("tags", [1]),
    ("headers", "x"),
    ("kwargs", {1: 2}),
    ("headers", {"a": 1}),
    ("headers", {1: "a"}),
]


@pytest.mark.parametrize(("field", "value"), HOSTILE)
def test_a_field_of_another_type_is_no_envelope(field: str, value: Any) -> None:
    """The document came from outside: each field is what it is used as, or the whole is refused."""
    with pytest.raises(ConfigurationError, match=field):
        Envelope.from_json(envelope(**{field: value}))


@pytest.mark.parametrize("field", ["id", "name", "function", "args", "kwargs", "options", "tags", "headers"])
def test_a_missing_field_is_named(field: str) -> None:
    """And unknown ones are a newer version's."""
    document = envelope(later=1)
    assert Envelope.from_json(document).id == "id"
    del document[field]
    with pytest.raises(ConfigurationError, match=field):
        Envelope.from_json(document)


@pytest.mark.parametrize("document", [None, [], "text", 5, [("v", 1)]])
def test_what_is_no_object_is_no_envelope(document: Any) -> None:
    """JSON has other documents too."""
    with pytest.raises(ConfigurationError):
        Envelope.from_json(document)


@settings(max_examples=EXAMPLES, deadline=None)
@given(json_values | st.dictionaries(st.sampled_from([*envelope()]), json_values))
def test_any_document_is_read_or_refused(document: Any) -> None:
    """Never another error."""
    try:
        Envelope.from_json(document)
    except ConfigurationError:
        return


def test_a_reference_leads_back_to_its_function() -> None:
    """Declared functions at the top of a module, and static ones of a class there."""
    assert resolve(reference_of(declared.portable)) is declared.portable
    assert resolve(reference_of(declared.Methods.static)) is declared.Methods.static


@pytest.mark.parametrize(
    "reference",
    [
        "os:system",
        "builtins:eval",
        "builtins:exec",
        "creatormate_resilience.tasks:task",
        "tests.tasks.declared:undeclared",
        "tests.tasks.declared:Methods",
        "tests.tasks.declared:loaded",
        "tests.tasks.declared:portable.__globals__",
        "tests.tasks.declared:portable.__call__",
        "tests.tasks.declared:proxy",
        "tests.tasks.declared:proxy.anything",
        "tests.tasks.declared:nothing",
        "tests.tasks.declared:",
        "tests.tasks.declared",
        ":",
        "",
        ":portable",
        "::",
        "a:b:c",
        "tests.tasks.declared:.portable",
        "tests.tasks.declared:portable.",
        "no.such.module:f",
        "\x00:\x00",
        "x" * 100_000,
    ],
)
def test_a_reference_gives_out_declared_functions_only(reference: str) -> None:
    """Nothing is imported, nothing is run, and the error is short."""
    before, loaded, asked = set(sys.modules), list(declared.loaded), list(declared.proxy.asked)
    with pytest.raises(ConfigurationError) as caught:
        resolve(reference)
    assert len(str(caught.value)) < 600
    assert set(sys.modules) == before
    assert declared.loaded == loaded, "not even a module's own __getattr__ is asked: it may import"
    assert declared.proxy.asked == asked, "nor an object that answers to every name"


def test_a_lazy_package_is_not_loaded_by_a_reference() -> None:
    """This package's own names load on first use; a reference is no use."""
    unloaded = [
        name
        for name in ("toolkit", "settings", "db", "shortcuts")
        if f"creatormate_resilience.{name}" not in sys.modules
    ]
    before = set(sys.modules)
    for name in ("Resilience", "Settings", "Database", *unloaded):
        with pytest.raises(ConfigurationError):
            resolve(f"creatormate_resilience:{name}")
    assert set(sys.modules) == before


def test_functions_that_cannot_be_found_elsewhere_are_refused() -> None:
    """Lambdas, closures, methods, partials, callable objects, and what is not declared."""

    @task()
    async def closure() -> None:
        pass

    marked = task()(lambda: None)
    cases: list[tuple[Any, str]] = [
        (closure, "not found under its name"),
        (marked, "not found under its name"),
        (declared.Methods().method, "not found under its name"),
        (functools.partial(declared.portable, 1), "functools.partial"),
        (declared.undeclared, "not declared as a task"),
        (len, "not declared"),
        (declared.proxy, "portable task"),
    ]
    for fn, message in cases:
        with pytest.raises(TypeError, match=message):
            reference_of(fn)


def test_a_function_of_the_main_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has another main module."""

    @task()
    async def in_main() -> None:
        pass

    monkeypatch.setattr(in_main, "__module__", "__main__")
    monkeypatch.setattr(in_main, "__qualname__", "in_main")
    monkeypatch.setattr(sys.modules["__main__"], "in_main", in_main, raising=False)
    with pytest.raises(TypeError, match="in the main module"):
        reference_of(in_main)


@pytest.mark.anyio
async def test_portable_refuses_at_the_submission() -> None:
    """The executor of this process holds what is declared portable to it; all or none."""
    async with TaskExecutor() as executor:
        portable = executor.options(portable=True)
        assert await (await portable.submit(declared.portable, 1, a=[2])) == ((1,), {"a": [2]})
        with pytest.raises(TypeError, match="lambda"):
            await portable.submit(lambda: None)
        with pytest.raises(TypeError, match="argument 1 is or holds a tuple"):
            await portable.submit(declared.portable, (1,))
        with pytest.raises(TypeError, match="argument 1"):
            await portable.submit_many(declared.portable, [(1,), ({2},)])
        assert executor.statistics().submitted == 1
