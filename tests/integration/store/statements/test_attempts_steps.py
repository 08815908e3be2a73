"""A job of two steps: what is recorded between them, and that whoever goes on never begins at the first again."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from tests.parts.jobs import LEAST_FIELDS, NOW, message, mute_fields
from tests.parts.ledger import FENCE, SENT, Ledger
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, cancelled, expired, in_doubt, whole_outcome
from worker68.jobs.states import Event, State
from worker68.store import waiting
from worker68.store.statements import attempts

MUTE_GROUP = "worker68.mute_group"
DONE: dict[str, Any] = {"muted": True, "announcement": None}
LATER = NOW + dt.timedelta(minutes=1)


def arrive(ledger: Ledger, task_id: str = "t", **headers: Any) -> Job:
    fields = {**LEAST_FIELDS[MUTE_GROUP], "reply_to": "orders"}
    (job,) = ledger.arrive(message(MUTE_GROUP, fields, task_id=task_id, **headers))
    return job


def muted(ledger: Ledger) -> Job:
    """Take a job in and do its first step, at the second try; return it as SQL has it then."""
    job = arrive(ledger)
    first = ledger.must_begin(job)
    assert ledger.run(lambda connection: attempts.back_off(connection, first, NOW, "busy", "busy", NOW))
    attempt = ledger.must_begin(job, 2)
    assert ledger.run(lambda connection: attempts.advance(connection, attempt, DONE, NOW))
    (further,) = waiting.load_jobs(ledger.engine, [job.seq])
    return further


def result(ledger: Ledger) -> tuple[str, Any, str | None]:
    (_, reply) = ledger.replies()[-1]
    return reply["status"], reply["result"], reply["error"] and reply["error"]["code"]


def test_between_its_steps_a_job_is_ready_and_knows_what_was_done(ledger: Ledger) -> None:
    job = muted(ledger)
    assert (job.state, job.step, job.done, job.attempts, job.attempts_before) == (State.READY, 1, DONE, 2, 2)
    assert (job.now.message, job.is_last_step) == (True, True)
    assert job.custom_msg_id is not None
    assert ledger.tries(job.seq) == [(1, "busy"), (2, "succeeded")]
    assert ledger.in_outbox("reply") == []


def test_the_next_step_counts_its_own_tries(ledger: Ledger) -> None:
    attempt = ledger.must_begin(muted(ledger), 3)
    assert (attempt.number_in_step, ledger.row(attempt.job.seq).step) == (1, 1)


def test_a_job_whose_change_is_made_goes_before_all_others_of_its_lane(ledger: Ledger) -> None:
    job = muted(ledger)
    (urgent,) = ledger.arrive(message("worker68.mute_member", mute_fields(), priority=0))
    assert ledger.lane() == [job.seq, urgent.seq]


def test_a_commit_that_may_have_happened_is_repeated(ledger: Ledger) -> None:
    attempt = ledger.must_begin(arrive(ledger))
    for _ in range(3):
        assert ledger.run(lambda connection: attempts.advance(connection, attempt, DONE, NOW))
    (further,) = waiting.load_jobs(ledger.engine, [attempt.seq])
    assert (further.step, further.attempts_before) == (1, 1)
    ledger.must_begin(further, 2)
    assert not ledger.run(lambda connection: attempts.advance(connection, attempt, DONE, NOW))


def test_an_attempt_that_is_not_ours_any_more_advances_nothing(ledger: Ledger) -> None:
    job = arrive(ledger)
    lost = replace(ledger.must_begin(job), fence=FENCE - 1)
    assert not ledger.run(lambda connection: attempts.advance(connection, lost, DONE, NOW))
    assert ledger.row(job.seq).step == 0


def test_a_step_that_is_not_the_next_one_is_not_begun(ledger: Ledger) -> None:
    job = arrive(ledger)
    assert ledger.begin(replace(job, step=1, done=DONE)) is None
    assert ledger.begin(job) is not None


def test_the_reply_says_what_both_steps_did(ledger: Ledger) -> None:
    job = muted(ledger)
    assert ledger.settle(ledger.must_begin(job, 3), whole_outcome(SENT, job.done))
    assert result(ledger) == ("succeeded", DONE | {"announcement": {"message_id": 77}}, None)


@pytest.mark.parametrize("done", [False, True], ids=["in the change", "in the announcement"])
def test_a_dead_worker_leaves_a_change_to_be_repeated_and_an_announcement_in_doubt(ledger: Ledger, done: bool) -> None:
    job = muted(ledger) if done else arrive(ledger)
    ledger.must_begin(job, job.attempts + 1)

    def resolve(connection: Any) -> attempts.Resolved:
        begun = attempts.find_begun(connection, "main")
        return attempts.resolve(connection, begun, lambda one: one.step == 0, LATER)

    assert ledger.run(resolve) == (attempts.Resolved(in_doubt=1) if done else attempts.Resolved(again=1))
    if done:
        assert result(ledger) == ("in_doubt", DONE, "worker_lost")
    else:
        assert ledger.row(job.seq).state == State.READY


@pytest.mark.parametrize(
    ("event", "outcome"), [(Event.CANCEL, cancelled("by hand")), (Event.EXPIRE, expired("too late"))]
)
def test_what_ends_between_its_steps_says_what_was_done(ledger: Ledger, event: Event, outcome: Any) -> None:
    job, other = muted(ledger), ledger.send(reply_to="other")
    assert set(waiting.end_waiting(ledger.engine, [job.seq, other.seq], event, outcome, NOW)) == {job.seq, other.seq}
    replies = dict(ledger.replies())
    assert (replies["orders"]["status"], replies["orders"]["result"]) == (outcome.status, DONE)
    assert (replies["other"]["status"], replies["other"]["result"]) == (outcome.status, None)


def test_late_evidence_completes_the_result(ledger: Ledger) -> None:
    job = muted(ledger)
    assert job.custom_msg_id is not None
    doubt = whole_outcome(in_doubt(ErrorCode.NO_VERDICT, "?"), job.done)
    assert ledger.settle(ledger.must_begin(job, 3), doubt)
    sent = ledger.run(lambda connection: attempts.find_sent(connection, "main", job.custom_msg_id or 0))
    assert sent is not None
    assert ledger.revise(sent.seq, whole_outcome(SENT, sent.done))
    assert result(ledger) == ("succeeded", DONE | {"announcement": {"message_id": 77}}, None)


def test_progress_is_shown_while_an_attempt_is_under_way_and_gone_afterwards(ledger: Ledger) -> None:
    attempt = ledger.must_begin(ledger.send())
    ledger.run(lambda connection: attempts.note_progress(connection, attempt, "read 5 of 9"))
    assert ledger.row(attempt.job.seq).progress == "read 5 of 9"
    assert ledger.settle(attempt)
    assert ledger.row(attempt.job.seq).progress is None
    ledger.run(lambda connection: attempts.note_progress(connection, attempt, "too late"))
    assert ledger.row(attempt.job.seq).progress is None


@pytest.mark.parametrize("way", ["back off", "give back", "recover"])
def test_an_attempt_that_begins_anew_shows_no_old_progress(ledger: Ledger, way: str) -> None:
    attempt = ledger.must_begin(arrive(ledger))
    ledger.run(lambda connection: attempts.note_progress(connection, attempt, "read 5 of 9"))

    def leave(connection: Any) -> object:
        if way == "back off":
            return attempts.back_off(connection, attempt, LATER, "busy", "busy", NOW)
        if way == "give back":
            return attempts.give_back(connection, attempt)
        return attempts.resolve(connection, attempts.find_begun(connection, "main"), lambda begun: True, NOW)

    assert ledger.run(leave)
    row = ledger.row(attempt.job.seq)
    assert (row.state != State.SENDING, row.progress) == (True, None)
