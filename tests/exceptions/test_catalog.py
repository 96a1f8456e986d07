"""Messages in other languages: which language a client gets, and what it then reads."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creatormate_resilience.exceptions import ConflictError, Messages, NotFoundError, ResilienceError, negotiate_locale

GERMAN = Messages({"en": {}, "de": {"RESOURCE_NOT_FOUND": "Video $video fehlt."}})


@pytest.mark.parametrize(
    ("header", "locale"),
    [
        (None, "en"), ("", "en"), ("de", "de"), ("DE", "de"), ("de-AT", "de"), ("de-AT-1996", "de"), ("fr", "en"),
        ("fr, de;q=0.5", "de"), ("de;q=0.2, en;q=0.8", "en"), ("de;q=0, en;q=0.1", "en"), ("pt-br", "pt-BR"),
        ("pt", "en"), ("*", "en"), ("fr;q=2, de", "de"), ("de;q=nan", "en"), ("; ;,,de", "de"), ("d\u00e9", "en"),
        (" de ; q=1.000", "de"), (",".join(["fr"] * 100) + ",de", "en"), ("de" * 5000, "en"), ("x-klingon,de", "de"),
    ],
)  # fmt: skip
def test_the_first_language_of_the_client_that_there_is(header, locale):
    """Quality decides, a region falls back to its language, nonsense is skipped, only 200 characters are read."""
    assert negotiate_locale(header, ("en", "de", "pt-BR")) == locale


@given(st.text())
def test_any_header_gives_one_of_the_languages(header):
    """Whatever a client sends."""
    assert negotiate_locale(header, ("en", "de")) in {"en", "de"}


def test_a_translated_message_stands_in_the_document():
    """Parameters come from the public data; `title` stays as it is, because it must not vary (RFC 9457)."""
    document = NotFoundError("x", public={"video": "v1"}).to_problem(catalog=GERMAN, locale="de")
    assert document["detail"] == "Video v1 fehlt."
    assert document["title"] == "Not Found"


@pytest.mark.parametrize(
    ("error", "locale"),
    [
        (NotFoundError(user_message="Gone, sorry.", public={"video": "v1"}), "de"),
        (NotFoundError(public={"video": "v1"}), "en"),
        (ResilienceError(), "de"),
        (NotFoundError(), "de"),
    ],
)
def test_without_a_translation_the_error_speaks(error, locale):
    """The raiser's own words stay, and the class's where the catalog has none, or one that cannot be filled."""
    assert error.to_problem(catalog=GERMAN, locale=locale)["detail"] == error.user_message


def test_a_template_cannot_reach_into_objects():
    """Only scalars are filled in, and nothing is looked up on them."""
    messages = Messages({"en": {"RESOURCE_NOT_FOUND": "${video} {video.__class__}", "CONFLICT": "$channel"}})
    error = NotFoundError(public={"video": "v1"})
    assert error.to_problem(catalog=messages, locale="en")["detail"] == "v1 {video.__class__}"
    nested = ConflictError(public={"channel": {"secret": 1}})
    assert nested.to_problem(catalog=messages, locale="en")["detail"] == ConflictError.default_user_message


def test_a_catalog_that_fails_is_logged_and_the_class_speaks(caplog):
    """An answer goes out whatever the catalog does."""

    class Broken:
        locales = ("en",)

        def get(self, code, locale, params):
            raise RuntimeError("no database")

    with caplog.at_level(logging.ERROR):
        document = NotFoundError().to_problem(catalog=Broken(), locale="en")
    assert document["detail"] == NotFoundError.default_user_message
    assert "the message catalog failed for RESOURCE_NOT_FOUND in en" in caplog.text


def test_a_catalog_without_a_language_is_refused():
    """It could never answer."""
    with pytest.raises(ValueError, match="messages is empty; accepted"):
        Messages({})
    assert repr(GERMAN) == "<Messages en, de>"


@pytest.mark.parametrize("messages", [{"en": None}, {5: {}}, {"en": {"CODE": 5}}, {"en": {"CODE": "5 $"}}, "en", [1]])
def test_what_is_no_catalog_is_refused(messages):
    """When it is made, not when a client asks in that language."""
    with pytest.raises((TypeError, ValueError), match=r"accepted is a mapping|write \$\$"):
        Messages(messages)


@pytest.mark.parametrize("locales", [(), [], None, "de"])
def test_there_must_be_languages(locales):
    """One to fall back to."""
    with pytest.raises(ValueError, match="accepted is a sequence of at least one language"):
        negotiate_locale("de", locales)
