"""The marks that stand where something was taken out, and how a text is rebuilt around them."""

from __future__ import annotations

import re

__all__ = ("REDACTED", "TRUNCATED", "keep_first_group")

REDACTED = "[REDACTED]"
TRUNCATED = "[TRUNCATED]"


def keep_first_group(pattern: re.Pattern[str], text: str) -> str:
    """Replace every match by its first group and the mark.

    Args:
        pattern: Has at least one group, which takes part in every match.
        text: Where to look.

    One `split` instead of a function call or a template per match: several times faster where matches are dense.
    """
    parts = pattern.split(text)
    if len(parts) == 1:
        return text
    step = pattern.groups + 1
    parts[1::step] = [kept + REDACTED for kept in parts[1::step]]
    for group in range(2, step):
        parts[group::step] = [""] * (len(parts) // step)
    return "".join(parts)
