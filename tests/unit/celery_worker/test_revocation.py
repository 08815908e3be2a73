"""A revoke is waited for a moment, and comes to its end also where that takes longer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.parts.onloop import running_loop
from tests.parts.worker import wait_until
from worker68.celery_worker import revocation as revocation_module
from worker68.celery_worker.revocation import Revocation
from worker68.errors import DatabaseAway
from worker68.loop import LoopThread
from worker68.store import waiting
from worker68.store.waiting import Cancelled

SECONDS = 60.0


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with running_loop() as loop:
        yield loop


class Scene:
    """A revocation over a database that answers as the test says, and what was cancelled."""

    def __init__(self, loop: LoopThread) -> None:
        self.cancelled: list[Sequence[str]] = []
        engine: Any = None
        self.revocation = Revocation(engine, loop, lambda ids, _: self.cancelled.append(ids))


@pytest.fixture
def scene(loop: LoopThread) -> Scene:
    return Scene(loop)


NOTHING = Cancelled([], [], [], [])


def test_what_was_cancelled_is_told_and_returned(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "cancel", lambda *_: NOTHING)
    monkeypatch.setattr(revocation_module, "REVOKE_SECONDS", SECONDS)
    assert scene.revocation.revoke(["a", "b"]) is NOTHING
    assert scene.cancelled == [["a", "b"]]


def test_a_slow_database_is_waited_for_a_moment_and_asked_one_thing_at_a_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), list[list[str]]()

    def cancel(_: Any, ids: list[str], *__: Any) -> Cancelled:
        asked.append(ids)
        assert answers.wait(SECONDS)
        return NOTHING

    monkeypatch.setattr(waiting, "cancel", cancel)
    monkeypatch.setattr(revocation_module, "REVOKE_SECONDS", 0.01)
    try:
        assert scene.revocation.revoke(["a"]) is None
        wait_until(lambda: asked)
        monkeypatch.setattr(revocation_module, "REVOKE_SECONDS", SECONDS)
        assert scene.revocation.revoke(["b"]) is None, "it waits for no second one"
        assert asked == [["a"]]
    finally:
        answers.set()
    wait_until(lambda: list(map(list, scene.cancelled)) == [["a"], ["b"]])


def test_a_revoke_waits_for_a_database_that_is_away(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has revoked does not wait, and would not learn that it was forgotten."""
    answers: Iterator[Exception | Cancelled] = iter([DatabaseAway("gone"), DatabaseAway("gone"), NOTHING])
    may_answer = threading.Event()

    def cancel(*_: Any) -> Cancelled:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        assert may_answer.wait(SECONDS)
        return answer

    monkeypatch.setattr(waiting, "cancel", cancel)
    monkeypatch.setattr(revocation_module, "REVOKE_SECONDS", 0.01)
    monkeypatch.setattr(revocation_module, "AWAY_SECONDS", 0.05)
    with capture_logs() as logs:
        try:
            assert scene.revocation.revoke(["a"]) is None
        finally:
            may_answer.set()
        wait_until(lambda: scene.cancelled)
    assert scene.cancelled == [["a"]]
    assert [line["event"] for line in logs][:1] == ["revoke_waits"]
    assert sum(line["event"] == "revoke_waits" for line in logs) == 1


def test_what_fails_is_logged_and_has_cancelled_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def cancel(*_: Any) -> Cancelled:
        raise ValueError("a fault")

    monkeypatch.setattr(waiting, "cancel", cancel)
    monkeypatch.setattr(revocation_module, "REVOKE_SECONDS", SECONDS)
    with capture_logs() as logs:
        assert scene.revocation.revoke(["a"]) is None
    assert [line["event"] for line in logs] == ["revoke_failed"]
    assert scene.cancelled == []


def test_what_was_not_there_is_looked_for_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intake that commits at the same moment sees nothing of the revoke, and the revoke nothing of its job."""
    asked = list[list[str]]()

    def cancel(_: Any, ids: list[str], *__: Any) -> Cancelled:
        asked.append(ids)
        return Cancelled([1], [], [], ["late", "never"]) if len(asked) == 1 else Cancelled([2], [], [], ["never"])

    monkeypatch.setattr(waiting, "cancel", cancel)
    monkeypatch.setattr(revocation_module, "REVOKE_SECONDS", SECONDS)
    monkeypatch.setattr(revocation_module, "AGAIN_SECONDS", (0.01, 0.01))
    scene.revocation.revoke(["there", "late", "never"])
    wait_until(lambda: len(scene.cancelled) == 3)
    assert asked == [["there", "late", "never"], ["late", "never"], ["never"]]
    assert [list(ids) for ids in scene.cancelled] == asked


def test_what_hangs_holds_one_thread_however_much_is_to_be_looked_for_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer, hanging, first = threading.Event(), list[list[str]](), set[str]()

    def cancel(_: Any, ids: list[str], *__: Any) -> Cancelled:
        if not first.issuperset(ids):
            first.update(ids)
            return Cancelled([], [], [], ids)
        hanging.append(ids)
        assert may_answer.wait(SECONDS)
        return NOTHING

    monkeypatch.setattr(waiting, "cancel", cancel)
    monkeypatch.setattr(revocation_module, "REVOKE_SECONDS", SECONDS)
    monkeypatch.setattr(revocation_module, "AGAIN_SECONDS", (0.0,))
    try:
        for number in range(9):
            scene.revocation.revoke([str(number)])
        wait_until(lambda: hanging)
        assert len(hanging) == 1
    finally:
        may_answer.set()
    wait_until(lambda: len(hanging) == 9)
