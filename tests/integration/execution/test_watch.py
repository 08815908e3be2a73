"""The watch over kill switches: permits follow SQL's word, and the pause's row says when the owner has seen it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from tests.parts.worker import wait_until
from worker68.execution.watch import PauseWatch
from worker68.store import pauses


class Bell:
    def __init__(self) -> None:
        self.rung = 0

    def __call__(self) -> None:
        self.rung += 1


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def watch(sqlite: Ledger, bell: Bell) -> PauseWatch:
    return PauseWatch(sqlite.engine, "worker-a", bell)


@pytest.fixture
def running(watch: PauseWatch) -> Iterator[PauseWatch]:
    watch.start()
    yield watch
    watch.stop()


def test_an_account_may_be_written_for_from_the_moment_it_is_opened(watch: PauseWatch, bell: Bell) -> None:
    assert watch.open("main").why_not() is None
    assert bell.rung == 0


def test_a_pause_from_before_holds_at_once(sqlite: Ledger, watch: PauseWatch) -> None:
    pauses.pause(sqlite.engine, "main", "for the night", "ann", NOW)
    assert "paused by ann" in (watch.open("main").why_not() or "")
    assert watch.open("other").why_not() is None


def test_a_pause_is_seen_said_and_ended(sqlite: Ledger, running: PauseWatch, bell: Bell) -> None:
    permit = running.open("main")
    pauses.pause(sqlite.engine, "main", "a complaint", "ann", NOW)
    running.ring()
    wait_until(lambda: (one := pauses.find_pause(sqlite.engine, "main")) and one.seen_by == "worker-a")
    assert "paused by ann" in (permit.why_not() or ""), "the row says so only afterwards"
    wait_until(lambda: bell.rung == 1)

    pauses.resume(sqlite.engine, "main", "solved", "ann", NOW)
    wait_until(lambda: permit.why_not() is None)
    wait_until(lambda: bell.rung == 2)


def test_the_pause_of_an_account_of_somebody_else_is_not_said_to_be_seen(sqlite: Ledger, watch: PauseWatch) -> None:
    paused, _ = pauses.pause(sqlite.engine, "other", "a complaint", "ann", NOW)
    watch.open("main")
    watch.open("other")
    watch.close("other")
    pauses.note_seen(sqlite.engine, paused.id, "worker-b")
    watch.look()
    seen = pauses.find_pause(sqlite.engine, "other")
    assert seen is not None
    assert seen.seen_by == "worker-b"
