"""Replies that nobody reads end after their time, also where new ones keep coming; what is read in time is never touched."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from tests.integration.execution.conftest import OneWorker
from tests.parts.ledger import Ledger
from tests.parts.onloop import serve, stop_service
from tests.parts.worker import wait_until
from worker68.execution import unread as unread_module
from worker68.execution.refusals import Refusals
from worker68.execution.relay import Relay
from worker68.execution.unread import Unread
from worker68.loop import LoopThread
from worker68.store.tables import outbox

LIST, STREAM = "worker68:replies:orders", "worker68:replies:orders:stream"
KEPT = 800


@pytest.fixture
def unread(reader: Any, monkeypatch: pytest.MonkeyPatch) -> Unread:
    monkeypatch.setattr(unread_module, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(unread_module, "LOOKS", 1e9)
    unread = Unread(reader, KEPT, Refusals())
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
    assert unread.keys == {LIST}
    age(reader, KEPT // 2)
    unread.look()
    assert unread.keys == set()


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
    assert unread.keys == set()
    assert reader.keys("worker68:replies:*") == []


def test_a_stream_ends_from_its_old_end(unread: Unread, reader: Any) -> None:
    reader.xadd(STREAM, {"reply": "old"}, id="1-1")
    reader.xadd(STREAM, {"reply": "new"})
    unread.note(STREAM)
    unread.look()
    assert [fields for _, fields in reader.xrange(STREAM)] == [{"reply": "new"}]
    assert unread.keys == {STREAM}


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
    wait_until(lambda: relay.unread.keys == {LIST, STREAM})


def test_a_worker_knows_from_its_start_where_replies_may_wait(
    relay: Relay, sqlite: Ledger, loop_thread: LoopThread, reader: Any
) -> None:
    for number, address in enumerate(("orders", "stream:orders", "orders")):
        sqlite.settled(reply_to=address, job_id=f"{number}")
    sqlite.settled(job_id="unanswered")
    relay.wake()
    wait_until(lambda: sqlite.count(outbox) == 0)
    after_a_restart = Relay(sqlite.engine, reader, 600, OneWorker(), loop_thread.loop)
    serve(loop_thread, after_a_restart)
    wait_until(lambda: after_a_restart.unread.latest() == [STREAM, LIST])
    stop_service(loop_thread, after_a_restart)


class Clock:
    """The clock of the care, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(unread_module, "monotonic", clock)
    return clock


def looks(reader: Any) -> int:
    """Return how many lists were looked at so far."""
    stats = reader.info("commandstats")
    return sum(stats.get(f"cmdstat_{command}", {}).get("calls", 0) for command in ("eval", "evalsha"))


def test_a_pass_looks_at_a_bounded_number_of_lists_and_at_each_in_its_turn(
    reader: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread_module, "BATCH", 10)
    unread = Unread(reader, 10_000, Refusals())
    keys = [f"{LIST}{number}" for number in range(25)]
    for key in keys:
        reader.rpush(key, "a")
        unread.note(key)
    unread.look()
    assert reader.keys("*:marks") == [], "none has waited long enough"
    clock.now += unread_module.LOOK_SECONDS
    for number in (10, 20, 25, 25):
        unread.look()
        assert len(reader.keys("*:marks")) == number


def test_a_list_without_news_is_left_alone(reader: Any, clock: Clock) -> None:
    unread = Unread(reader, 86_400, Refusals())
    for name in ("a", "b"):
        reader.rpush(f"{LIST}{name}", "x")
        unread.note(f"{LIST}{name}")
    clock.now += unread_module.LOOK_SECONDS
    unread.look()
    before = looks(reader)
    for _ in range(10):
        clock.now += unread_module.LOOK_SECONDS
        unread.look()
    assert looks(reader) == before
    unread.note(f"{LIST}a")
    clock.now += unread_module.LOOK_SECONDS
    unread.look()
    assert looks(reader) == before + 1
    clock.now += 86_400 / unread_module.LOOKS
    unread.look()
    assert looks(reader) == before + 3, "now and then each is looked at all the same"


def test_the_lists_that_are_cared_for_are_bounded(reader: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread_module, "MOST_KEYS", 3)
    unread = Unread(reader, KEPT, Refusals())
    for number in range(5):
        unread.note(f"{LIST}{number}")
    assert unread.keys == {f"{LIST}{number}" for number in (2, 3, 4)}


def test_a_full_redis_ends_what_is_old_and_says_so(unread: Unread, reader: Any) -> None:
    reader.rpush(LIST, "a")
    unread.look()
    age(reader, KEPT)
    reader.rpush(LIST, "b")
    reader.config_set("maxmemory", 1)
    try:
        with structlog.testing.capture_logs() as logs:
            unread.look()
        assert reader.lrange(LIST, 0, -1) == ["b"]
    finally:
        reader.config_set("maxmemory", 0)
    assert [(line["event"], line["count"]) for line in logs] == [("replies_ended_unread", 1)]
    assert unread.keys == {LIST}


def test_the_script_is_brought_again_to_a_redis_that_has_forgotten_it(unread: Unread, reader: Any) -> None:
    for name in ("a", "b", "c"):
        reader.rpush(f"{LIST}{name}", "x")
        unread.note(f"{LIST}{name}")
    reader.script_flush()
    unread.look()
    assert len(reader.keys("*:marks")) == 3
