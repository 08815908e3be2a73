"""The main path where its ways out are odd: what cannot be written down, and what comes after another owner's outcome."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError

from tests.parts.accounts import open_account, pause_of
from tests.parts.jobs import LEAST_FIELDS, MUTE, NOW, SEND, message
from tests.parts.ledger import FENCE, OWNER, Ledger
from tests.parts.logs import restored_logs
from tests.parts.worker import PATIENCE_SECONDS
from worker68.clock import monotonic, utc_now
from worker68.execution.execute import Execution
from worker68.execution.slots import Ready, Slot, StepDone, ask_of
from worker68.execution.under_way import SNAPSHOTS_AT_ONCE
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, failed, in_doubt, succeeded, whole_outcome
from worker68.jobs.snapshot import GROUP_MEMBERS, GROUPS, ListSeen
from worker68.loop import Loop
from worker68.observe.logs import configure_logs
from worker68.settings import Settings
from worker68.store.engine import Connection
from worker68.store.pauses import Pause
from worker68.store.statements import attempts, snapshots
from worker68.store.statements.attempts import Attempt, AttemptKey
from worker68.store.tables import attempts as attempts_table
from worker68.store.tables import jobs
from worker68.store.waiting import load_jobs
from worker68.store.writer import Writer
from worker68.tasks import TASKS
from worker68.tasks.turn import TurnOver

Run = Callable[[Ready], Outcome | TryAgain | StepDone | None]

UNWRITABLE = succeeded({"data": object()})
DONE = {"notice_id": 5, "announcement": None}


def ready(job: Job) -> Ready:
    return Ready(job, Slot(ask_of(job), monotonic(), monotonic()))


@pytest.fixture
def execution(ledger: Ledger, loop: Loop) -> Iterator[Execution]:
    writer = Writer(ledger.engine)
    writer.start()
    yield Execution(open_account(ledger, loop, writer=writer))
    writer.stop()


@pytest.fixture
def text_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The log as a worker writes it."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with restored_logs():
        configure_logs(Settings(log_format="json"))
        yield written


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[Any], Any]], None]:
    """Put an action in the place of a task's first step."""

    def put(task: str, action: Callable[[Any], Any]) -> None:
        async def perform(turn: Any, _fields: Any) -> Any:
            return action(turn)

        kind = TASKS[task]
        first, *others = kind.steps_of(kind.fields(**kind.example))
        monkeypatch.setitem(TASKS, task, replace(kind, steps=(replace(first, act=perform), *others)))

    return put


@pytest.fixture
def run(execution: Execution, loop: Loop) -> Run:
    """Run a job to its end."""
    return lambda ready: loop.run_until_complete(execution.run(ready))


def arrive(ledger: Ledger, task: str) -> Job:
    (job,) = ledger.arrive(message(task, LEAST_FIELDS[task]))
    return job


def test_an_attempt_whose_lease_has_ended_while_it_waited_to_be_written_is_not_begun(
    ledger: Ledger, execution: Execution, run: Run, act: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next owner has seen the job as ready, and takes it for its own."""
    act(SEND, lambda turn: pytest.fail("it was begun"))
    job, writer = arrive(ledger, SEND), execution.account.shared.writer
    hand_in = writer.hand_in

    def hand_in_at_the_end(*given: Any) -> None:
        execution.account.lease.end()
        hand_in(*given)

    monkeypatch.setattr(writer, "hand_in", hand_in_at_the_end)
    assert run(ready(job)) is None

    row = ledger.row(job.seq)
    assert (row.state, row.attempts, row.owner) == ("ready", 0, None)


def test_snapshots_leave_connections_to_the_others(
    ledger: Ledger, execution: Execution, run: Run, act: Any, loop: Loop
) -> None:
    """A snapshot may take seconds, and more of them than there are connections may come at once."""
    act("worker68.sync_groups", lambda turn: ListSeen(GROUPS, None, [], whole=True, announced=0, note=None))
    job, rights = arrive(ledger, "worker68.sync_groups"), execution.account.shared.capacity.snapshots
    for _ in range(SNAPSHOTS_AT_ONCE):
        loop.run_until_complete(rights.acquire())
    running = loop.create_task(execution.run(ready(job)))

    async def wait_for_it() -> None:
        while ledger.row(job.seq).state != "sending":
            await asyncio.sleep(0.01)

    loop.run_until_complete(asyncio.wait_for(wait_for_it(), PATIENCE_SECONDS))
    loop.run_until_complete(asyncio.wait([running], timeout=0.1))
    assert not running.done()
    rights.release()
    loop.run_until_complete(running)
    assert ledger.row(job.seq).status == "succeeded"


@pytest.mark.parametrize(("task", "status"), [("worker68.request", "failed"), (SEND, "in_doubt")])
def test_a_result_that_cannot_be_written_down_ends_the_job_all_the_same(
    ledger: Ledger, run: Run, act: Any, task: str, status: str
) -> None:
    act(task, lambda turn: UNWRITABLE)
    job = arrive(ledger, task)

    run(ready(job))

    row = ledger.row(job.seq)
    assert (row.state, row.status, row.error_code) == ("ended", status, "internal")


@pytest.mark.parametrize("part", ["outcome_not_writable", "snapshot_failed"])
def test_what_the_database_refuses_is_logged_without_its_words(
    ledger: Ledger, run: Run, act: Any, monkeypatch: pytest.MonkeyPatch, text_log: io.StringIO, part: str
) -> None:
    """PostgreSQL quotes the row."""
    seen = ListSeen(GROUP_MEMBERS, 7, cast(Any, []), whole=True, announced=0, note=None)
    act("worker68.request", lambda turn: succeeded({"data": 1}) if part == "outcome_not_writable" else seen)
    refused = [DBAPIError("UPDATE", None, Exception("refused\nDETAIL:  Failing row contains (secret words)."))]

    def refuse_once(work: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(*given: Any) -> Any:
            if refused:
                raise refused.pop()
            return work(*given)

        return refuse

    monkeypatch.setattr(attempts, "settle", refuse_once(attempts.settle))
    monkeypatch.setattr(snapshots, "apply", refuse_once(snapshots.apply))
    job = arrive(ledger, "worker68.request")

    run(ready(job))

    assert ledger.row(job.seq).error_code == "internal"
    assert part in text_log.getvalue()
    assert "secret words" not in text_log.getvalue()


def test_the_late_end_of_a_change_does_not_touch_what_became_of_its_announcement(
    ledger: Ledger, run: Run, act: Any
) -> None:
    """This worker lost the account; another one has made the change, and its announcement is in doubt."""
    task = "worker68.set_group_notice"

    def lose(turn: Any) -> Any:
        def go_on(connection: Any) -> None:
            attempts.resolve(connection, attempts.find_begun(connection, "main"), lambda begun: True, NOW)
            change = Attempt(turn.job, 2, "worker-b", FENCE + 1)
            assert attempts.begin(connection, [change], NOW) == [True]
            assert attempts.advance(connection, change, DONE, NOW)

        ledger.run(go_on)
        (job,) = load_jobs(ledger.engine, [turn.job.seq])
        announcement = Attempt(job, 3, "worker-b", FENCE + 1)
        doubt = whole_outcome(in_doubt(ErrorCode.NO_VERDICT, "?"), DONE)
        ledger.run(lambda connection: attempts.begin(connection, [announcement], NOW))
        assert ledger.run(lambda connection: attempts.settle(connection, [(announcement, doubt)], NOW)) == [True]
        return failed(ErrorCode.REFUSED, "no")

    act(task, lose)
    job = arrive(ledger, task)

    run(ready(job))

    row = ledger.row(job.seq)
    assert (row.status, row.error_code, row.revision) == ("in_doubt", "no_verdict", 1)


@pytest.mark.parametrize(("known", "state"), [(False, "ended"), (True, "ready")])
def test_a_send_whose_attempt_the_database_has_forgotten_is_not_made_again(
    ledger: Ledger, run: Run, act: Any, known: bool, state: str
) -> None:
    """A failover has lost the commit of its begin. Where the attempt is known, a person has made the job ready again."""

    def go_back(turn: Any) -> Any:
        def forget(connection: Any) -> None:
            connection.execute(update(jobs).values(state="ready", attempts=0, owner=None, fence=None))
            if not known:
                connection.execute(delete(attempts_table))

        ledger.run(forget)
        return succeeded({"message_id": 5})

    act(SEND, go_back)
    job = ledger.send()

    run(ready(job))

    assert ledger.row(job.seq).state == state
    if not known:
        assert (ledger.row(job.seq).status, ledger.row(job.seq).attempts) == ("succeeded", 1)


def test_what_expires_while_it_waits_for_its_slot_ends_without_an_attempt(ledger: Ledger, run: Run, act: Any) -> None:
    act(SEND, lambda turn: pytest.fail("it must not be sent"))
    now = utc_now()
    job = ledger.send(expires_at=(now + dt.timedelta(seconds=0.2)).timestamp(), now=now)
    waits = Ready(job, Slot(ask_of(job), monotonic() + 0.5, monotonic()))

    assert run(waits) is None

    row = ledger.row(job.seq)
    assert (row.status, row.attempts, row.reason) == ("expired", 0, "its time was over before its slot came")


def test_what_expires_just_before_its_write_ends_without_an_attempt(ledger: Ledger, run: Run, act: Any) -> None:
    def refuse(turn: Any) -> TryAgain:
        time.sleep(max(0.0, (turn.job.expires_at - utc_now()).total_seconds() + 0.01))
        assert turn.may_not_write() == "its time was over before its slot came"
        return TryAgain(ErrorCode.UNAVAILABLE, "not a byte was written", spent=False)

    act(SEND, refuse)
    now = utc_now()
    job = ledger.send(expires_at=(now + dt.timedelta(seconds=3)).timestamp(), now=now)

    assert run(ready(job)) is None

    row = ledger.row(job.seq)
    assert (row.state, row.status, row.attempts) == ("ended", "expired", 0)


@pytest.mark.parametrize(("written", "attempts_made"), [(True, 1), (False, 0)])
def test_a_change_that_a_stop_breaks_off_counts_as_tried_once_a_frame_has_left(
    ledger: Ledger, run: Run, act: Any, written: bool, attempts_made: int
) -> None:
    def break_off(turn: Any) -> None:
        if written:
            assert turn.may_not_write() is None
        raise TurnOver(TryAgain(ErrorCode.UNAVAILABLE, "the worker is stopping", spent=False))

    act(MUTE, break_off)
    job = arrive(ledger, MUTE)

    run(ready(job))

    assert ledger.row(job.seq).attempts == attempts_made


def resolve(connection: Connection) -> None:
    """Do as the account's next owner does first."""
    attempts.resolve(connection, attempts.find_begun(connection, "main"), lambda begun: False, NOW)


def give_back_and_begin_elsewhere(connection: Connection) -> None:
    """Let the giving back have been committed though nobody here knows, and let the next owner's attempt end in doubt."""
    (begun,) = attempts.find_begun(connection, "main")
    (job,) = connection.execute(select(jobs.c.attempts).where(jobs.c.seq == begun.seq))
    assert attempts.give_back(connection, AttemptKey(begun.seq, job.attempts, OWNER, FENCE))
    connection.execute(update(jobs).values(state="sending", attempts=job.attempts, owner="worker-b", fence=FENCE + 1))
    resolve(connection)


@pytest.mark.parametrize(
    ("meanwhile", "status", "revision"),
    [(resolve, "failed", 2), (give_back_and_begin_elsewhere, "in_doubt", 1)],
)
def test_what_was_not_written_ends_the_doubt_about_its_own_attempt_alone(
    ledger: Ledger,
    run: Run,
    act: Any,
    meanwhile: Callable[[Connection], None],
    status: str,
    revision: int,
) -> None:
    def lose(turn: Any) -> TryAgain:
        ledger.run(meanwhile)
        return TryAgain(ErrorCode.CONNECTION_LOST, "not a byte was written", spent=False)

    act(SEND, lose)
    job = arrive(ledger, SEND)

    assert run(ready(job)) is None

    row = ledger.row(job.seq)
    assert (row.state, row.status, row.revision) == ("ended", status, revision)
    assert row.error_code == ("not_sent" if status == "failed" else "worker_lost")


def test_a_paused_account_begins_nothing(
    ledger: Ledger, execution: Execution, run: Run, act: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    act(SEND, lambda turn: pytest.fail("it must not be sent"))
    pause = Pause(1, "main", "a complaint", "ann", NOW, None)
    monkeypatch.setattr(execution.account.guard, "_pause", pause_of(pause=pause))
    job = arrive(ledger, SEND)

    assert run(ready(job)) is None

    row = ledger.row(job.seq)
    assert (row.state, row.attempts) == ("ready", 0)


def test_while_the_outcome_is_written_down_the_job_takes_no_room(
    ledger: Ledger, execution: Execution, loop: Loop, act: Any
) -> None:
    act(SEND, lambda turn: succeeded({"message_id": 1}))
    account = execution.account
    dispatch = account.dispatch
    dispatch.add([arrive(ledger, SEND)])
    (chosen,) = loop.run_until_complete(dispatch.choose(False, utc_now())).ready
    dispatch.add([ledger.send(chat={"type": "friend", "id": 7})])  # which may start now
    seen: list[tuple[int, int, str]] = []

    def note(name: str = "main") -> None:
        seen.append((dispatch.in_flight, dispatch.occupied, ledger.row(chosen.job.seq).state))

    account.shared = replace(account.shared, wake=note)
    loop.run_until_complete(Execution(account).run(chosen))

    note()
    assert seen == [(1, 0, "sending"), (0, 0, "ended")]
