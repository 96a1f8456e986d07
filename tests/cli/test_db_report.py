"""`creatormate-resilience db-report`: its exit codes, its output, and no password anywhere."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys

import pytest

from creatormate_resilience.cli import main

WARNING = "CREATE TABLE t (id INTEGER PRIMARY KEY, a); CREATE INDEX one ON t (a); CREATE INDEX two ON t (a);"


@pytest.fixture
def url(tmp_path):
    connection = sqlite3.connect(tmp_path / "app.db")
    connection.executescript(WARNING)
    connection.close()
    return f"sqlite:///{tmp_path / 'app.db'}"


def test_the_report_is_printed_as_a_table(url, capsys):
    """With the SQL that would change things, and 0 where no `--fail-on` is given."""
    assert main(["db-report", url]) == 0
    printed = capsys.readouterr()
    assert "duplicate_index" in printed.out
    assert 'DROP INDEX "two";' in printed.out
    assert printed.err == ""


def test_the_report_is_printed_as_json(url, capsys):
    """One document, for other programs."""
    assert main(["db-report", url, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["findings"][0]["kind"] == "duplicate_index"


@pytest.mark.parametrize(("fail_on", "code"), [("warning", 1), ("critical", 0)])
def test_fail_on_decides_the_exit_code(url, fail_on, code):
    """1 where something is at least as severe."""
    assert main(["db-report", url, "--fail-on", fail_on]) == code


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "malformed"),
        ("mysql://me:geheim@127.0.0.1/x", "unknown scheme"),
        ("postgresql://me:geheim@127.0.0.1:1/x", "cannot connect"),
        ("postgresql://me:geheim@127.0.0.1:1/x?nothing=1", "unknown parameters"),
        ("postgresql://me:geheim@127.0.0.1:99999/x", "the port is 99999; accepted are 1 to 65535"),
        ("sqlite:////nowhere/app.db", "there is no SQLite file"),
    ],
)
def test_what_cannot_be_looked_at_is_one_clear_line(url, said, capsys):
    """On the standard error, without the password, and the exit code is 3."""
    assert main(["db-report", url]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert said in printed.err
    assert "geheim" not in printed.err


def test_a_wrong_name_or_password_is_one_clear_line(postgres_url, capsys):
    """As the server says it."""
    for wrong in (postgres_url.replace("postgres@", "nobody:geheim@"), postgres_url.rpartition("/")[0] + "/nowhere"):
        assert main(["db-report", wrong]) == 3
        printed = capsys.readouterr().err
        assert "does not exist" in printed
        assert "geheim" not in printed
        assert len(printed.splitlines()) == 1


def test_a_real_server_is_looked_at(postgres_url, capsys):
    """The suite's servers run with fsync off, which is critical anywhere else."""
    assert main(["db-report", postgres_url, "--fail-on", "critical"]) == 1
    assert "fsync" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["db-report"],
        ["postgresql://me:geheim@h/x"],
        ["db-report", "sqlite://", "postgresql://me:geheim@h/x"],
        ["db-report", "sqlite://", "--fail-on", "postgresql://me:geheim@h/x"],
    ],
)
def test_a_wrong_command_line_shows_no_password(arguments, capsys):
    """Whatever stands in the wrong place; the exit code is 2."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "geheim" not in capsys.readouterr().err


def test_a_missing_package_is_named_with_the_command_that_brings_it(tmp_path):
    """One line, no traceback."""
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from creatormate_resilience.cli import main; sys.exit(main(['db-report', 'postgresql://h/x']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert 'pip install "creatormate-resilience[postgres]"' in done.stderr


def test_a_bug_is_no_finding(monkeypatch, capsys):
    """What nobody has foreseen has the exit code of a report that could not be made, and shows no password."""

    async def broken(url):
        raise RuntimeError(f"cannot parse {url}")

    monkeypatch.setattr("creatormate_resilience.cli._db_report.advise", broken)
    assert main(["db-report", "postgresql://me:geheim@127.0.0.1/x"]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "RuntimeError: cannot parse postgresql://" in printed.err
    assert "geheim" not in printed.err


def command(*arguments: str, **options) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "creatormate_resilience.cli", *arguments], **options)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_another_encoding_gets_the_report(encoding, tmp_path):
    """Names may hold anything; what the encoding has not is escaped."""
    connection = sqlite3.connect(tmp_path / "app.db")
    connection.executescript('CREATE TABLE "größe → 😀" (a)')
    connection.close()
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    with command("db-report", f"sqlite:///{tmp_path}/app.db", stdout=subprocess.PIPE, env=environment) as process:
        printed = process.stdout.read().decode(encoding)
    assert process.returncode == 0
    assert '"größe → 😀"'.encode(encoding, "backslashreplace").decode(encoding) in printed


def test_a_reader_that_has_enough_is_no_error(url):
    """As with `db-report ... | head -1`; the exit code is that of the findings."""
    for fail_on, code in (("critical", 0), ("warning", 1)):
        arguments = ("db-report", url, "--fail-on", fail_on)
        with command(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == code
