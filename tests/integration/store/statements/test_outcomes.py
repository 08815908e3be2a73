"""How a job ended stands in its row and, in the same transaction, in the outbox, for everyone who asked for it."""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any

import pytest
from sqlalchemy import update

from tests.parts.jobs import LEAST_FIELDS, MUTE, NOW, SEND, SYNC, message, send_fields
from tests.parts.ledger import Ledger
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome, cancelled, expired, failed
from worker68.jobs.states import Event
from worker68.store import waiting
from worker68.store.statements import attempts, outcomes
from worker68.store.statements.outcomes import forget, pack_dead, pack_deferred, post, post_outcomes
from worker68.store.tables import jobs, outbox

NOTICE = "worker68.set_group_notice"
SOON = NOW + dt.timedelta(seconds=60)


def ask(task_id: str, reply_to: str | None = None, **headers: Any) -> bytes:
    fields: dict[str, Any] = {"job_id": "a", "metadata": {"asked": task_id}, "reply_to": reply_to}
    return message(kwargs=send_fields(**fields), task_id=task_id, **headers)


def test_everyone_who_asked_gets_an_answer_of_its_own(ledger: Ledger) -> None:
    (job,) = ledger.arrive(ask("1", "first"))
    ledger.arrive(ask("2", "second", ignore_result=True), ask("3"), message(task_id="other"))
    assert ledger.settle(ledger.must_begin(job))
    ledger.clear_outbox()
    ledger.run(lambda connection: post_outcomes(connection, [job.seq], NOW))
    assert [(address, reply["task_id"], reply["metadata"]) for address, reply in ledger.replies()] == [
        ("first", "1", {"asked": "1"}),
        ("second", "2", {"asked": "2"}),
    ]
    assert ledger.told() == ["1: succeeded", "3: succeeded"]


def test_nothing_is_posted_for_no_job(ledger: Ledger) -> None:
    for seqs in ([], [4711]):
        ledger.run(functools.partial(post_outcomes, seqs=seqs, now=NOW))
    ledger.run(lambda connection: post(connection, []))
    assert ledger.count(outbox) == 0


def test_what_is_forgotten_is_gone_and_nothing_else_is(ledger: Ledger) -> None:
    rows = [pack_dead("main", "1", NOW), pack_deferred("other", "t", NOW, "why"), pack_dead("main", "3", NOW)]
    ledger.run(lambda connection: post(connection, rows))
    first, _ = ledger.in_outbox("dead")
    for ids in ([first.id], [first.id], []):
        ledger.run(functools.partial(forget, ids=ids))
    assert [(entry.kind, entry.account, entry.payload) for entry in ledger.in_outbox("dead")] == [("dead", "main", "3")]
    assert [(entry.account, entry.address) for entry in ledger.in_outbox("deferred")] == [("other", "t")]


@pytest.mark.parametrize("code", [300, -7, "E_BUSY", "", None, "--5", "²", "-", "9" * 40, 2**63 - 1])
def test_the_bridges_code_comes_back_as_it_was(ledger: Ledger, code: int | str | None) -> None:
    ledger.settled(failed(ErrorCode.REFUSED, "no", code), reply_to="orders")
    ((_, reply),) = ledger.replies()
    assert reply["error"].get("bridge_code") == code


# Jobs that end while they wait


def end(ledger: Ledger, event: Event, outcome: Outcome, *ending: Job) -> list[int]:
    seqs = [job.seq for job in ending]
    return ledger.run(lambda connection: outcomes.end_waiting(connection, seqs, event, outcome, NOW))


def tried(ledger: Ledger, task: str, ending: ErrorCode) -> Job:
    """Take a job in that backs off after an attempt which ended so."""
    (job,) = ledger.arrive(message(task, LEAST_FIELDS[task]))
    attempt = ledger.must_begin(job)
    ledger.run(lambda connection: attempts.back_off(connection, attempt, SOON, ending, "no reply came", NOW))
    return job


@pytest.mark.parametrize(
    ("task", "ending", "status"),
    [
        (MUTE, ErrorCode.UNAVAILABLE, "failed"),
        (MUTE, ErrorCode.WORKER_LOST, "failed"),
        (MUTE, ErrorCode.BUSY, None),
        (SYNC, ErrorCode.UNAVAILABLE, None),
        (SEND, ErrorCode.BUSY, None),
    ],
)
@pytest.mark.parametrize(
    ("event", "given_up"), [(Event.EXPIRE, expired("too late")), (Event.CANCEL, cancelled("called off"))]
)
def test_only_a_change_that_was_not_answered_may_have_been_made(
    ledger: Ledger, task: str, ending: ErrorCode, status: str | None, event: Event, given_up: Outcome
) -> None:
    job = tried(ledger, task, ending)

    assert end(ledger, event, given_up, job) == [job.seq]

    row = ledger.row(job.seq)
    assert row.status == (status or given_up.status)
    assert row.error_code == (ErrorCode.UNAVAILABLE if status else None)
    assert (given_up.reason in (row.error_message if status else row.reason)) is True


@pytest.mark.parametrize("damage", [{}, {"fields": "{"}], ids=["whole", "damaged"])
def test_an_attempt_at_an_earlier_step_says_nothing_about_the_present_one(
    ledger: Ledger, damage: dict[str, str]
) -> None:
    job = tried(ledger, NOTICE, ErrorCode.UNAVAILABLE)
    (again,) = waiting.load_jobs(ledger.engine, [job.seq])
    made = ledger.must_begin(again, 2)
    ledger.run(lambda connection: attempts.advance(connection, made, {"notice_id": 5}, NOW))
    if damage:
        ledger.run(lambda connection: connection.execute(update(jobs).values(damage)))

    assert end(ledger, Event.EXPIRE, expired("too late"), job) == [job.seq]

    assert (ledger.row(job.seq).status, ledger.row(job.seq).error_code) == ("expired", None)


@pytest.mark.parametrize("damage", [{"fields": "{"}, {"task": "worker68.later"}], ids=["damaged", "of another version"])
def test_what_cannot_be_read_may_have_been_a_change(ledger: Ledger, damage: dict[str, str]) -> None:
    job = tried(ledger, SYNC, ErrorCode.UNAVAILABLE)
    ledger.run(lambda connection: connection.execute(update(jobs).values(damage)))

    assert end(ledger, Event.EXPIRE, expired("too late"), job) == [job.seq]

    assert (ledger.row(job.seq).status, ledger.row(job.seq).error_code) == ("failed", "unavailable")


def test_a_refusal_says_what_earlier_steps_have_done(ledger: Ledger) -> None:
    (job,) = ledger.arrive(message(NOTICE, LEAST_FIELDS[NOTICE]))
    made = ledger.must_begin(job)
    ledger.run(lambda connection: attempts.advance(connection, made, {"notice_id": 5}, NOW))
    waits = ledger.send()

    assert end(ledger, Event.REFUSE, failed(ErrorCode.SUPPRESSED, "no"), job, waits) == [waits.seq, job.seq]

    results = [ledger.row(one.seq).result for one in (job, waits)]
    assert results == ['{"notice_id":5,"announcement":null}', None]
    assert {ledger.row(one.seq).error_code for one in (job, waits)} == {"suppressed"}
