"""The hostile corpus over a real socket: whatever is raised or sent, a good answer, an open connection, no secret."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from tests.integrations.hostile.corpus import Exchange, rows
from tests.integrations.hostile.input_headers import GOOD_IDS
from tests.integrations.hostile.marks import internals_in, secrets_in

from creatormate_resilience.redaction import redact_text

# Starlette leaves the file of an upload that is cut off to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")

LARGEST_ANSWER = 16_384
NEW_ID = re.compile(r"[0-9a-f]{32}")


def broken(exchanges, rule):
    """The rows that break a rule, and what came back."""
    return {e.row.name: (e.answer.status, e.answer.body[:300]) for e in exchanges if not rule(e)}


def problems(run):
    return [exchange for exchange in run.exchanges if exchange.is_problem]


def test_the_corpus_is_large():
    """More than two hundred inputs, no two of one name."""
    names = Counter(row.name for row in rows())
    assert names.total() >= 500
    assert names.most_common(1)[0][1] == 1


def test_every_request_is_answered(run):
    """With a whole answer and nothing behind it that counts; cut off where it had begun, or where nobody is left."""
    assert broken(run.exchanges, lambda e: e.row.aborted or e.answer.status is not None) == {}
    assert broken(run.exchanges, lambda e: e.answer.whole is not bool(e.row.aborted)) == {}
    assert broken(run.exchanges, lambda e: not e.surplus or e.row.closes) == {}


def test_every_answer_has_the_expected_status(run):
    """Where the table knows it."""
    assert broken(run.exchanges, lambda e: not e.row.statuses or e.answer.status in e.row.statuses) == {}


def test_every_connection_that_can_be_kept_is_kept(run):
    """The next request on the same socket is answered, but for rows that say why not: these all close."""
    assert broken(run.exchanges, lambda e: e.kept is not bool(e.row.closes)) == {}
    assert {e.answer.header("connection") for e in run.exchanges if e.kept} == {""}


def test_nothing_reaches_the_server_that_we_could_answer(run):
    """The server tells of an exception only where an answer had to be cut off, or where cancelling passes through."""
    told = [json.loads(line) for line in run.lines if "Exception in ASGI application" in line]
    cut = [e for e in run.exchanges if (e.row.aborted or e.row.bare or e.row.name == "twice") and not e.row.ends]
    raised = [e for e in cut if not e.row.raw.startswith((b"GET /bare", b"POST")) and e.answer.status in {200, 500}]
    assert len(told) == len(raised)


def test_errors_are_problem_documents(run):
    """Strict JSON of the right type, small, with the status and the request's id of the answer, never cached."""
    for exchange in problems(run):
        answer, document = exchange.answer, exchange.document
        name = exchange.row.name
        assert answer.header("content-type") == "application/problem+json", name
        assert answer.header("cache-control") == "no-store", name
        assert len(answer.text) <= LARGEST_ANSWER, name
        assert document["status"] == answer.status, name
        assert document["request_id"] == answer.header("x-request-id"), name
        assert exchange.row.code in {None, document["code"]}, name
        assert document["type"] == "about:blank", name
        assert answer.header("retry-after").isdigit() is (
            "retry_after" in document or "retry-after" in dict(answer.headers)
        ), name


def test_every_error_is_one_log_line(run):
    """It has the answer's `error_id`, status and code, and the request's id."""
    lines = [json.loads(line) for line in run.lines if '"error_id"' in line]
    told = Counter((str(line["error_id"]), line["request_id"]) for line in lines)
    for exchange in problems(run):
        error_id, request_id = exchange.document["error_id"], exchange.document["request_id"]
        assert told[error_id, request_id] == 1, exchange.row.name
    assert len(lines) >= len(problems(run))


def test_the_request_id_is_a_good_one(run):
    """What came where it is harmless, else a new one: never what was refused."""
    for exchange in run.exchanges:
        if exchange.answer.status is None or (exchange.row.bare and "mounted" not in exchange.row.bare):
            continue  # the server's own answer
        request_id = exchange.answer.header("x-request-id")
        if (
            exchange.row.name.startswith("request-id")
            and f"X-Request-ID: {request_id}\r\n".encode() in exchange.row.raw
        ):
            assert request_id in GOOD_IDS, exchange.row.name
        else:
            assert NEW_ID.fullmatch(request_id), exchange.row.name
    kept = [e.answer.header("x-request-id") for e in run.exchanges if e.row.name.startswith("request-id")]
    assert kept[: len(GOOD_IDS)] == (list(GOOD_IDS) if kept else [])


def test_no_secret_is_in_an_answer(run):
    """Neither of the corpus, in any coding, nor what is for operators only."""
    found = {e.row.name: internals_in(e.answer.raw) + internals_in(_text(e)) for e in run.exchanges}
    assert {name: places for name, places in found.items() if places} == {}


def test_no_secret_is_in_the_log(run):
    """In any coding."""
    assert [line for line in run.lines if secrets_in(line.encode())] == []


@pytest.mark.parametrize(
    "error_id",
    [
        "c3531663-3625-4448-a7d3-05224bb1d0d1",
        "63719548-0318-4d63-a314-44b5afd09dbc",
    ],
)
def test_an_id_is_not_taken_for_a_card(error_id):
    """Thirteen digits in a row may have a card's check digit; redacted, the answer's id would not be in the log."""
    assert redact_text(error_id) == error_id


def test_every_log_line_is_one_physical_line(run):
    """Strict JSON in printable ASCII, whatever was in it, and not endless."""
    assert len(run.lines) > len(run.exchanges)
    for line in run.lines:
        assert line.isascii(), line[:300]
        assert line.isprintable(), line[:300]
        assert len(line) < 100_000, line[:300]
        assert isinstance(json.loads(line, parse_constant=_refuse), dict), line[:300]


def _text(exchange: Exchange) -> bytes:
    return exchange.answer.text if exchange.answer.whole else b""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
