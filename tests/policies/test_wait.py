"""Waits between attempts: within their bounds, whatever the numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.policies import constant, exponential


@given(
    base=st.floats(0, 3600), most=st.floats(0, 86400), factor=st.floats(1, 100), jitter=st.floats(0, 1),
    attempts=st.integers(1, 10**9), random=st.floats(0, 1),
)  # fmt: skip
def test_a_wait_stays_within_its_bounds(base, most, factor, jitter, attempts, random):
    """From the unjittered wait less its share up to the maximum; never negative, infinite or NaN."""
    wait = exponential(base, max=most, factor=factor, jitter=jitter)
    plain = wait(attempts, 0.0)
    assert 0 <= plain * (1 - jitter) * 0.999999 <= wait(attempts, random) <= plain <= most
    assert plain >= min(base, most)
    assert wait(attempts + 1, 0.0) >= plain
    assert base > 0 or plain == 0


def test_waits_grow_by_their_factor():
    """Each is twice the one before, up to the maximum."""
    wait = exponential(0.5, max=3.0, jitter=0.0)
    assert [wait(attempts, 0.7) for attempts in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_jitter_takes_a_random_share_off():
    """Full jitter goes down to nothing."""
    assert exponential(8.0, jitter=1.0)(1, 1.0) == 0.0
    assert exponential(8.0, jitter=0.5)(1, 0.5) == 6.0


def test_a_constant_wait_is_constant():
    """Also beyond the exponential's usual maximum."""
    assert {constant(30)(attempts, 0.9) for attempts in (1, 2, 1000)} == {30}
    assert constant(0)(5, 0.5) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("base", -1), ("base", 3601), ("max", -1), ("max", float("inf")), ("factor", 0.5), ("factor", 101),
     ("jitter", 1.1), ("jitter", float("nan")), ("base", "1"), ("max", None), ("jitter", True)],
)  # fmt: skip
def test_a_wait_out_of_range_is_refused(name, value):
    """The error names the field and the range."""
    with pytest.raises(ConfigurationError, match=rf"{name} of the wait is .*accepted is"):
        exponential(**{name: value})


@pytest.mark.parametrize("seconds", [-1, 3601, float("nan"), "1", None, True])
def test_a_constant_out_of_range_is_refused(seconds):
    """As `base` is."""
    with pytest.raises(ConfigurationError, match=r"base of the wait is .*accepted is"):
        constant(seconds)
