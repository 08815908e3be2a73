"""Replies that nobody reads end after their time, also where new ones keep coming; what is read in time is never touched."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from tests.parts.ledger import Ledger
from tests.parts.worker import wait_until
from worker68.execution import unread as unread_module
from worker68.execution.relay import Relay
from worker68.execution.unread import Unread

LIST, STREAM = "worker68:replies:orders", "worker68:replies:orders:stream"
KEPT = 800


@pytest.fixture
def unread(reader: Any, monkeypatch: pytest.MonkeyPatch) -> Unread:
    monkeypatch.setattr(unread_module, "LOOK_SECONDS", 0.0)
    unread = Unread(reader, KEPT)
    unread.note(LIST)
    return unread


def age(reader: Any, seconds: int) -> None:
    """Let the marks be older, as if so much time had passed."""
    marks = reader.lrange(f"{LIST}:marks", 0, -1)
    reader.delete(f"{LIST}:marks")
    for mark in marks:
        marked_at, _, reply = mark.partition(":")
        reader.rpush(f"{LIST}:marks", f"{int(marked_at) - seconds}:{reply}")


def test_unread_replies_end_and_newer_ones_stay(unread: Unread, reader: Any) -> None:
    reader.rpush(LIST, "a", "b")
    unread.look()
    age(reader, KEPT // 2)
    reader.rpush(LIST, "c")
    unread.look()
    age(reader, KEPT // 2)
    unread.look()
    assert reader.lrange(LIST, 0, -1) == ["c"]
    assert unread.lengths == {LIST: 1}
    age(reader, KEPT // 2)
    unread.look()
    assert unread.lengths == {}


def test_what_is_read_in_time_is_never_ended(unread: Unread, reader: Any) -> None:
    """A reader that is slow, but reads: at each look the list holds only what came since."""
    for number in range(40):
        reader.rpush(LIST, f"{number}")
        unread.look()
        age(reader, KEPT // 4)
        if number >= 2:
            assert reader.lpop(LIST) == f"{number - 2}"


def test_an_empty_list_is_forgotten(unread: Unread, reader: Any) -> None:
    unread.look()
    assert unread.lengths == {}
    assert reader.keys("worker68:replies:*") == []


def test_a_stream_ends_from_its_old_end(unread: Unread, reader: Any) -> None:
    reader.xadd(STREAM, {"reply": "old"}, id="1-1")
    reader.xadd(STREAM, {"reply": "new"})
    unread.note(STREAM)
    unread.look()
    assert [fields for _, fields in reader.xrange(STREAM)] == [{"reply": "new"}]
    assert unread.lengths[STREAM] == 1


def test_a_list_that_nobody_reads_is_warned_about_once(unread: Unread, reader: Any) -> None:
    reader.rpush(LIST, "a")
    unread.look()
    age(reader, KEPT // 2)
    with structlog.testing.capture_logs() as logs:
        unread.look()
        unread.look()
    assert [(line["event"], line["count"]) for line in logs] == [("replies_unread", 1)]


def test_the_relay_looks_where_it_has_published(relay: Relay, sqlite: Ledger, reader: Any) -> None:
    sqlite.settled(reply_to="orders")
    sqlite.settled(reply_to="stream:orders")
    relay.wake()
    wait_until(lambda: relay.unread.lengths.keys() == {LIST, STREAM})
