"""An attempt is begun once, ended once, and a repeat of either after an unknown commit does no harm."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from tests.parts.jobs import MUTE, NOW, message, mute_fields, send_fields
from tests.parts.ledger import FENCE, Ledger
from worker68.jobs.outcome import ErrorCode, Outcome, Status, cancelled, expired, failed, in_doubt, succeeded
from worker68.jobs.retry import DEATHS_ALLOWED
from worker68.jobs.states import Event, State
from worker68.store import waiting
from worker68.store.engine import Connection
from worker68.store.statements import attempts
from worker68.store.statements.attempts import Attempt, Resolved

LATER = NOW + dt.timedelta(seconds=30)
IN_DOUBT = in_doubt(ErrorCode.NO_VERDICT, "?")
NOT_SENT = failed(ErrorCode.NOT_SENT, "the bridge says so")


def back_off(ledger: Ledger, attempt: Attempt) -> bool:
    return ledger.run(
        lambda connection: attempts.back_off(connection, attempt, LATER, "busy", "the service is busy", NOW)
    )


def give_back(ledger: Ledger, attempt: Attempt) -> bool:
    return ledger.run(lambda connection: attempts.give_back(connection, attempt))


def test_to_begin_says_who_and_under_which_fence(ledger: Ledger) -> None:
    job = ledger.send()
    ledger.must_begin(job)
    row = ledger.row(job.seq)
    assert (row.state, row.attempts, row.owner, row.fence) == (State.SENDING, 1, "worker-a", FENCE)
    assert ledger.tries(job.seq) == [(1, None)]


def test_to_begin_the_same_attempt_again_is_the_same(ledger: Ledger) -> None:
    job = ledger.send()
    assert ledger.begin(job) == ledger.begin(job)
    assert ledger.row(job.seq).attempts == 1
    assert ledger.tries(job.seq) == [(1, None)]


@pytest.mark.parametrize(("owner", "fence"), [("worker-b", FENCE), ("worker-a", FENCE + 1), ("worker-b", FENCE + 1)])
def test_nobody_else_begins_what_is_begun(ledger: Ledger, owner: str, fence: int) -> None:
    job = ledger.send()
    ledger.must_begin(job)
    assert ledger.begin(job, owner=owner, fence=fence) is None
    assert ledger.begin(job, number=2, owner=owner, fence=fence) is None
    assert ledger.row(job.seq).owner == "worker-a"


def test_what_ended_is_not_begun(ledger: Ledger) -> None:
    job = ledger.send()
    waiting.end_waiting(ledger.engine, [job.seq], Event.EXPIRE, expired("late"), NOW)
    assert ledger.begin(job) is None
    assert ledger.tries(job.seq) == []


def test_an_outcome_is_written_and_told_once(ledger: Ledger) -> None:
    job = ledger.send(reply_to="orders")
    attempt = ledger.must_begin(job)
    assert ledger.settle(attempt, failed(ErrorCode.REFUSED, "no", 1021))
    assert not ledger.settle(attempt, failed(ErrorCode.REFUSED, "no", 1021))
    assert not ledger.settle(attempt)
    row = ledger.row(job.seq)
    assert (row.state, row.status, row.error_code, row.error_message) == ("ended", "failed", "refused", "no")
    assert (row.revision, row.finished_at, row.attempts) == (1, NOW, 1)
    ((address, reply),) = ledger.replies()
    assert address == "orders"
    assert reply["error"] == {"code": "refused", "message": "no", "bridge_code": 1021}
    assert len(ledger.in_outbox("result")) == 1
    assert ledger.tries(job.seq) == [(1, "refused")]


def test_an_attempt_of_another_owner_settles_nothing(ledger: Ledger) -> None:
    job = ledger.send()
    attempt = ledger.must_begin(job)
    for other in (replace(attempt, owner="worker-b"), replace(attempt, fence=8), replace(attempt, number=2)):
        assert not ledger.settle(other)
        assert not back_off(ledger, other)
        assert not give_back(ledger, other)
    assert ledger.row(job.seq).state == State.SENDING
    assert ledger.in_outbox() == []


def test_after_a_back_off_the_job_keeps_its_place_and_is_begun_again(ledger: Ledger) -> None:
    job, behind = ledger.send(), ledger.send()
    attempt = ledger.must_begin(job)
    assert back_off(ledger, attempt)
    assert not back_off(ledger, attempt)
    row = ledger.row(job.seq)
    assert (row.state, row.due_at, row.reason, row.attempts) == ("deferred", LATER, "the service is busy", 1)
    assert ledger.lane() == [job.seq, behind.seq]
    assert ledger.settle(ledger.must_begin(job, 2))
    assert ledger.tries(job.seq) == [(1, "busy"), (2, "succeeded")]
    assert ledger.row(job.seq).attempts == 2


def test_what_was_given_back_is_ready_again(ledger: Ledger) -> None:
    job = ledger.send()
    attempt = ledger.must_begin(job)
    assert give_back(ledger, attempt)
    assert not give_back(ledger, attempt)
    assert ledger.row(job.seq).state == State.READY
    assert ledger.lane() == [job.seq]


def test_an_attempt_that_wrote_nothing_is_no_attempt(ledger: Ledger) -> None:
    """Else a bridge that goes up and down uses up the tries of jobs that it never saw."""
    job = ledger.send()
    assert back_off(ledger, ledger.must_begin(job))
    assert give_back(ledger, ledger.must_begin(job, 2))
    assert ledger.row(job.seq).attempts == 1
    assert ledger.tries(job.seq) == [(1, "busy")]
    assert ledger.settle(ledger.must_begin(job, 2))
    assert ledger.tries(job.seq) == [(1, "busy"), (2, "succeeded")]


def test_later_evidence_revises_what_is_in_doubt(ledger: Ledger) -> None:
    job = ledger.settled(IN_DOUBT, reply_to="orders")
    ledger.clear_outbox()
    assert ledger.revise(job.seq)
    assert not ledger.revise(job.seq), "the same word twice is one revision"
    row = ledger.row(job.seq)
    assert (row.state, row.status, row.error_code, row.revision) == ("ended", "succeeded", None, 2)
    ((_, reply),) = ledger.replies()
    assert (reply["status"], reply["revision"], reply["error"]) == ("succeeded", 2, None)
    assert reply["result"] == {"message_id": 77}


def test_each_revision_has_a_reply_id_of_its_own(ledger: Ledger) -> None:
    job = ledger.settled(IN_DOUBT, reply_to="orders")
    assert ledger.revise(job.seq, NOT_SENT)
    assert ledger.revise(job.seq)
    ids = [reply["reply_id"] for _, reply in ledger.replies()]
    assert len(set(ids)) == 3
    assert [reply["revision"] for _, reply in ledger.replies()] == [1, 2, 3]


NOT_DONE = [failed(ErrorCode.BUSY, "no"), failed(ErrorCode.INTERNAL, "?"), expired("late"), cancelled("revoked")]


@pytest.mark.parametrize("final", [succeeded({}), *NOT_DONE], ids=lambda outcome: str(outcome.status))
def test_what_is_certain_is_not_revised(ledger: Ledger, final: Outcome) -> None:
    job = ledger.settled(final)
    ledger.clear_outbox()
    assert not ledger.revise(job.seq, IN_DOUBT)
    assert not ledger.revise(job.seq, NOT_SENT)
    if final.status is Status.SUCCEEDED:
        assert not ledger.revise(job.seq, succeeded({"message_id": 1}))
    assert ledger.row(job.seq).revision == 1
    assert ledger.in_outbox() == []


@pytest.mark.parametrize("final", NOT_DONE, ids=lambda outcome: str(outcome.status))
def test_a_proof_that_it_was_sent_corrects_what_was_said_not_to_be_done(ledger: Ledger, final: Outcome) -> None:
    """The service may say "busy" of a message that it has taken all the same."""
    job = ledger.settled(final, reply_to="orders")
    assert ledger.revise(job.seq)
    row = ledger.row(job.seq)
    assert (row.status, row.error_code, row.reason, row.revision) == (Status.SUCCEEDED, None, None, 2)
    assert [reply["status"] for _, reply in ledger.replies()][-1] == "succeeded"


def test_not_sent_can_turn_out_as_sent(ledger: Ledger) -> None:
    job = ledger.settled(NOT_SENT)
    assert ledger.revise(job.seq)
    assert ledger.row(job.seq).status == Status.SUCCEEDED


def test_a_refusal_is_corrected_by_a_proof_alone(ledger: Ledger) -> None:
    job = ledger.settled(failed(ErrorCode.REFUSED, "the friend has blocked the account", 5114))
    assert not ledger.revise(job.seq, NOT_SENT)
    assert not ledger.revise(job.seq, IN_DOUBT)
    assert ledger.revise(job.seq)
    row = ledger.row(job.seq)
    assert (row.status, row.error_code, row.bridge_code, row.revision) == (Status.SUCCEEDED, None, None, 2)


def test_what_has_not_ended_is_not_revised(ledger: Ledger) -> None:
    job = ledger.send()
    assert not ledger.revise(job.seq)
    ledger.must_begin(job)
    assert not ledger.revise(job.seq)


def test_what_a_lost_worker_left_begun_is_in_doubt_or_ready_again(ledger: Ledger) -> None:
    send, mute, untouched = ledger.arrive(
        message(kwargs=send_fields(reply_to="orders")), message(MUTE, mute_fields()), message()
    )
    ledger.must_begin(send)
    ledger.must_begin(mute)
    begun = ledger.run(lambda connection: attempts.find_begun(connection, "main"))
    assert {(job.seq, job.task, job.fence) for job in begun} == {
        (send.seq, send.task, FENCE),
        (mute.seq, mute.task, FENCE),
    }
    assert ledger.run(lambda connection: attempts.resolve(connection, begun, is_mute, LATER)) == Resolved(1, 1)
    assert ledger.run(lambda connection: attempts.resolve(connection, begun, is_mute, LATER)) == Resolved()
    assert [ledger.row(job.seq).state for job in (send, mute, untouched)] == ["ended", "ready", "ready"]
    row = ledger.row(send.seq)
    assert (row.status, row.error_code, row.envelope, row.finished_at) == ("in_doubt", "worker_lost", None, LATER)
    assert [reply["error"]["code"] for _, reply in ledger.replies()] == ["worker_lost"]
    assert ledger.tries(send.seq) == ledger.tries(mute.seq) == [(1, "worker_lost")]
    assert ledger.begin(mute, 2, owner="worker-b", fence=8) is not None


def resolve(ledger: Ledger) -> Resolved:
    """Resolve what is begun, as the next owner does."""

    def work(connection: Connection) -> Resolved:
        return attempts.resolve(connection, attempts.find_begun(connection, "main"), is_mute, LATER)

    return ledger.run(work)


def test_what_loses_a_worker_each_time_is_given_up(ledger: Ledger) -> None:
    (mute,) = ledger.arrive(message(MUTE, mute_fields(reply_to="orders")))
    ended, alone = [], []
    for number in range(1, DEATHS_ALLOWED + 1):
        ledger.must_begin(mute, number)
        ended.append(resolve(ledger))
        alone.append([job.exclusive for job in ledger.load(depth=1)])
    assert ended == [Resolved(again=1)] * (DEATHS_ALLOWED - 1) + [Resolved(abandoned=1)]
    assert alone == [[False]] * (DEATHS_ALLOWED - 2) + [[True], []], "on its last chance it runs alone"
    row = ledger.row(mute.seq)
    assert (row.state, row.status, row.error_code, row.attempts) == ("ended", "failed", "internal", DEATHS_ALLOWED)
    assert [reply["error"]["code"] for _, reply in ledger.replies()] == ["internal"]


def test_deaths_with_other_ends_between_them_are_counted_together(ledger: Ledger) -> None:
    (mute,) = ledger.arrive(message(MUTE, mute_fields()))
    for number in range(1, 2 * DEATHS_ALLOWED):
        attempt = ledger.must_begin(mute, number)
        last = resolve(ledger) if number % 2 else back_off(ledger, attempt)
    assert last == Resolved(abandoned=1)


def is_mute(begun: attempts.Begun) -> bool:
    return begun.task == MUTE


def test_what_was_begun_anew_is_not_resolved_by_an_old_look(ledger: Ledger) -> None:
    mute = ledger.arrive(message(MUTE, mute_fields()))[0]
    attempt = ledger.must_begin(mute)
    begun = ledger.run(lambda connection: attempts.find_begun(connection, "main"))
    assert give_back(ledger, attempt)
    assert ledger.begin(mute, owner="worker-b", fence=8) is not None
    assert ledger.run(lambda connection: attempts.resolve(connection, begun, is_mute, LATER)) == Resolved()
    assert ledger.row(mute.seq).state == State.SENDING
    assert ledger.tries(mute.seq) == [(1, None)], "its attempt goes on"


def test_a_send_is_found_by_its_name_at_the_bridge(ledger: Ledger) -> None:
    job = ledger.send()
    assert job.custom_msg_id is not None
    name = job.custom_msg_id

    def find(account: str) -> object:
        return ledger.run(lambda connection: attempts.find_sent(connection, account, name))

    assert find("main") == attempts.Sent(job.seq, sending=False, attempts=0, done=None)
    attempt = ledger.must_begin(job)
    assert find("main") == attempts.Sent(job.seq, sending=True, attempts=1, done=None)
    ledger.settle(attempt)
    assert find("main") == attempts.Sent(job.seq, sending=False, attempts=1, done=None)
    assert find("other") is None
