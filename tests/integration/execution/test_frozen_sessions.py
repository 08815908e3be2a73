"""A session that keeps still within a transaction, as a frozen owner does, holds up the account's next owner for seconds only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.parts.jobs import MUTE, NOW, message, mute_fields
from tests.parts.ledger import FENCE, Ledger, open_ledger
from tests.parts.lists import Lists, contacts
from tests.parts.pipelines import PACKAGE, Pipeline
from tests.parts.worker import wait_until
from worker68.errors import DatabaseAway, RowsLocked
from worker68.execution import recovery
from worker68.jobs.snapshot import Row
from worker68.jobs.states import State
from worker68.store import intake
from worker68.store.engine import transaction
from worker68.store.statements import attempts


@pytest.fixture
def owner(postgres_url: str) -> Iterator[Ledger]:
    with open_ledger(postgres_url) as ledger:
        yield ledger


@pytest.fixture
def successor(owner: Ledger, postgres_url: str) -> Iterator[Ledger]:
    ledger = Ledger(postgres_url)
    yield ledger
    ledger.engine.dispose()


def test_its_locks_end_before_a_lease_does(owner: Ledger, successor: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "LOCK_TIMEOUT_SECONDS", 0.05)
    (mute,) = owner.arrive(message(MUTE, mute_fields()))
    attempt = owner.must_begin(mute)

    def take_over() -> bool:
        try:
            recovery.take_over(successor.engine, "main", FENCE + 1, NOW)
        except RowsLocked:
            return False
        return True

    with pytest.raises(DatabaseAway), transaction(owner.engine) as connection:  # noqa: PT012 - within it, and at its end
        assert attempts.give_back(connection, attempt)
        assert not take_over(), "as long as it may be under way"
        wait_until(take_over)
        connection.execute(text("SELECT 1"))
    assert successor.row(mute.seq).state == State.READY
    assert successor.row(mute.seq).attempts == 1, "what the frozen one had written is undone"
    assert owner.send().seq, "it goes on with another session when it wakes up"


def test_what_it_was_taking_in_is_taken_in_by_its_successor(owner: Ledger, successor: Ledger) -> None:
    messages = [message(MUTE, mute_fields()) for _ in range(3)]
    taken: list[object] = []

    def take_in() -> None:
        taken.extend(successor.take_in(*messages))

    thread = threading.Thread(target=take_in, daemon=True)
    with pytest.raises(DatabaseAway), transaction(owner.engine) as connection:  # noqa: PT012 - within it, and at its end
        intake._Batch(connection, NOW).write(owner.entries(*messages), [])
        thread.start()
        wait_until(lambda: len(taken) == 3)
        connection.execute(text("SELECT 1"))
    thread.join(60)
    assert None not in taken


@pytest.mark.parametrize("folder", ["worker68", "tests"])
def test_the_guard_of_all_tests_refuses_pipelines(owner: Ledger, folder: str) -> None:
    """Those of worker68 alone."""
    statement, rows = text("SELECT CAST(:number AS integer)"), [{"number": 1}, {"number": 2}]
    caller = compile("connection.execute(statement, rows)", f"{Path(PACKAGE).parent}/{folder}/store/x.py", "exec")
    with (
        pytest.raises(Pipeline) if folder == "worker68" else nullcontext(),
        transaction(owner.engine) as connection,
    ):
        exec(caller, {"connection": connection, "statement": statement, "rows": rows})


def test_while_it_copies_rows_it_holds_no_lock(owner: Ledger, successor: Ledger) -> None:
    """PostgreSQL ends no session that waits for rows."""
    frozen, wakes = threading.Event(), threading.Event()

    def rows() -> Iterator[Row]:
        yield from contacts(1)
        frozen.set()
        assert wakes.wait(60)

    thread = threading.Thread(target=lambda: Lists(owner).see(rows()))
    thread.start()
    try:
        assert frozen.wait(60)
        assert Lists(successor).see(contacts(1, 2))["added"] == 2
    finally:
        wakes.set()
        thread.join(60)
    assert not thread.is_alive()
