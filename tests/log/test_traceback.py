"""`frames` and `traceback_text`: bounded, redacted, and total on exceptions that misbehave."""

from __future__ import annotations

import pytest

from creatormate_resilience.log import frames, traceback_text


def call(depth: int) -> None:
    if depth:
        call(depth - 1)
    raise ValueError("deep")


class LoudError(Exception):
    """Raises when it is printed."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self):
        raise self.error


def test_frames_name_module_line_and_function_outermost_first(caught):
    """Without paths."""
    exc = caught(lambda: call(2))
    told = frames(exc)
    assert [frame.rpartition(":")[2] for frame in told[-3:]] == ["call"] * 3
    assert "<lambda>" in told[-4]
    assert all(frame.startswith((f"{__name__}:", "tests.", "conftest")) or frame.count(":") == 2 for frame in told)
    assert not any("/" in frame for frame in told)
    assert told[-1].split(":")[1] == str(call.__code__.co_firstlineno + 3)


def test_the_file_is_named_where_the_module_has_no_name(caught):
    """Code that was put together at run time may have anything in its place; it is no package's."""
    for name in (None, 5, "", "__main__"):
        scope = {"__name__": name}
        exec(compile("def made():\n    raise ValueError", "/srv/made.py", "exec"), scope)
        exc = caught(scope["made"])
        assert frames(exc)[-1] == "made.py:2:made"
        assert frames(exc, without={"tests", "conftest"}) == ["made.py:2:made"]


def test_the_last_twenty_frames_are_kept(caught):
    """The place of the error is among them."""
    exc = caught(lambda: call(300))
    assert len(frames(exc)) == 20
    assert frames(exc)[-1].endswith(":call")
    assert traceback_text(exc).count("in call\n") == 20


def test_an_exception_that_was_never_raised_has_no_frames():
    """And its text is its message."""
    assert frames(ValueError("x")) == []
    assert traceback_text(ValueError("x")) == "ValueError: x"
    assert traceback_text(ValueError()) == "ValueError"


def test_the_text_has_the_form_that_python_prints(caught):
    """Short path, line, function, line of source."""
    text = traceback_text(caught(lambda: call(0)))
    assert text.startswith("Traceback (most recent call last):\n")
    assert f'  File "tests/log/test_traceback.py", line {call.__code__.co_firstlineno + 3}, in call\n' in text
    assert '    raise ValueError("deep")\n' in text
    assert text.endswith("\nValueError: deep")


def test_a_frame_of_no_file_is_told_by_its_name(caught):
    """Made by `exec`, without a module."""
    code = compile("1/0", "/somewhere/on/this/machine/made.py", "exec")
    exc = caught(lambda: exec(code, {}))
    assert frames(exc)[-1] == "made.py:1:<module>"
    assert 'File "this/machine/made.py", line 1, in <module>' in traceback_text(exc)
    assert "somewhere" not in traceback_text(exc)


def test_causes_come_first_and_suppressed_contexts_not_at_all(caught):
    """`from None` is honoured."""

    def chain(suppress):
        try:
            call(0)
        except ValueError as error:
            if suppress:
                raise KeyError("outer") from None
            raise KeyError("outer") from error

    def context():
        try:
            call(0)
        except ValueError:
            raise KeyError("outer")  # noqa: B904

    assert "direct cause" in traceback_text(caught(lambda: chain(suppress=False)))
    assert "During handling" in traceback_text(caught(context))
    suppressed = traceback_text(caught(lambda: chain(suppress=True)))
    assert "deep" not in suppressed
    assert "KeyError: 'outer'" in suppressed


def test_circles_and_long_chains_of_causes_end():
    """Ten causes at most; the newest is always told."""
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    assert traceback_text(a).count("ValueError") == 2
    newest: BaseException = ValueError("oldest")
    for number in range(10_000):
        outer = ValueError(f"number {number}")
        outer.__cause__ = newest
        newest = outer
    text = traceback_text(newest)
    assert text.count("ValueError") == 11
    assert text.endswith("ValueError: number 9999")


def test_a_long_text_is_cut_from_the_oldest_cause_on():
    """About 16,000 characters in all, 2,000 of a message."""
    newest: BaseException = ValueError("oldest" * 1000)
    for number in range(12):
        outer = ValueError(f"{number} " + "x" * 10_000_000)
        outer.__cause__ = newest
        newest = outer
    text = traceback_text(newest)
    assert len(text) < 20_000
    assert text.startswith("[TRUNCATED]")
    assert "ValueError: 11 xxx" in text
    assert "oldest" not in text


@pytest.mark.parametrize("error", [RuntimeError("hunter2"), SystemExit("hunter2"), GeneratorExit(), RecursionError()])
def test_an_exception_that_raises_when_printed_is_told_by_its_name(error):
    """Also where it would end the process."""
    text = traceback_text(LoudError(error))
    assert text == f"{__name__}.LoudError: [__str__ raised {type(error).__name__}]"


def test_an_exception_may_override_anything():
    """Its text, its notes, its attributes."""

    class StrangeError(Exception):
        __notes__ = property(lambda self: 1 / 0)

    class Text(str):
        __slots__ = ()

        def removesuffix(self, *_):
            raise RuntimeError

        def __getitem__(self, *_):
            raise RuntimeError

    class OddError(Exception):
        def __str__(self):
            return Text("odd")

    class NumberError(Exception):
        def __str__(self):
            return 3  # noqa: PLE0307

    assert "StrangeError" in traceback_text(StrangeError())
    assert traceback_text(OddError()).endswith("OddError: odd")
    assert traceback_text(NumberError()).endswith("NumberError: [__str__ raised TypeError]")
    error = ValueError("x")
    error.__notes__ = "no list"
    assert traceback_text(error) == "ValueError: x"


def test_notes_are_told_five_at_most():
    """And redacted."""
    error = ValueError("x")
    for number in range(9):
        error.add_note(f"note {number} password=hunter2")
    text = traceback_text(error)
    assert text.count("note") == 5
    assert "hunter2" not in text


def test_a_group_tells_five_of_those_inside_from_three_levels(caught):
    """Each with its own calls and causes."""

    def member():
        try:
            call(0)
        except ValueError as error:
            raise KeyError("member") from error

    inside = caught(member)
    group = ExceptionGroup("many", [ExceptionGroup("nested", [inside]), *(OSError(str(n)) for n in range(20))])
    text = traceback_text(group)
    assert "many (21 sub-exceptions)" in text
    assert "  | KeyError: 'member'" in text
    assert "  | caused by builtins.ValueError: deep" in text
    assert text.count("of those inside") == 5
    deep: BaseException = ValueError("deep inside")
    for _ in range(50):
        deep = ExceptionGroup("level", [deep])
    assert "deep inside" not in traceback_text(deep)
    assert "level" in traceback_text(deep)


def test_a_group_that_is_its_members_cause_ends():
    """No endless walk."""
    inner = ValueError("inner")
    group = ExceptionGroup("g", [inner])
    inner.__cause__ = group
    assert traceback_text(group).count("  | ValueError: inner") == 1


def test_a_cancellation_in_a_group_is_told():
    """A `BaseExceptionGroup` is a group too."""
    assert "  | KeyboardInterrupt" in traceback_text(BaseExceptionGroup("g", [KeyboardInterrupt()]))
