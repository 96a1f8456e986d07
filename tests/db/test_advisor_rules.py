"""The advisor's pure parts: redundancy of indexes, texts of statements, thresholds, the report."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creatormate_resilience.db import AdvisorConfig, Finding, FindingKind, Note, Report
from creatormate_resilience.db._advisor._check import Context
from creatormate_resilience.db._advisor._index import Index, finds, redundant_indexes
from creatormate_resilience.db._advisor._postgresql._activity import blocking_locks
from creatormate_resilience.db._advisor._postgresql._bloat import expected_pages
from creatormate_resilience.db._advisor._postgresql._sequences import sequence_exhaustion
from creatormate_resilience.db._advisor._postgresql._what_if import suggested_index, trials
from creatormate_resilience.db._advisor._statement import shown_statement
from creatormate_resilience.exceptions import ConfigurationError, Severity


# Redundancy ----------------------------------------------------------------------------------------------------------
@st.composite
def indexes(draw):
    """Few columns and options, so that indexes resemble each other."""
    made: list[Index] = []
    for number in range(draw(st.integers(0, 7))):
        if made and draw(st.booleans()):
            made.append(replace(draw(st.sampled_from(made)), name=f"i{number}", needed=draw(st.booleans())))
            continue
        keys = tuple(draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=3, unique=True)))
        included = draw(st.frozensets(st.sampled_from("abc"), max_size=1))
        made.append(
            Index(
                table=draw(st.sampled_from("tu")),
                name=f"i{number}",
                method=draw(st.sampled_from(["btree", "btree", "btree", "gin"])),
                keys=keys,
                columns=frozenset(keys) | included,
                predicate=draw(st.sampled_from([None, None, "p"])),
                unique=draw(st.sampled_from(["", "", "t f", "t t"])),
                needed=draw(st.booleans()),
                valid=draw(st.sampled_from([True, True, True, False])),
            )
        )
    return draw(st.permutations(made))


def abilities(index: Index) -> set[tuple]:
    """Everything an index can do, written out one by one."""
    if not index.valid:
        return set()
    on = (index.table, index.method, index.predicate)
    can = set()
    if index.method == "btree":
        for length in range(1, len(index.keys) + 1):
            can.add((*on, "finds", index.keys[:length]))
            can |= {(*on, "finds", index.keys[:length], "and reads", column) for column in index.columns}
    else:
        can.add((*on, "is", index.keys, index.columns, index.options))
    if index.unique:
        can.add((*on, "keeps apart", index.unique, index.keys))
    return can


@settings(max_examples=60)
@given(indexes())
def test_what_is_called_redundant_is_exactly_what_can_go(every):
    """Dropping all of it loses no ability; what stays could not go, too; the needed ones and the invalid ones stay.

    And the order in which the indexes come does not matter.
    """
    dropped = list(redundant_indexes(every))
    names = {index.name for index, _ in dropped}
    assert names == {index.name for index, _ in redundant_indexes(every[::-1])}
    staying = [index for index in every if index.name not in names]
    assert len(names) == len(dropped)
    for index, kept in dropped:
        assert kept in staying
        assert abilities(index) <= abilities(kept)
        assert index.valid
        assert not index.needed
    for index in staying:
        if index.valid and not index.needed:
            assert not any(abilities(index) <= abilities(other) for other in staying if other is not index)


@pytest.mark.parametrize(
    ("columns", "index", "expected"),
    [
        (["a"], ["a"], True),
        (["a"], ["a", "b"], True),
        (["a", "b"], ["b", "a", "c"], True),
        (["a"], ["b", "a"], False),
        (["a", "b"], ["a"], False),
        (["a", "b"], ["a", None, "b"], False),
        (["a"], [None], False),
    ],
)
def test_an_index_finds_the_columns_that_it_begins_with(columns, index, expected):
    """In any order, because all of them are given."""
    assert finds(columns, index) is expected


# Statements ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'geheim'",
        "SELECT 'it''s geheim' -- geheim",
        "SELECT /* geheim /* nested */ geheim */ 1",
        "SELECT E'a\\' geheim', 'geheim'",
        "SELECT 'a\\' AND name = 'geheim'",  # ends or does not end, depending on a setting of the session
        "SELECT $x$geheim$x$, $$geheim$$",
        "SELECT 'geheim",  # cut off by the server
        "SELECT $a$geheim",
        "ALTER ROLE x PASSWORD 'geheim'",
    ],
)
def test_literals_and_comments_of_others_are_not_shown(text):
    """Closed, nested, escaped or cut off in the middle."""
    assert "geheim" not in shown_statement(text)


def test_the_words_of_a_statement_are_shown_and_bounded():
    """Enough to know it again, on one line."""
    assert shown_statement("SELECT  a,\n b FROM t WHERE c = 5") == "SELECT a, b FROM t WHERE c = ?"
    assert shown_statement(None) == ""
    assert len(shown_statement("SELECT " + "a, " * 100_000)) < 250
    assert shown_statement("SELECT " + "a, " * 100_000).endswith("…")


# Rules ---------------------------------------------------------------------------------------------------------------
def blocked(pid, blocker, waited=10.0):
    row = {"pid": pid, "blocker": blocker, "waited": waited, "locktype": "transactionid", "mode": "ShareLock"}
    rest = ("table_name", "statement", "blocker_statement", "blocker_state", "blocker_age")
    return row | dict.fromkeys(rest)


def test_a_prepared_transaction_blocks_under_the_number_zero():
    """There is no session to end, so there is no SQL for it either."""
    (finding,) = blocking_locks([blocked(1, 0), blocked(2, 0), blocked(3, 1)], Context(config=AdvisorConfig()))
    assert (finding.subject, finding.fix, finding.measured["blocked"]) == ("a prepared transaction", None, (1, 2))


@given(st.booleans(), st.integers(1, 2**62), st.floats(0, 1))
def test_a_sequence_is_used_up_in_proportion(up, span, share):
    """Upwards and downwards alike, whatever its size; one that begins again at its end is never used up."""
    last = round(span * share)
    row = {
        "least": 0 if up else -span,
        "most": span if up else 0,
        "step": 1 if up else -1,
        "last_value": last if up else -last,
        "cycles": False,
        "readable": True,
        "sequence_type": "bigint",
        "sequence_name": "s",
        "table_name": None,
        "column_name": None,
        "column_type": None,
    }
    context = Context(config=AdvisorConfig(sequence_warning=0.5, sequence_critical=0.9))
    found = [each.severity for each in sequence_exhaustion([row], context)]
    used = last / span
    assert found == ([Severity.CRITICAL] if used >= 0.9 else [Severity.WARNING] if used >= 0.5 else [])
    assert list(sequence_exhaustion([row | {"cycles": True}], context)) == []


@given(st.integers(0, 10**9), st.integers(1, 8000), st.integers(10, 100))
def test_expected_pages_hold_the_rows_and_not_much_more(rows, width, fill):
    """As many as are needed when each is filled up to its fill factor, with at least one row."""
    pages = expected_pages(rows, width, 8168, fill)
    fitting = max(1, 8168 * fill // 100 // width)
    assert (pages - 1) * fitting < max(rows, 1) + fitting
    assert pages * fitting >= rows


def missing(fix="CREATE INDEX CONCURRENTLY ON t (a);", severity=Severity.INFO):
    return Finding(kind=FindingKind.MISSING_FOREIGN_KEY_INDEX, severity=severity, subject="t (a)", reason="", fix=fix)


def test_an_index_is_suggested_where_the_planner_gains_half():
    """And those of large tables are tried first; hypopg knows none of partitioned tables."""
    assert suggested_index(missing(), 100.0, 51.0, 8192) is None
    suggestion = suggested_index(missing(), 339.0, 8.1, 516096)
    assert (suggestion.kind, suggestion.fix) == (FindingKind.SUGGESTED_INDEX, missing().fix)
    assert "8.1 instead of 339.0" in suggestion.reason
    large = missing(severity=Severity.WARNING)
    assert trials([missing(), missing(fix="one;\ntwo;"), large]) == [large, missing()]
    assert len(trials([missing()] * 50)) == 20


# Configuration -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [-1, float("nan"), "x", True, b"", [], (), ("",)])
def test_a_threshold_out_of_range_is_named(value):
    """At construction, not in the middle of a look."""
    for field in fields(AdvisorConfig):
        with pytest.raises(ConfigurationError, match=field.name):
            AdvisorConfig(**{field.name: value})


# Report --------------------------------------------------------------------------------------------------------------
def finding(severity, subject="t", kind=FindingKind.SETTING, **more):
    return Finding(kind=kind, severity=severity, subject=subject, reason="why", **more)


def test_a_report_is_sorted_and_says_the_worst():
    """Critical first, then by kind and name; the same notes once."""
    results = [finding(Severity.INFO, "b"), finding(Severity.CRITICAL, "z"), finding(Severity.INFO, "a")]
    report = Report.of("x", [*results, Note("n", "r"), Note("n", "r")], 10)
    assert [each.subject for each in report.findings] == ["z", "a", "b"]
    assert report.worst is Severity.CRITICAL
    assert report.notes == (Note("n", "r"),)


def test_a_report_cannot_be_changed_and_can_be_written_as_json():
    """Numbers stay numbers, nothing is lost."""
    measured = {"blocked": (1, 2), "size": 5}
    report = Report.of("x", [finding(Severity.INFO, measured=measured)], 10)
    measured["size"] = 6
    assert json.loads(json.dumps(report.to_dict()))["findings"][0]["measured"] == {"blocked": [1, 2], "size": 5}
    with pytest.raises(TypeError):
        report.findings[0].measured["size"] = 6


@given(st.text(), st.text())
def test_no_name_breaks_the_table_or_the_terminal(subject, fix):
    """A name may hold anything: line breaks, escape sequences."""
    text = Report.of("x", [finding(Severity.INFO, subject, fix=fix)], 10).to_text()
    assert all(line.isprintable() for line in text.split("\n"))
    assert len(text.split("\n")) == 3 + len(fix.split("\n") if fix else ())
