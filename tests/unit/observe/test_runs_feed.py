"""The feed keeps what happens while its reader wants it, in order, and not more than so much."""

from __future__ import annotations

import pytest

from worker68.observe import runs as runs_module
from worker68.observe.runs import Cancelled, Feed


def test_what_nobody_wants_is_not_kept() -> None:
    feed = Feed()
    feed.note(Cancelled("a"))
    assert list(feed.take()) == []


def test_what_is_taken_is_in_order_and_gone() -> None:
    feed = Feed()
    feed.is_wanted = lambda: True
    feed.note(Cancelled("a"), Cancelled("b"))
    taken = list(feed.take())
    assert [happening for _, happening in taken] == [Cancelled("a"), Cancelled("b")]
    assert list(feed.take()) == []


def test_the_oldest_goes_where_no_reader_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "MOST_KEPT", 2)
    feed = Feed()
    feed.is_wanted = lambda: True
    feed.note(*map(Cancelled, "abc"))
    assert [happening for _, happening in feed.take()] == [Cancelled("b"), Cancelled("c")]
