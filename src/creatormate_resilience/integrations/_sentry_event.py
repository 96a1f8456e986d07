"""A Sentry event without secrets that Sentry still accepts: its ids, times and form stay. Needs no Sentry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import chain, islice
from typing import Any, TypeGuard, cast

from creatormate_resilience.redaction import REDACTED, Redactor

__all__ = ("redact_event", "widened")

# An event of a deep stack with its source lines, or of a thousand spans, is whole in this.
_DEPTH, _NODES, _ITEMS, _TEXT = 32, 50_000, 2_000, 8_192
_SECTIONS = 64

# What the SDK itself numbers and dates: digits in it are no card's, and without it events do not belong together.
_STRUCTURE = frozenset({
    "check_in_id", "end_timestamp", "event_id", "parent_span_id", "profile_id", "profiler_id", "replay_id",
    "segment_id", "span_id", "start_timestamp", "time_unix_nano", "timestamp", "trace_id",
})  # fmt: skip
_CONTEXTS = frozenset({"profile", "replay", "trace"})
_ID = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{16})?|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# Values whose names stand somewhere else, so that nobody could tell a password among them from a page number; and
# remarks on texts that will be others.
_NAMELESS = re.compile(
    r"event\._meta|logentry\.params|extra\.sys\.argv|data\.db\.params|attributes\.sentry\.message\.parameter\..*"
)
# What SQLAlchemy and PostgreSQL put behind an error: the values of a row, without their names too.
_ROW_VALUES = re.compile(r"(\[parameters: |\bDETAIL: ).*", re.DOTALL)
_PAIRS = frozenset({"cookies", "headers", "query_string", "tags"})
_HOLDERS = frozenset({"data", "spans", "values"})


def widened(redactor: Redactor | None) -> Redactor:
    """The redactor with budgets that a real event fits in; None means the default one."""
    given = redactor or Redactor()
    return replace(
        given,
        max_depth=max(given.max_depth, _DEPTH),
        max_nodes=max(given.max_nodes, _NODES),
        max_items=max(given.max_items, _ITEMS),
        max_text=max(given.max_text, _TEXT),
    )


def redact_event(event: Mapping[str, Any], redactor: Redactor) -> dict[str, Any]:
    """An event, a transaction, a breadcrumb, a span or a log line of Sentry's without secrets.

    Args:
        event: As Sentry hands it to its hooks.
        redactor: Finds the secrets. Each section has its budget for itself, so that none loses its place, and its form,
            to a large one before it.

    Returns:
        A new mapping. Values that have lost their names (of log messages, SQL, the command line) are not in it.

    Raises:
        Exception: The event has not the form of one, or what is in it raises.
    """
    redacted: dict[str, Any] = {}
    for name, value in islice(_named("event", event).items(), _SECTIONS):
        if name == "contexts" and _is_mapping(value):
            parts = (_section(key, context, redactor) for key, context in islice(value.items(), _SECTIONS))
            redacted[name] = dict(chain.from_iterable(part.items() for part in parts))
        else:
            redacted |= _section(name, value, redactor)
    _restore(event, redacted)
    _restore(event.get("spans"), redacted.get("spans"))
    if _is_mapping(contexts := redacted.get("contexts")):
        for name in _CONTEXTS & contexts.keys():
            _restore(event["contexts"][name], contexts[name])
    return redacted


def _section(name: str, value: Any, redactor: Redactor) -> dict[str, Any]:
    section: dict[str, Any] = _without_rows(redactor.redact({name: _named(name, value)}))
    return section


def _named(name: str, value: Any) -> Any:
    """The value without what has no name of its own; pairs of names and values as what they mean."""
    if _is_mapping(value):
        return {
            key: _named(key, item) if key in _HOLDERS or key in _PAIRS else item
            for key, item in value.items()
            if not _NAMELESS.fullmatch(f"{name}.{key}")
        }
    if _is_list(value) and name in _PAIRS:
        return {item[0]: item[1] for item in value if _is_list(item)}
    if _is_list(value) and name in _HOLDERS:
        return [_named("item", item) for item in value]
    return value


def _without_rows(value: Any) -> Any:
    """Plain data without the values of database rows that errors print."""
    if isinstance(value, str):
        return _ROW_VALUES.sub(rf"\1{REDACTED}", value) if ": " in value else value
    if _is_mapping(value):
        return {key: _without_rows(item) for key, item in value.items()}
    return [_without_rows(item) for item in value] if _is_list(value) else value


def _restore(before: Any, after: Any) -> None:
    """Put back what the SDK itself has numbered and dated."""
    if _is_list(before) and _is_list(after):
        for pair in zip(before, after, strict=False):
            _restore(*pair)
    elif _is_mapping(before) and isinstance(after, dict):
        found = cast("dict[str, Any]", after)
        found |= {key: before[key] for key in _STRUCTURE & before.keys() if _is_structural(before[key])}
        _restore(before.get("dynamic_sampling_context"), found.get("dynamic_sampling_context"))


def _is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_structural(value: object) -> bool:
    if isinstance(value, str):
        return _ID.fullmatch(value) is not None
    return isinstance(value, datetime) or type(value) is int
