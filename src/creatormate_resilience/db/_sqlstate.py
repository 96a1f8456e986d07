"""The server's own code for an error."""

from __future__ import annotations

__all__ = ("sqlstate_of",)


def sqlstate_of(exc: BaseException | None) -> str | None:
    """The server's code for an error, from the driver's exception or SQLAlchemy's around it."""
    driver = getattr(exc, "orig", None) or exc
    code = getattr(driver, "sqlstate", None) or getattr(driver, "sqlite_errorname", None)
    return code if isinstance(code, str) else None
