"""What an index can do: which others it makes superfluous, which columns it finds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ("Index", "covered", "finds", "redundant_indexes")

_Name = TypeVar("_Name")

_ORDERED = "btree"  # only here does an index on (a, b) serve whoever looks for a


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index, as far as it matters for what it can do.

    Attributes:
        table: The table, quoted.
        name: The index, quoted.
        method: "btree" and its like.
        keys: For each key all that distinguishes it: column or expression, operator class, collation, order.
        columns: What an index-only scan can read: the columns or expressions of the keys, and those included.
        predicate: Of a partial index, as text.
        options: Storage options; they matter for methods other than btree.
        unique: Whether it keeps values apart, and how it treats NULLs and deferral: "" where it does not.
        needed: Whether something else than queries needs it: a constraint, replication, a partitioned index.
        valid: Whether queries can use it.
        size: Bytes.
    """

    table: str
    name: str
    method: str
    keys: tuple[str, ...]
    columns: frozenset[str]
    predicate: str | None = None
    options: str = ""
    unique: str = ""
    needed: bool = False
    valid: bool = True
    size: int = 0


def redundant_indexes(indexes: Iterable[Index]) -> Iterator[tuple[Index, Index]]:
    """Indexes that can go, each with one that stays and does all that it does.

    Of indexes that can do the same one stays: the one that is needed, else the first by name. Everything given away is
    served by something kept, so all of the result may be dropped together.

    Args:
        indexes: Of any number of tables.

    Yields:
        The superfluous index, and the one that covers it.
    """
    tables: defaultdict[str, list[Index]] = defaultdict(list)
    for index in indexes:
        if index.valid:
            tables[index.table].append(index)
    for group in tables.values():
        superseded = {each.name: [other for other in group if _replaces(other, each)] for each in group}
        for index in group:
            kept = [other for other in superseded[index.name] if not superseded[other.name]]
            if kept:
                yield index, min(kept, key=_rank)


def finds(columns: Sequence[object], index_columns: Sequence[object]) -> bool:
    """Whether an index finds the rows with given values of these columns: it begins with them, in any order.

    Args:
        columns: What is given, by name or by number.
        index_columns: Of the index, in order; None or 0 stands for an expression.
    """
    return set(index_columns[: len(columns)]) == set(columns)


def covered(wanted: Mapping[_Name, Sequence[object]]) -> dict[_Name, _Name]:
    """Which of several missing indexes of a table need not be made, because another of them serves as well.

    Args:
        wanted: The columns of each; of those of the same columns the first is made.

    Returns:
        What need not be made, each with one that is.
    """
    made: list[_Name] = []
    served: dict[_Name, _Name] = {}
    for name in sorted(wanted, key=lambda name: len(wanted[name]), reverse=True):
        wider = next((other for other in made if finds(wanted[name], wanted[other])), None)
        if wider is None:
            made.append(name)
        else:
            served[name] = wider
    return served


def _replaces(other: Index, index: Index) -> bool:
    """Whether `index` goes in favour of `other`. No circles: of two equals only one gives way."""
    if index.needed or other.name == index.name or not _covers(other, index):
        return False
    return not _covers(index, other) or _rank(other) < _rank(index)


def _covers(other: Index, index: Index) -> bool:
    if (other.method, other.predicate) != (index.method, index.predicate):
        return False
    if index.unique and (index.unique, index.keys) != (other.unique, other.keys):
        return False
    if other.method != _ORDERED:
        return (other.keys, other.columns, other.options) == (index.keys, index.columns, index.options)
    return other.keys[: len(index.keys)] == index.keys and index.columns <= other.columns


def _rank(index: Index) -> tuple[bool, str]:
    return not index.needed, index.name
