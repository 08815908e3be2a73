"""The watch over kill switches: permits follow SQL's word, and the pause's row says when the owner has seen it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from tests.parts.worker import wait_until
from worker68.clock import boottime
from worker68.execution import watch as watch_module
from worker68.execution.watch import PauseWatch
from worker68.store import pauses
from worker68.store.engine import Engine


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


def test_an_answer_that_was_asked_for_earlier_and_comes_later_does_not_undo_a_pause(
    sqlite: Ledger, watch: PauseWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    permit = watch.open("main")
    with held_answer(watch, monkeypatch):  # this one has read "not paused"
        pauses.pause(sqlite.engine, "main", "a complaint", "ann", NOW)
        watch.look()
        assert (one := pauses.find_pause(sqlite.engine, "main")) is not None
        assert one.seen_by == "worker-a", "who has paused it relies on it from here on"
    assert "paused by ann" in (permit.why_not() or "")


def test_nor_does_an_answer_that_was_asked_for_while_the_pause_was_asked_about(
    sqlite: Ledger, watch: PauseWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question that began first may be answered from the later state."""
    permit = watch.open("main")
    read = pauses.list_pauses

    def asks_while_another_one_has_its_answer(engine: Engine) -> dict[str, pauses.Pause]:
        monkeypatch.setattr(pauses, "list_pauses", read)
        late.enter_context(held_answer(watch, monkeypatch))
        pauses.pause(sqlite.engine, "main", "a complaint", "ann", NOW)
        return read(engine)

    monkeypatch.setattr(pauses, "list_pauses", asks_while_another_one_has_its_answer)
    with ExitStack() as late:
        watch.look()
    assert "paused by ann" in (permit.why_not() or "")


def test_an_account_that_is_opened_does_not_get_an_answer_from_before(
    sqlite: Ledger, watch: PauseWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner before this one has stopped for the pause, and said so."""
    with held_answer(watch, monkeypatch):
        pauses.pause(sqlite.engine, "main", "a complaint", "ann", NOW)
        permit = watch.open("main")
    assert "paused by ann" in (permit.why_not() or "")


def test_what_an_overlapping_answer_may_have_missed_is_asked_for_again(
    sqlite: Ledger, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "LOOK_SECONDS", 60.0)
    running: PauseWatch = request.getfixturevalue("running")
    permit = running.open("main")
    with held_answer(running, monkeypatch, before=lambda: pauses.pause(sqlite.engine, "main", "why", "ann", NOW)):
        permit.renew(None, boottime())
    wait_until(lambda: "paused by ann" in (permit.why_not() or ""))


@contextmanager
def held_answer(
    watch: PauseWatch, monkeypatch: pytest.MonkeyPatch, before: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Let another thread ask SQL, after ``before``, and have its answer in hand, which it acts on only at the end."""
    read, has_read, may_act = pauses.list_pauses, threading.Event(), threading.Event()

    def slow(engine: Engine) -> dict[str, pauses.Pause]:
        if threading.current_thread() is not thread:
            return read(engine)
        before()
        answer = read(engine)
        has_read.set()
        assert may_act.wait(10)
        return answer

    thread = threading.Thread(target=watch.look)
    with monkeypatch.context() as patched:
        patched.setattr(pauses, "list_pauses", slow)
        thread.start()
        assert has_read.wait(10)
        yield
        may_act.set()
        thread.join(10)
        assert not thread.is_alive()
