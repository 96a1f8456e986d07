"""Telling listeners: in order, and without harm from any of them."""

from __future__ import annotations

import logging

from creatormate_resilience.events import Event, notify


def test_listeners_are_told_in_order():
    """Each gets the same event."""
    seen: list[tuple[str, Event]] = []
    event = Event("openai")
    notify([lambda e: seen.append(("a", e)), lambda e: seen.append(("b", e))], event)
    assert seen == [("a", event), ("b", event)]


def test_a_listener_that_raises_is_logged_and_harms_nobody(caplog):
    """Its peers are told all the same, and the log says which event it was."""
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise KeyError("boom")

    with caplog.at_level(logging.ERROR, "creatormate_resilience"):
        notify([broken, seen.append], Event("openai"))
    assert len(seen) == 1
    assert "Event" in caplog.text
    assert "openai" in caplog.text
    assert "boom" in caplog.text


def test_an_async_listener_is_reported(caplog):
    """It would silently never run; the log says so, and no coroutine is left behind."""

    async def listener(event: Event) -> None:
        raise AssertionError("never runs")

    with caplog.at_level(logging.ERROR, "creatormate_resilience"):
        notify([listener], Event("openai"))
    assert "must not be async" in caplog.text


def test_a_listener_without_events_costs_nothing():
    """No listeners, no work."""
    notify((), Event("openai"))
