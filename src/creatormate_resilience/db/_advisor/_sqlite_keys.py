"""Foreign keys without an index and tables without a primary key, in SQLite."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, count, groupby
from operator import itemgetter
from typing import Any

from creatormate_resilience.db._advisor._check import Check, Context, Row, Rows
from creatormate_resilience.db._advisor._finding import Finding, FindingKind
from creatormate_resilience.db._advisor._index import covered, finds
from creatormate_resilience.exceptions import Severity

__all__ = ("CHECKS", "TABLES", "quoted")

TABLES = """
SELECT name FROM sqlite_master
WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_' AND sql NOT LIKE 'CREATE VIRTUAL%'"""
"""Tables of users."""

# Each column of a foreign key with each of each index of its table; a single INTEGER PRIMARY KEY is the table itself.
# And every name that is taken, without a foreign key.
_FOREIGN_KEYS = f"""
SELECT t.name AS table_name, f.id, f.seq, f."table" AS target, f."from" AS column_name,
       l.name AS index_name, l.partial, m.sql AS definition, x.seqno, x.name AS index_column,
       (SELECT c.name FROM pragma_table_info(t.name) c WHERE c.pk = 1 AND upper(c.type) = 'INTEGER'
        AND 1 = (SELECT count(*) FROM pragma_table_info(t.name) WHERE pk > 0)) AS row_id
FROM ({TABLES}) t JOIN pragma_foreign_key_list(t.name) f
LEFT JOIN pragma_index_list(t.name) l
LEFT JOIN pragma_index_xinfo(l.name) x ON x.key = 1
LEFT JOIN sqlite_master m ON m.type = 'index' AND m.name = l.name
UNION ALL
SELECT name, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM sqlite_master
ORDER BY table_name, f.id, index_name, seqno, f.seq
"""  # noqa: S608 - constants

_KEYLESS = f"""
SELECT t.name AS table_name FROM ({TABLES}) t
WHERE NOT EXISTS (SELECT 1 FROM pragma_table_info(t.name) WHERE pk > 0) ORDER BY t.name
"""  # noqa: S608 - constants


def missing_foreign_key_indexes(rows: Rows, _context: Context) -> Iterator[Finding]:
    """Foreign keys whose every check, on deleting or changing the target, reads the whole table."""
    taken = {row["table_name"].casefold() for row in rows if row["id"] is None}
    for _, group in groupby((row for row in rows if row["id"] is not None), itemgetter("table_name")):
        keys = {key: list(members) for key, members in groupby(group, itemgetter("id"))}
        missing = {key: columns for key in keys if (columns := _unserved(keys[key]))}
        served = covered({key: [each.casefold() for each in columns] for key, columns in missing.items()})
        for key, columns in missing.items():
            yield _missing(keys[key][0], columns, missing[served[key]] if key in served else None, taken)


def _unserved(members: list[Row]) -> list[str]:
    """The columns of a foreign key that no index begins with."""
    columns = list(dict.fromkeys(row["column_name"] for row in members))
    folded = [each.casefold() for each in columns]
    return [] if any(finds(folded, each) for each in _usable(members, folded)) else columns


def _missing(row: Row, columns: list[str], wider: list[str] | None, taken: set[str]) -> Finding:
    table, listed = row["table_name"], _listed(columns)
    shared = "" if wider is None else f"; the index for ({_listed(wider)}) would serve here too"
    fix = None
    if wider is None:
        fix = f"CREATE INDEX {quoted(_free(['ix', table, *columns], taken))} ON {quoted(table)} ({listed});"
    return Finding(
        kind=FindingKind.MISSING_FOREIGN_KEY_INDEX,
        severity=Severity.INFO,
        subject=f"{quoted(table)} ({listed})",
        reason=f"no index begins with these columns: deleting from {quoted(row['target'])} reads this whole table"
        f" for each row{shared}",
        measured={"table": quoted(table), "columns": tuple(map(quoted, columns))},
        fix=fix,
    )


def _free(parts: list[str], taken: set[str]) -> str:
    """A name that nothing has, which is taken from now on."""
    name = "_".join(parts)
    names = chain([name], (f"{name}_{number}" for number in count(2)))
    free = next(each for each in names if each.casefold() not in taken)
    taken.add(free.casefold())
    return free


def _listed(columns: list[str]) -> str:
    return ", ".join(map(quoted, columns))


def missing_primary_keys(rows: Rows, _context: Context) -> Iterator[Finding]:
    """Tables whose rows are told apart by a number that VACUUM may change."""
    for row in rows:
        yield Finding(
            kind=FindingKind.MISSING_PRIMARY_KEY,
            severity=Severity.INFO,
            subject=quoted(row["table_name"]),
            reason="no primary key: rows are told apart by a hidden number only, which VACUUM may change",
        )


def _usable(members: list[Row], columns: list[str]) -> Iterator[list[str | None]]:
    """The columns of each index that sees all rows with a value."""
    if members[0]["row_id"] is not None:
        yield [members[0]["row_id"].casefold()]
    indexes: defaultdict[str, dict[int, str | None]] = defaultdict(dict)
    for row in members:
        if row["index_name"] is not None and (not row["partial"] or _leaves_out_nulls(row["definition"], columns)):
            name = row["index_column"]
            indexes[row["index_name"]][row["seqno"]] = None if name is None else name.casefold()
    yield from (list(each.values()) for each in indexes.values())


def _leaves_out_nulls(definition: str | None, columns: list[str]) -> bool:
    predicate = re.split(r"\bwhere\b", definition or "", flags=re.IGNORECASE)[-1]
    return " ".join(predicate.casefold().replace('"', "").split()) in {f"{column} is not null" for column in columns}


def quoted(name: Any) -> str:
    """A name as SQL has it."""
    return '"' + str(name).replace('"', '""') + '"'


CHECKS = (
    Check("missing_foreign_key_index", _FOREIGN_KEYS, missing_foreign_key_indexes),
    Check("missing_primary_key", _KEYLESS, missing_primary_keys),
)
