"""Which upstream a request goes to."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ("origin",)

_DEFAULT_PORTS: Mapping[str, int] = MappingProxyType({"http": 80, "https": 443, "ws": 80, "wss": 443})


def origin(scheme: str, host: str, port: int | None) -> str:
    """Scheme, host and port as a browser writes them (RFC 6454 section 6.1), without user, path and query.

    Args:
        scheme: In lower case.
        host: In lower case; an IPv6 address without brackets.
        port: None for the scheme's own.
    """
    if ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}" if port is None or port == _DEFAULT_PORTS.get(scheme) else f"{scheme}://{host}:{port}"
