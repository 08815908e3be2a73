"""The waiting room: who is in a lane and in which order, what becomes due, and the ways out without running."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import update

from tests.parts.jobs import NOW, SEND, message, send_fields
from tests.parts.ledger import Ledger
from worker68.jobs.envelope import TASK_ID_LIMIT
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome, cancelled, expired, failed
from worker68.jobs.states import Event, State
from worker68.store import waiting
from worker68.store.statements import attempts
from worker68.store.tables import cancellations, jobs
from worker68.store.waiting import Cancelled

SOON = NOW + dt.timedelta(seconds=60)
LATER = NOW + dt.timedelta(seconds=120)
DAY = dt.timedelta(days=1)


def to(chat: int, **fields: object) -> dict[str, object]:
    return send_fields(chat={"type": "group", "id": chat}, **fields)


def at(when: dt.datetime, **fields: object) -> bytes:
    return message(kwargs=send_fields(send_at=when.timestamp(), **fields))


def back_off(ledger: Ledger, job: Job, until: dt.datetime) -> None:
    attempt = ledger.must_begin(job)
    ledger.run(lambda connection: attempts.back_off(connection, attempt, until, "busy", "busy", NOW))


def park(ledger: Ledger, *messages: bytes) -> list[int]:
    """Take messages of unknown tasks in; return the numbers of their jobs."""
    before = {row.seq for row in ledger.rows()}
    assert ledger.arrive(*messages) == []
    return [row.seq for row in ledger.rows() if row.seq not in before]


def in_vain(ledger: Ledger, now: dt.datetime = NOW + DAY, limit: int = 9) -> list[tuple[int, str]]:
    return waiting.find_parked_in_vain(ledger.engine, "main", now, limit)


def test_only_what_waits_for_its_turn_is_in_a_lane(ledger: Ledger) -> None:
    ready, begun, ended, tired = (ledger.send() for _ in range(4))
    ledger.arrive(at(SOON), message("worker68.later", {}))
    ledger.must_begin(begun)
    ledger.settle(ledger.must_begin(ended))
    back_off(ledger, tired, SOON)
    assert ledger.lane() == [ready.seq, tired.seq]


def test_a_job_enters_its_lane_when_it_is_due(ledger: Ledger) -> None:
    (late,) = ledger.arrive(at(LATER))
    (soon,) = ledger.arrive(at(SOON))
    behind = ledger.send()
    assert ledger.row(soon.seq).state == State.DEFERRED
    assert waiting.next_due(ledger.engine, "main") == SOON
    assert waiting.release_due(ledger.engine, "main", SOON - dt.timedelta(microseconds=1)) == []
    (released,) = waiting.release_due(ledger.engine, "main", SOON)
    assert (released.seq, released.state) == (soon.seq, State.READY)
    assert waiting.release_due(ledger.engine, "main", SOON) == []
    assert ledger.lane() == [soon.seq, behind.seq], "by arrival, not by when it became due"
    assert waiting.next_due(ledger.engine, "main") == LATER
    assert [job.seq for job in waiting.release_due(ledger.engine, "main", LATER)] == [late.seq]
    assert waiting.next_due(ledger.engine, "main") is None


def test_a_deferred_job_that_only_a_newer_worker_knows_is_nothing_that_is_due(ledger: Ledger) -> None:
    """It is not released here, and would be looked for without an end."""
    (newer,) = ledger.arrive(at(SOON))
    ledger.arrive(at(LATER))
    ledger.run(
        lambda connection: connection.execute(update(jobs).where(jobs.c.seq == newer.seq).values(task="worker68.x"))
    )
    assert waiting.release_due(ledger.engine, "main", SOON) == []
    assert waiting.next_due(ledger.engine, "main") == LATER


def test_a_deferred_job_that_only_a_newer_worker_knows_enters_its_lane_when_it_is_due(ledger: Ledger) -> None:
    newer, late, known = ledger.arrive(at(SOON), at(LATER), at(SOON))
    ledger.arrive(message("worker68.later", {}))
    theirs = update(jobs).where(jobs.c.seq.in_([newer.seq, late.seq])).values(task="worker68.x")
    ledger.run(lambda connection: connection.execute(theirs))
    assert waiting.find_unknown(ledger.engine, "main", newer.lane) == []
    waiting.release_unknown(ledger.engine, "main", SOON)
    assert waiting.find_unknown(ledger.engine, "main", newer.lane) == [(newer.seq, "worker68.x")]
    assert [ledger.row(job.seq).state for job in (newer, late, known)] == ["ready", "deferred", "deferred"]
    assert len(in_vain(ledger)) == 1


def test_what_backs_off_or_is_parked_or_is_of_another_account_is_not_released(ledger: Ledger) -> None:
    back_off(ledger, ledger.send(), SOON)
    ledger.arrive(message("worker68.later", {}), at(SOON, account="other"))
    assert waiting.release_due(ledger.engine, "main", NOW + DAY) == []


def test_a_release_takes_the_longest_due_first(ledger: Ledger) -> None:
    made = ledger.arrive(*[at(NOW + dt.timedelta(seconds=second)) for second in (3, 1, 2)])
    released = waiting.release_due(ledger.engine, "main", LATER, limit=2)
    assert [job.seq for job in released] == [made[1].seq, made[2].seq]
    assert [job.seq for job in waiting.release_due(ledger.engine, "main", LATER, limit=2)] == [made[0].seq]


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (Event.EXPIRE, expired("late")),
        (Event.CANCEL, cancelled("revoked")),
        (Event.REFUSE, failed(ErrorCode.INVALID_JOB, "no")),
    ],
)
def test_what_waits_can_be_ended_and_what_is_being_sent_cannot(ledger: Ledger, event: Event, outcome: Outcome) -> None:
    ready, begun, tired, done = (ledger.send() for _ in range(4))
    (deferred,) = ledger.arrive(at(SOON))
    ledger.must_begin(begun)
    back_off(ledger, tired, SOON)
    ledger.settle(ledger.must_begin(done))
    ledger.clear_outbox()
    everyone = [ready.seq, begun.seq, tired.seq, done.seq, deferred.seq]
    ended = waiting.end_waiting(ledger.engine, everyone, event, outcome, LATER)
    assert sorted(ended) == sorted([ready.seq, tired.seq, deferred.seq])
    assert waiting.end_waiting(ledger.engine, everyone, event, outcome, LATER) == []
    assert ledger.row(begun.seq).state == State.SENDING
    assert ledger.row(done.seq).status == "succeeded"
    row = ledger.row(ready.seq)
    assert (row.state, row.status, row.reason, row.finished_at) == ("ended", outcome.status, outcome.reason, LATER)
    assert len(ledger.in_outbox("result")) == 3


def test_what_is_overdue_is_found_while_it_waits(ledger: Ledger) -> None:
    (ready, begun, later) = ledger.arrive(
        message(kwargs=send_fields(expires_at=SOON.timestamp())),
        message(kwargs=send_fields(expires_at=SOON.timestamp())),
        message(kwargs=send_fields(expires_at=LATER.timestamp())),
    )
    (deferred,) = ledger.arrive(at(LATER, expires_at=SOON.timestamp()))
    ledger.send()
    ledger.must_begin(begun)
    assert waiting.find_overdue(ledger.engine, "main", NOW) == []
    assert sorted(waiting.find_overdue(ledger.engine, "main", SOON)) == [ready.seq, deferred.seq]
    assert len(waiting.find_overdue(ledger.engine, "main", LATER, limit=1)) == 1
    assert waiting.find_overdue(ledger.engine, "other", LATER) == []
    assert later.seq in waiting.find_overdue(ledger.engine, "main", LATER)


def test_a_revoke_ends_what_waits_and_remembers_what_was_never_seen(ledger: Ledger) -> None:
    first, second = ledger.arrive(message(task_id="a"), message(task_id="b"))
    ledger.must_begin(second)
    assert waiting.cancel(ledger.engine, ["a", "b", "unseen"], "revoked", NOW) == Cancelled(
        [first.seq], [], [second.seq], ["unseen"], frozenset(["main"])
    )
    assert waiting.cancel(ledger.engine, ["a", "b", "unseen"], "revoked", NOW) == Cancelled(
        [], [first.seq], [second.seq], ["unseen"], frozenset(["main"])
    )
    assert ledger.told() == ["a: cancelled"]
    assert ledger.row(second.seq).state == State.SENDING
    assert ledger.count(cancellations) == 1
    assert ledger.arrive(message(task_id="unseen")) == []


def test_a_revoked_id_that_no_message_can_have_costs_the_others_nothing(ledger: Ledger) -> None:
    (job,) = ledger.arrive(message(task_id="a"))
    long = "x" * (TASK_ID_LIMIT + 1)
    assert waiting.cancel(ledger.engine, [long, "a", "unseen"], "revoked", NOW) == Cancelled(
        [job.seq], [], [], ["unseen", long], frozenset(["main"])
    )
    assert ledger.count(cancellations) == 1


def test_a_revoked_id_that_was_not_seen_is_forgotten_by_a_revoke_after_a_day(ledger: Ledger) -> None:
    waiting.cancel(ledger.engine, ["old"], "revoked", NOW)
    waiting.cancel(ledger.engine, ["new"], "revoked", NOW + waiting.REVOKED_FOR)
    assert ledger.count(cancellations) == 2
    waiting.cancel(ledger.engine, ["newest"], "revoked", NOW + waiting.REVOKED_FOR + dt.timedelta(seconds=1))
    assert ledger.count(cancellations) == 2
    assert [job.task_id for job in ledger.arrive(message(task_id="old"), message(task_id="new"))] == ["old"]


def test_a_revoke_of_many_ids_is_one_transaction(ledger: Ledger) -> None:
    ids = [f"id-{number}" for number in range(3000)]
    assert waiting.cancel(ledger.engine, ids, "revoked", NOW) == Cancelled([], [], [], sorted(ids))
    assert ledger.count(cancellations) == 3000


def test_counts_what_has_not_ended(ledger: Ledger) -> None:
    ledger.send()
    ledger.must_begin(ledger.send())
    ledger.settled()
    ledger.arrive(at(SOON), message("worker68.later", {}), message(kwargs=send_fields(text="")))
    ledger.send(account="other")
    assert waiting.count_waiting(ledger.engine, "main") == 4


def test_accounts_with_unfinished_jobs_are_found_at_once(ledger: Ledger) -> None:
    accounts = ["main", "other", "third"]
    assert waiting.newest_seq(ledger.engine) == 0
    first = ledger.send()
    ledger.arrive(message(kwargs=send_fields(account="other", send_at=LATER.timestamp())))
    newest = waiting.newest_seq(ledger.engine)
    assert waiting.find_unfinished(ledger.engine, accounts, newest) == {"main", "other"}
    assert waiting.find_unfinished(ledger.engine, accounts, first.seq) == {"main"}
    assert waiting.find_unfinished(ledger.engine, accounts, 0) == set()
    assert waiting.find_unfinished(ledger.engine, ["third"], newest) == set()


def test_an_account_whose_job_is_under_way_is_not_finished(ledger: Ledger) -> None:
    job = ledger.send()
    ledger.must_begin(job)
    assert waiting.find_unfinished(ledger.engine, ["main"], job.seq) == {"main"}


def test_a_reason_stands_in_the_row_while_it_waits(ledger: Ledger) -> None:
    ready, begun = ledger.send(), ledger.send()
    ledger.must_begin(begun)
    waiting.write_reasons(ledger.engine, {ready.seq: "the bridge is away", begun.seq: "never", 10**9: "nobody"}, NOW)
    assert ledger.row(ready.seq).reason == "the bridge is away"
    assert ledger.row(begun.seq).reason is None
    ledger.must_begin(ready)
    assert ledger.row(ready.seq).reason is None


def test_a_parked_job_whose_time_is_over_is_nothing_that_is_due(ledger: Ledger) -> None:
    ledger.arrive(message("worker68.later", {}))
    assert waiting.next_due(ledger.engine, "main") is None
    assert waiting.release_due(ledger.engine, "main", NOW + DAY) == []
    assert len(in_vain(ledger)) == 1


def test_parked_jobs_are_looked_for_by_what_can_be_done_with_them(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked = park(ledger, *[message("worker68.later", {}) for _ in range(5)])
    known = parked[1:4]
    theirs = update(jobs).where(jobs.c.seq.in_(known)).values(task=SEND)
    ledger.run(lambda connection: connection.execute(theirs))

    assert in_vain(ledger) == [(seq, "worker68.later") for seq in (parked[0], parked[4])]
    assert in_vain(ledger, limit=1) == [(parked[0], "worker68.later")]
    assert in_vain(ledger, now=NOW) == []
    monkeypatch.setattr(waiting, "SEQS_PER_STATEMENT", 2)
    first = waiting.find_parked(ledger.engine, "main")
    assert [one.seq for one in first] == known[:2]
    assert [one.seq for one in waiting.find_parked(ledger.engine, "main", known[1])] == known[2:]
    assert waiting.find_parked(ledger.engine, "other") == []


def test_a_parked_job_that_has_ended_meanwhile_is_not_called_back(ledger: Ledger) -> None:
    first, second = park(ledger, message("worker68.later", {}), message("worker68.later", {}))
    waiting.cancel(ledger.engine, ledger.requesters(first), "no", NOW)
    known = ledger.entries(message(), message())

    (taken,) = waiting.unpark(ledger.engine, {first: known[0], second: known[1]})

    assert (ledger.row(first).state, ledger.lane()) == ("ended", [second])
    assert (taken.seq, taken.custom_msg_id) == (second, ledger.row(second).custom_msg_id)
