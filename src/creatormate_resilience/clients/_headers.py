"""What a request takes along from the context it is sent in."""

from __future__ import annotations

from collections.abc import MutableMapping

from creatormate_resilience.clients._config import ClientConfig
from creatormate_resilience.deadline import DEADLINE_HEADER
from creatormate_resilience.request_context import get_request_context

__all__ = ("add_headers",)


def add_headers(headers: MutableMapping[str, str], config: ClientConfig, left: float | None) -> None:
    """Add to a request what the configuration wants sent along.

    Args:
        headers: Of the request. Ids that are there stay; the time left is written anew for each attempt.
        config: Says what is wanted.
        left: Seconds until the deadline, or None.
    """
    if config.send_deadline and left is not None:
        headers[DEADLINE_HEADER] = str(max(1, int(left * 1000)))
    context = get_request_context() if config.send_context else None
    if context is None:
        return
    if "x-request-id" not in headers:
        headers["X-Request-ID"] = context.request_id
    if context.trace_id is not None and "traceparent" not in headers:
        headers["traceparent"] = f"00-{context.trace_id}-{context.parent_id}-{'01' if context.sampled else '00'}"
