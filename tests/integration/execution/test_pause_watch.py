"""The watch over pauses: accounts follow SQL's word, and the pause's row says when the owner has seen it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from tests.parts.onloop import serve, stop_service
from tests.parts.worker import wait_until
from worker68.errors import DatabaseAway
from worker68.execution import pause_watch as watch_module
from worker68.execution.pause_watch import PauseWatch
from worker68.execution.slots import AccountPause
from worker68.loop import LoopThread
from worker68.store import pauses
from worker68.store.engine import Engine

T = TypeVar("T")


class Bell:
    """Notes the accounts for which it was rung."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    def __call__(self, account: str) -> None:
        self.rung.append(account)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def watch(sqlite: Ledger, bell: Bell, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch) -> Iterator[PauseWatch]:
    """One that asks SQL again and again."""
    monkeypatch.setattr(watch_module, "LOOK_SECONDS", 0.01)
    watch = PauseWatch(sqlite.engine, "worker-a", loop_thread.loop, bell)
    serve(loop_thread, watch)
    yield watch
    stop_service(loop_thread, watch)


def open_account(watch: PauseWatch, account: str) -> AccountPause:
    """Open an account and wait until SQL has been asked about it."""
    opened = on_loop(watch, lambda: watch.open(account))
    wait_until(lambda: opened.why_not() is None or opened.pause is not None)
    return opened


def on_loop(watch: PauseWatch, step: Callable[[], T]) -> T:
    """Take a step on the loop of the watch."""

    async def go() -> T:
        return step()

    return asyncio.run_coroutine_threadsafe(go(), watch._wakeup._loop).result(60)


def test_an_account_may_be_written_for_as_soon_as_sql_was_asked(watch: PauseWatch, bell: Bell) -> None:
    for account in ("main", "other"):
        open_account(watch, account)
    wait_until(lambda: bell.rung == ["main", "other"])


def test_a_pause_from_before_holds_at_once(sqlite: Ledger, watch: PauseWatch) -> None:
    pauses.pause(sqlite.engine, "main", "for the night", "ann", NOW)
    assert "paused by ann" in (open_account(watch, "main").why_not() or "")
    assert open_account(watch, "other").why_not() is None


def test_a_pause_is_seen_said_and_ended(sqlite: Ledger, watch: PauseWatch, bell: Bell) -> None:
    open_account(watch, "other")
    paused = open_account(watch, "main")
    wait_until(lambda: bell.rung == ["other", "main"])
    bell.rung.clear()
    pauses.pause(sqlite.engine, "main", "a complaint", "ann", NOW)
    wait_until(lambda: (one := pauses.find_pause(sqlite.engine, "main")) and one.seen_by == "worker-a")
    assert "paused by ann" in (paused.why_not() or ""), "the row says so only afterwards"
    wait_until(lambda: bell.rung == ["main"])

    pauses.resume(sqlite.engine, "main", "solved", "ann", NOW)
    wait_until(lambda: paused.why_not() is None)
    wait_until(lambda: bell.rung == ["main", "main"])


def test_an_account_that_is_opened_need_not_wait_for_the_next_look(
    watch: PauseWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "LOOK_SECONDS", 3600.0)
    for account in ("main", "other", "third"):
        open_account(watch, account)


def test_the_pause_of_an_account_of_another_worker_is_not_said_to_be_seen(sqlite: Ledger, watch: PauseWatch) -> None:
    open_account(watch, "main")
    open_account(watch, "other")
    on_loop(watch, lambda: watch.close("other"))
    for account in ("other", "main"):
        pauses.pause(sqlite.engine, account, "a complaint", "ann", NOW)
    wait_until(lambda: (one := pauses.find_pause(sqlite.engine, "main")) and one.seen_by == "worker-a")
    other = pauses.find_pause(sqlite.engine, "other")
    assert other is not None
    assert other.seen_by is None


def test_an_older_answer_never_replaces_a_newer_one(
    sqlite: Ledger, watch: PauseWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQL is asked again only when the answer before has been taken over."""
    paused = open_account(watch, "main")
    with held_answer(watch, monkeypatch) as asked:  # this one has read "not paused"
        pauses.pause(sqlite.engine, "main", "a complaint", "ann", NOW)
    wait_until(lambda: "paused by ann" in (paused.why_not() or ""))
    wait_until(lambda: (one := pauses.find_pause(sqlite.engine, "main")) and one.seen_by == "worker-a")
    assert asked.at_once == 1
    assert "paused by ann" in (paused.why_not() or "")


def test_an_account_that_is_opened_does_not_get_an_answer_from_before(
    sqlite: Ledger, watch: PauseWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner before this one has stopped for the pause, and said so."""
    open_account(watch, "other")
    with held_answer(watch, monkeypatch):
        pauses.pause(sqlite.engine, "main", "a complaint", "ann", NOW)
        paused = on_loop(watch, lambda: watch.open("main"))

    def is_paused() -> bool:
        words = paused.why_not()
        assert words is not None
        return "paused by ann" in words

    wait_until(is_paused)


def test_an_account_that_is_lost_while_pauses_are_noted_costs_the_others_nothing(
    sqlite: Ledger, watch: PauseWatch, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for account in ("main", "other"):
        open_account(watch, account)
    wait_until(lambda: bool(bell.rung))
    note, began, may_go_on = pauses.note_seen, threading.Event(), threading.Event()

    def slow(engine: Engine, pause_id: int, owner: str) -> None:
        began.set()
        assert may_go_on.wait(60)
        note(engine, pause_id, owner)

    monkeypatch.setattr(pauses, "note_seen", slow)
    with capture_logs() as logs:
        for account in ("main", "other"):
            pauses.pause(sqlite.engine, account, "a complaint", "ann", NOW)
        assert began.wait(60)
        on_loop(watch, lambda: watch.close("other"))
        may_go_on.set()
        wait_until(lambda: (one := pauses.find_pause(sqlite.engine, "main")) and one.seen_by == "worker-a")
    events = [entry["event"] for entry in logs]
    assert "pause_watch_failed" not in events
    assert "account_paused" in events


def test_a_pause_is_logged_and_said_also_where_the_row_cannot_be_written(
    sqlite: Ledger, watch: PauseWatch, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_account(watch, "main")
    wait_until(lambda: bell.rung == ["main"])

    def away(engine: Engine, pause_id: int, owner: str) -> None:
        raise DatabaseAway("it is read-only")

    monkeypatch.setattr(pauses, "note_seen", away)
    with capture_logs() as logs:
        pauses.pause(sqlite.engine, "main", "a complaint", "ann", NOW)
        wait_until(lambda: bell.rung == ["main", "main"])
        wait_until(lambda: "account_paused" in [entry["event"] for entry in logs])


class Asked:
    """How many questions to SQL were under way at once, at most."""

    def __init__(self) -> None:
        self.now = self.at_once = 0


@contextmanager
def held_answer(watch: PauseWatch, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Let the watch ask SQL and have its answer in hand, which it gets only at the end."""
    read, has_read, may_act, asked = pauses.list_pauses, threading.Event(), threading.Event(), Asked()

    def slow(engine: Engine) -> dict[str, pauses.Pause]:
        asked.now += 1
        asked.at_once = max(asked.at_once, asked.now)
        answer = read(engine)
        has_read.set()
        assert may_act.wait(60)
        asked.now -= 1
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(pauses, "list_pauses", slow)
        assert has_read.wait(60)
        yield asked
        may_act.set()
