"""What is told of a request that does not fit: which fields, and what is wrong with them; never what was sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from creatormate_resilience.redaction import redact_text

__all__ = ("field_errors",)

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


def field_errors(problems: Iterable[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Describe what pydantic found, a hundred problems at most.

    Args:
        problems: As its `errors()` gives them.
    """
    return [_field_error(problem) for problem in islice(problems, _ITEMS_LIMIT)]


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
