"""SQL of other people, made fit for a report: without literals and comments, bounded."""

from __future__ import annotations

from creatormate_resilience.db._fingerprint import fingerprint, syntax_of
from creatormate_resilience.redaction import redact_text

__all__ = ("shown_statement",)

_READ = 4000
_SHOWN = 200
_POSTGRESQL = syntax_of("postgresql")


def shown_statement(text: str | None) -> str:
    r"""A statement without what its author put into it: literals become `?`, comments go.

    What is cut off in the middle of a literal is taken for one up to its end. From a backslash before a quote on
    nothing is shown: whether a literal has ended there is a setting of the other session.

    Args:
        text: The statement, as the server shows it; None where it shows none.

    Returns:
        At most 200 characters and an ellipsis, on one line.
    """
    known = (text or "")[:_READ].partition("\\'")[0]
    shown = fingerprint(known, _POSTGRESQL)
    cut = len(shown) > _SHOWN or len(known) < len(text or "")
    return redact_text(shown, _SHOWN) + (" …" if cut else "")
