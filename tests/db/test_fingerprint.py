"""Fingerprints: the same statement with other values is the same, and no value is to be seen in it."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creatormate_resilience.db._fingerprint import fingerprint, mask_literals, syntax_of

DIALECTS = ("postgresql", "sqlite", "mysql", "mssql")
PG = syntax_of("postgresql")
SQLITE = syntax_of("sqlite")
MYSQL = syntax_of("mysql")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT a,b  FROM t\n WHERE a=-1  -- why\n LIMIT 5", "SELECT a, b FROM t WHERE a = ? LIMIT ?"),
        ("SELECT /* a /* nested */ one */ 1", "SELECT ?"),
        ("SELECT 'it''s', E'a\\'b''c', U&'x', b'01', $t$ it's $$ $t$", "SELECT ?, ?, ?, ?, ?"),
        ("SELECT 1.5e-10, 0x1F, 1_000, .5", "SELECT ?, ?, ?, ?"),
        ("t.id IN ($1::INTEGER, $2::INTEGER, $3::INTEGER)", "t.id IN (?::INTEGER)"),
        ("(a, b) IN ((1, 2), (3, 4))", "(a, b) IN ((?, ?))"),
        ("a IN (SELECT b, b FROM u)", "a IN (SELECT b, b FROM u)"),
        ("a IN (b, 1)", "a IN (b, ?)"),
        ("x = ARRAY[1, 2] AND y[2:3] = %s", "x = ARRAY[?] AND y[?: ?] = ?"),
        ("INSERT INTO t VALUES (1, NULL), (2, now()) RETURNING id", "INSERT INTO t VALUES (?, ?) RETURNING id"),
        ("a IS NULL AND b IS NOT NULL AND c = NULL", "a IS NULL AND b IS NOT NULL AND c = ?"),
        ("a - 1 + -2", "a - ? + ?"),
        ("d ->> 'k' = 'v' AND d ? 'k' AND d ?| ARRAY['a']", "d ->> ? = ? AND d ? ? AND d ?| ARRAY[?]"),
        ('SELECT "a ""b""".c FROM "Order"', 'SELECT "a ""b""".c FROM "Order"'),
        ("SAVEPOINT sa_savepoint_12", "SAVEPOINT ?"),
        ("SELECT count(*) FROM t1;", "SELECT count(*) FROM t1;"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_statement_of_postgresql_without_its_values(statement, expected):
    """Literals and parameters are marks, lists are short, comments and spare spaces are gone."""
    assert fingerprint(statement, PG) == expected


@pytest.mark.parametrize(
    ("dialect", "statement", "expected"),
    [
        ("sqlite", 'SELECT [a b], `c`, "d" WHERE x = ?1 AND y = :n', 'SELECT [a b], `c`, "d" WHERE x = ? AND y = ?'),
        ("sqlite", 'SELECT 1 WHERE name = "secret" OR name IN ("x", "y")', "SELECT ? WHERE name = ? OR name IN (?)"),
        ("sqlite", 'INSERT INTO t ("a") VALUES ("secret", now(), "b")', 'INSERT INTO t ("a") VALUES (?, now(), ?)'),
        ("mysql", "SELECT `a` WHERE c=\"se\\\"cret\" # it's\n AND d='\\''", "SELECT `a` WHERE c = ? AND d = ?"),
        ("mysql", "SELECT 5--1", "SELECT ? - ?"),
        ("mssql", "SELECT [a] FROM t WHERE b=@p1 AND c=N'x'", "SELECT [a] FROM t WHERE b = ? AND c = ?"),
        ("oracle", "SELECT a FROM t WHERE b = :p1", "SELECT a FROM t WHERE b = ?"),
    ],
)  # fmt: skip
def test_each_dialect_has_its_quotes(dialect, statement, expected):
    """What is a literal in one is a name in another; a name that may be a literal where a value stands is none."""
    assert fingerprint(statement, syntax_of(dialect)) == expected


OPENED = [
    (dialect, text) for dialect in DIALECTS for text in ("SELECT '{}", 'SELECT "{}', "SELECT E'{}\\", "SELECT 1 /* {}")
]


@pytest.mark.parametrize(("dialect", "opened"), [*OPENED, ("postgresql", "SELECT $t${}"), ("mysql", "SELECT '\\' {}")])
def test_what_is_not_closed_is_a_secret_to_its_end(dialect, opened):
    """A quote or comment without an end does not let its text through."""
    assert "hunter2" not in fingerprint(opened.format("hunter2"), syntax_of(dialect))


names = st.sampled_from(["a", "t.b", '"C d"', "count", "größe", "_x1"])
integers = st.integers(0).map(str)
floats = st.floats(min_value=0, allow_nan=False, allow_infinity=False).map(repr)
strings = st.text().filter(lambda text: "\0" not in text).map(lambda text: "'" + text.replace("'", "''") + "'")
literals = st.one_of(integers, floats, strings)
TEMPLATES = (
    "SELECT {n} FROM t WHERE {n} = {0} AND f({1}, {n}) > {2}",
    "SELECT {0}, {n} AS x FROM t WHERE {n} BETWEEN {1} AND {2}",
    "INSERT INTO t ({n}) VALUES ({0}, {1}) ON CONFLICT DO UPDATE SET {n} = {2}",
    "UPDATE t SET {n} = {0} WHERE {n} IN ({1}, {2}) -- {n}",
    "SELECT CASE WHEN {n} THEN {0} ELSE {1} END || {2}",
)


@given(st.sampled_from(TEMPLATES), names, st.tuples(literals, literals, literals), st.sampled_from(DIALECTS))
def test_values_do_not_change_it(template, name, values, dialect):
    """Whatever the literals are, the fingerprint is that of any others, and taking it again changes nothing."""
    if dialect == "mysql":
        values = tuple(value.replace("\\", "") for value in values)
    syntax = syntax_of(dialect)
    seen = fingerprint(template.format(*values, n=name), syntax)
    assert seen == fingerprint(template.format("0", "0", "0", n=name), syntax)
    assert fingerprint(seen, syntax) == seen


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("piece", ["@", "/", "(", "[", "a.", "IN (1,", "VALUES (1),", "'", '"', "/*", "$a$", "- "])
def test_what_is_cut_off_is_cut_off_once(dialect, piece):
    """A fingerprint that ends at its bound is its own fingerprint."""
    syntax = syntax_of(dialect)
    seen = fingerprint(piece * 20_000, syntax)
    assert fingerprint(seen, syntax) == seen
    assert len(seen) <= 2002


@given(st.lists(literals, min_size=1, max_size=20), st.integers(1, 5))
def test_the_length_of_lists_does_not_change_it(values, rows):
    """IN with one element or many, VALUES with one row or many, are the same."""
    assert fingerprint(f"a IN ({', '.join(values)})", PG) == "a IN (?)"
    row = f"({values[0]}, {values[-1]})"
    assert fingerprint(f"VALUES {', '.join([row] * rows)}, (f(x), 1) ORDER BY 1", PG) == "VALUES (?, ?) ORDER BY ?"


PIECES = [
    "'",
    '"',
    "`",
    "[",
    "]",
    "(",
    ")",
    ",",
    "/*",
    "*/",
    "--",
    "\n",
    "$a$",
    "$1",
    "E'",
    "\\",
    "IN (",
    "VALUES (",
    "-",
    "1",
]


@given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=40).map("".join),
    st.sampled_from(DIALECTS),
)
def test_any_text_has_one_and_it_stays_the_same(text, dialect):
    """Whatever the text, there is a fingerprint, bounded, and it is its own."""
    syntax = syntax_of(dialect)
    seen = fingerprint(text, syntax)
    assert len(seen) <= 2002
    assert fingerprint(seen, syntax) == seen


def test_a_huge_statement_is_looked_at_up_to_a_bound():
    """Ten thousand rows are one, also where the text is cut within a row; a hundred thousand columns are cut off."""
    rows = ", ".join(f"({n}, 'name {n}')" for n in range(10_000))
    assert fingerprint(f"INSERT INTO t (a, b) VALUES {rows} RETURNING id", PG) == "INSERT INTO t (a, b) VALUES (?, ?) …"
    columns = fingerprint(f"SELECT {', '.join(f'c{n}' for n in range(100_000))} FROM t", PG)
    assert len(columns) <= 2002
    assert columns.endswith(" …")
    assert fingerprint(columns, PG) == columns


def lines_run(text: str, dialect: str) -> int:
    """How many lines of the tokenizer run: work, whatever the machine does at the same time."""
    count = 0

    def trace(frame, event, _argument):
        nonlocal count
        count += event == "line"
        return trace if "_fingerprint" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        fingerprint(text, syntax_of(dialect))
    finally:
        sys.settrace(before)
    return count


HOSTILE = [
    "'",
    '"',
    "/*",
    "$a$",
    "(",
    "IN (",
    "-",
    "--",
    "$",
    "E'\\",
    "IN (1,",
    "VALUES (1),",
    "IN (x, ",
    "%(",
    "`",
    "[",
    "?",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_linear_work(piece):
    """Four times the text takes at most about four times the lines, whatever is nested or left open."""
    for dialect in ("postgresql", "sqlite"):
        small, large = (lines_run((piece * size)[:size], dialect) for size in (250, 1000))
        assert large <= 4.5 * small + 200


def repeats_of(node) -> list[tuple[str, Any]]:
    """The unbounded quantifiers in a parsed pattern: kind, and what is repeated."""
    found = []
    for each in node if isinstance(node, list | tuple | re._parser.SubPattern) else ():
        if isinstance(each, tuple) and len(each) == 2 and str(each[0]).endswith("_REPEAT") and int(each[1][1]) > 1000:
            found.append((str(each[0]), each[1][2]))
        found += repeats_of(each)
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
def test_possessive_quantifiers_repeat_one_character(dialect):
    """Python before 3.11.5 may match nothing with a possessive group, and a tokenizer that does never ends."""
    repeats = repeats_of(re._parser.parse(syntax_of(dialect).token.pattern))
    possessive = [list(repeated) for kind, repeated in repeats if kind == "POSSESSIVE_REPEAT"]
    assert possessive
    for repeated in possessive:
        assert len(repeated) == 1
        assert str(repeated[0][0]) in {"IN", "NOT_LITERAL", "ANY", "LITERAL"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_tokenizer_always_moves_on(dialect):
    """Whatever is left open, each match takes something, and together they take all."""
    token = syntax_of(dialect).token
    for text in ('"' + '""' * 5000, "'" + "''" * 5000, '"a' * 5001, "'a" * 5001, "$" * 5000 + "a"):
        position = 0
        while match := token.match(text, position):
            assert match.end() > position
            position = match.end()
        assert position == len(text)


def test_a_piece_of_a_plan_keeps_its_lists():
    """Literals of plans are masked, and nothing is left out."""
    assert mask_literals("Filter: ((a = 'x'::text) AND (b = ANY ('{1,2}'::integer[])))", PG) == (
        "Filter: ((a = ?::text) AND (b = ANY (?::integer[])))"
    )
