"""Tokens of the example service."""

from __future__ import annotations

import pytest
from examples.creator_service.settings import CreatorSettings
from examples.creator_service.tokens import TokenSigner
from hypothesis import given
from hypothesis import strategies as st

from creatormate_resilience.exceptions import ConfigurationError, InvalidTokenError, TokenExpiredError

SECRET = "s3cret-" * 6


def signer(secret: str = SECRET, *, at: float = 1000.0) -> TokenSigner:
    return TokenSigner(secret, lifetime=30.0, now=lambda: at)


def test_a_token_names_its_issuer_to_its_audience():
    """What was issued for an agent tells that agent who calls."""
    assert signer().verify(signer().issue("orchestrator", "critic"), "critic") == "orchestrator"


@given(st.data())
def test_any_flipped_bit_is_refused(data: st.DataObject):
    """No bit of a token can be changed, also not those that base64 would ignore."""
    octets = bytearray(signer().issue("orchestrator", "critic").encode())
    position = data.draw(st.integers(0, len(octets) * 8 - 1))
    octets[position // 8] ^= 1 << position % 8
    with pytest.raises(InvalidTokenError):
        signer().verify(octets.decode("latin-1"), "critic")


def test_every_single_bit_is_covered():
    """The same, for each bit there is: a property that chance may miss is checked whole."""
    token = signer().issue("orchestrator", "critic").encode()
    for position in range(len(token) * 8):
        octets = bytearray(token)
        octets[position // 8] ^= 1 << position % 8
        with pytest.raises(InvalidTokenError):
            signer().verify(octets.decode("latin-1"), "critic")


@given(st.text())
def test_arbitrary_text_is_refused(text: str):
    """Whatever comes as a token gets the same clear refusal."""
    with pytest.raises(InvalidTokenError):
        signer().verify(text, "critic")


@given(st.text(alphabet="abc._-=\ud800"), st.integers(0, 200))
def test_a_cut_or_lengthened_token_is_refused(extra: str, cut: int):
    """A token with something added or taken away is another token."""
    token = signer().issue("orchestrator", "critic")
    changed = token[: len(token) - cut] + extra
    if changed != token:
        with pytest.raises(InvalidTokenError):
            signer().verify(changed, "critic")


def test_a_token_of_another_secret_is_refused():
    """A foreign signature is no signature."""
    with pytest.raises(InvalidTokenError):
        signer().verify(signer("other-" * 8).issue("orchestrator", "critic"), "critic")


def test_a_token_for_another_agent_is_refused():
    """An agent cannot pass on a token it was given."""
    with pytest.raises(InvalidTokenError):
        signer().verify(signer().issue("orchestrator", "critic"), "writer")


def test_a_token_expires():
    """It is good until its time is over, and then no more."""
    token = signer(at=1000.0).issue("orchestrator", "critic")
    assert signer(at=1029.9).verify(token, "critic") == "orchestrator"
    with pytest.raises(TokenExpiredError):
        signer(at=1030.0).verify(token, "critic")


def test_an_expired_foreign_token_is_foreign():
    """The signature is looked at first: who cannot sign learns nothing about time."""
    with pytest.raises(InvalidTokenError):
        signer(at=9999.0).verify(signer("other-" * 8).issue("orchestrator", "critic"), "critic")


def test_a_short_secret_is_refused():
    """The error names the setting and not its value."""
    with pytest.raises(ConfigurationError, match="AGENT_TOKEN_SECRET has 5 characters") as caught:
        signer("short")
    assert "short" not in str(caught.value)


def test_a_lifetime_must_be_positive():
    """A token that is never good is a mistake."""
    with pytest.raises(ConfigurationError, match="lifetime"):
        TokenSigner(SECRET, lifetime=0.0)


def test_no_repr_shows_the_secret():
    """Neither the signer's nor the settings'."""
    settings = CreatorSettings(agent_token_secret=SECRET)
    assert SECRET not in repr(signer()) + repr(settings) + str(settings)


def test_each_process_makes_a_secret_of_its_own_where_none_is_given():
    """There is no built-in secret that everybody knows."""
    first, second = CreatorSettings(), CreatorSettings()
    assert first.agent_token_secret != second.agent_token_secret
