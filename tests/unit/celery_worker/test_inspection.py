"""Remote control waits a moment for SQL and not longer, and says so where no answer has come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.parts.onloop import running_loop
from tests.parts.worker import wait_until
from worker68.celery_worker import inspection
from worker68.celery_worker.inspection import Inspection
from worker68.errors import DatabaseAway
from worker68.loop import LoopThread
from worker68.observe.runs import Runs
from worker68.store import inspection as store_inspection

SECONDS = 60.0


@pytest.fixture
def jobs() -> Iterator[LoopThread]:
    with running_loop() as jobs:
        yield jobs


@pytest.fixture
def asked(jobs: LoopThread) -> Inspection:
    engine: Any = None
    return Inspection(engine, lambda: ["main"], jobs, Runs())


class Database:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.questions = 0

    def find(self, *_: Any) -> list[Any]:
        self.questions += 1
        assert self.answers.wait(SECONDS)
        return []


def test_a_database_that_is_slow_is_waited_for_once(asked: Inspection, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database()
    for question in ("find_scheduled", "find_reserved"):
        monkeypatch.setattr(store_inspection, question, database.find)
    monkeypatch.setattr(inspection, "PATIENCE_SECONDS", 0.01)
    try:
        with pytest.raises(DatabaseAway, match="did not answer"):
            asked.scheduled("w")
        with pytest.raises(DatabaseAway, match="earlier question"):
            asked.reserved("w")
        wait_until(lambda: database.questions)
        assert database.questions == 1
    finally:
        database.answers.set()
    monkeypatch.setattr(inspection, "PATIENCE_SECONDS", SECONDS)
    wait_until(lambda: asked._looking is not None and asked._looking.done())
    assert asked.reserved("w") == []


def test_what_breaks_beside_is_raised_where_it_was_asked(asked: Inspection, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise LookupError("broken")

    monkeypatch.setattr(store_inspection, "find_revoked", broken)
    monkeypatch.setattr(inspection, "PATIENCE_SECONDS", 60.0)
    with pytest.raises(LookupError, match="broken"):
        asked.revoked([])
