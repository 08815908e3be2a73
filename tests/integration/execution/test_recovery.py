"""What a new owner finds, and the sweeps: nothing stays begun, parked or overdue for ever."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest
from sqlalchemy import event

from tests.parts.jobs import LEAST_FIELDS, MUTE, NOW, SEND, job, message, mute_fields, send_fields
from tests.parts.ledger import FENCE, Ledger
from worker68.execution import recovery
from worker68.execution.intake import PARKED_FOR
from worker68.jobs.states import State
from worker68.jobs.task import Nature
from worker68.store import waiting
from worker68.store.statements import suppressions
from worker68.store.statements.attempts import Begun
from worker68.store.tables import jobs
from worker68.tasks import TASKS

LATER = NOW + dt.timedelta(seconds=60)


def states(ledger: Ledger) -> list[str]:
    return [row.state for row in ledger.rows()]


def note_commits(ledger: Ledger) -> list[object]:
    """Return a list that grows with each transaction that is committed from now on."""
    commits: list[object] = []
    event.listen(ledger.engine, "commit", commits.append)
    return commits


def test_a_new_owner_resolves_what_older_ones_left_begun(ledger: Ledger) -> None:
    send, mute, waits = ledger.arrive(message(task_id="t"), message(MUTE, mute_fields()), message())
    ledger.must_begin(send)
    ledger.must_begin(mute)
    recovery.take_over(ledger.engine, "main", FENCE + 1, LATER)
    assert states(ledger) == [State.ENDED, State.READY, State.READY]
    assert ledger.told() == ["t: worker_lost"]
    assert ledger.lane() == [mute.seq, waits.seq]
    recovery.take_over(ledger.engine, "main", FENCE + 1, LATER)
    assert ledger.told() == ["t: worker_lost"]


def test_what_began_under_its_own_fence_is_left_alone(ledger: Ledger) -> None:
    ledger.must_begin(ledger.send())
    recovery.take_over(ledger.engine, "main", FENCE, LATER)
    assert states(ledger) == [State.SENDING]


def test_another_accounts_attempts_are_left_alone(ledger: Ledger) -> None:
    ledger.must_begin(ledger.send(account="other"))
    recovery.take_over(ledger.engine, "main", FENCE + 1, LATER)
    assert states(ledger) == [State.SENDING]


def test_what_no_thread_carries_any_more_is_resolved(ledger: Ledger) -> None:
    carried, abandoned = ledger.send(), ledger.send()
    ledger.must_begin(carried)
    ledger.must_begin(abandoned)
    recovery.resolve_abandoned(ledger.engine, "main", FENCE, lambda seq: seq == carried.seq, LATER)
    assert states(ledger) == [State.SENDING, State.ENDED]


def test_what_a_later_owner_has_begun_is_not_resolved_by_one_that_stood_still(ledger: Ledger) -> None:
    ledger.must_begin(ledger.send())
    recovery.resolve_abandoned(ledger.engine, "main", FENCE - 1, lambda seq: False, LATER)
    assert states(ledger) == [State.SENDING]


def test_what_has_begun_anew_while_it_was_looked_for_is_left_alone(ledger: Ledger) -> None:
    """Its last attempt had just ended; of the next one bytes may be leaving."""
    again = ledger.send()
    ledger.must_begin(again)
    words = iter([False, True])
    recovery.resolve_abandoned(ledger.engine, "main", FENCE, lambda seq: next(words), LATER)
    assert states(ledger) == [State.SENDING]
    assert next(words, None) is None, "it was asked about twice"


def test_an_attempt_of_a_lost_worker_that_ends_after_all_can_still_correct_the_doubt(ledger: Ledger) -> None:
    job = ledger.send()
    attempt = ledger.must_begin(job)
    recovery.take_over(ledger.engine, "main", FENCE + 1, LATER)
    assert not ledger.settle(attempt)
    assert ledger.revise(job.seq)
    assert ledger.row(job.seq).status == "succeeded"


@pytest.mark.parametrize("task", TASKS)
def test_what_may_be_repeated_is_everything_but_a_send(task: str) -> None:
    fields = json.dumps(LEAST_FIELDS[task])
    for number, step in enumerate(job(1, task).kind.steps_of(job(1, task).fields)):
        begun = Begun(1, task, FENCE, number, fields, None)
        assert recovery.is_repeatable(begun) == (step.nature is not Nature.SEND)


def test_a_task_that_is_not_known_here_is_not_repeated() -> None:
    assert not recovery.is_repeatable(Begun(1, "worker68.later", FENCE, 0, "{}", None))


def test_a_row_that_cannot_be_read_ends_and_hinders_nobody(ledger: Ledger) -> None:
    """Of a send under way nobody knows what became of it; one that waits was not begun."""
    first, second, third = ledger.arrive(message(task_id="t"), message(task_id="u"), message(task_id="v"))
    ledger.must_begin(first)
    unreadable = jobs.update().where(jobs.c.seq.in_([first.seq, second.seq])).values(fields='{"text": 7}')
    ledger.run(lambda connection: connection.execute(unreadable))

    recovery.take_over(ledger.engine, "main", FENCE + 1, LATER)

    assert ledger.lane() == [third.seq]
    assert ledger.told() == ["t: worker_lost", "u: internal"]
    assert ledger.lane() == [third.seq]


def test_what_is_overdue_ends(ledger: Ledger) -> None:
    ledger.arrive(
        message(kwargs=send_fields(expires_at=LATER.timestamp(), reply_to="orders"), task_id="t"), message(task_id="u")
    )
    assert recovery.expire_overdue(ledger.engine, "main", NOW) == 0
    assert recovery.expire_overdue(ledger.engine, "main", LATER) == 1
    assert ledger.told() == ["t: expired"]
    assert states(ledger) == [State.ENDED, State.READY]


def test_more_may_be_overdue_than_a_statement_takes(ledger: Ledger) -> None:
    mine, old = ledger.arrive(
        message(kwargs=send_fields(expires_at=LATER.timestamp(), reply_to="orders"), task_id="mine"),
        message(kwargs=send_fields(reply_to="orders"), task_id="old"),
    )
    elsewhere = [replace(old, seq=10**6 + number) for number in range(70_000)]
    recovery.expire(ledger.engine, [mine, *elsewhere, old], LATER)
    assert ledger.told() == ["mine: expired", "old: expired"]
    assert [ledger.row(job.seq).reason for job in (mine, old)] == [
        "its time was over before its turn came",
        "it had waited longer than the account's MAX_AGE when its turn came",
    ]


class TestParked:
    def park(self, ledger: Ledger, *messages: bytes) -> None:
        """Take messages in as a worker does that knows nothing of sends yet."""
        kind = TASKS.pop(SEND)
        try:
            ledger.arrive(*messages)
        finally:
            TASKS[SEND] = kind
        assert set(states(ledger)) == {State.DEFERRED}

    def test_a_job_whose_task_is_known_now_waits_for_its_turn(self, ledger: Ledger) -> None:
        self.park(ledger, message(kwargs=send_fields(text="é\x00", reply_to="orders", job_id="a"), priority=3))
        (job,) = recovery.revive_parked(ledger.engine, ledger.intake, "main", LATER)
        assert ledger.lane() == [job.seq]
        assert (job.priority, job.job_id, job.fields.text) == (3, "a", "é\x00")  # type: ignore[attr-defined]
        row = ledger.row(job.seq)
        assert (row.state, row.due_at, row.reason, row.chat_id) == (State.READY, None, None, 389284)
        assert row.custom_msg_id == job.custom_msg_id is not None
        assert row.received_at == NOW
        assert ledger.settle(ledger.must_begin(job))
        assert [address for address, _ in ledger.replies()] == ["orders"]

    def test_a_double_of_what_was_parked_joins_it_afterwards(self, ledger: Ledger) -> None:
        self.park(ledger, message(kwargs=send_fields(job_id="a"), task_id="1"))
        recovery.revive_parked(ledger.engine, ledger.intake, "main", LATER)
        assert ledger.arrive(message(kwargs=send_fields(job_id="a", mentions=[]), task_id="2")) == []
        assert ledger.in_outbox() == []

    def test_a_parked_job_that_turns_out_invalid_is_told(self, ledger: Ledger) -> None:
        self.park(ledger, message(kwargs=send_fields(text=""), task_id="t"))
        assert recovery.revive_parked(ledger.engine, ledger.intake, "main", LATER) == []
        assert ledger.told() == ["t: invalid_job"]
        assert "text: " in ledger.rows()[0].error_message

    def test_what_nobody_comes_to_know_ends_after_ten_minutes(self, ledger: Ledger) -> None:
        ledger.arrive(message("worker68.later", {}, task_id="t"))
        almost = NOW + PARKED_FOR - dt.timedelta(microseconds=1)
        assert not recovery.end_parked(ledger.engine, "main", almost)
        assert recovery.revive_parked(ledger.engine, ledger.intake, "main", NOW + PARKED_FOR) == []
        assert states(ledger) == [State.DEFERRED]
        assert not recovery.end_parked(ledger.engine, "main", NOW + PARKED_FOR)
        assert ledger.told() == ["t: invalid_job"]

    def test_many_end_by_their_tasks_the_oldest_first(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        tasks = ("worker68.later", "worker68.newer", "worker68.later", "worker68.later")
        ledger.arrive(*[message(task, {}, task_id=f"t{number}") for number, task in enumerate(tasks)])
        monkeypatch.setattr(recovery, "ENDED_AT_ONCE", 3)
        commits = note_commits(ledger)
        assert recovery.end_parked(ledger.engine, "main", NOW + PARKED_FOR), "there may be more"
        assert len(commits) == 2
        assert sorted(ledger.told()) == [f"t{number}: invalid_job" for number in range(3)]
        assert not recovery.end_parked(ledger.engine, "main", NOW + PARKED_FOR)
        assert all(f"no worker knows {row.task!r};" in row.error_message for row in ledger.rows())

    def test_all_that_are_known_wait_for_their_turn_part_by_part(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "SEQS_PER_STATEMENT", 3)
        self.park(ledger, *[message() for _ in range(4)], message(kwargs=send_fields(text="")), message())
        commits = note_commits(ledger)
        revived = recovery.revive_parked(ledger.engine, ledger.intake, "main", LATER)
        assert len(commits) == 3, "two parts, and one that is invalid"
        assert [job.seq for job in revived] == ledger.lane()
        assert len(revived) == 5

    def test_a_chat_that_was_suppressed_meanwhile_is_seen_when_the_turn_comes(self, ledger: Ledger) -> None:
        self.park(ledger, message(kwargs=send_fields(), task_id="t"))
        (revived,) = recovery.revive_parked(ledger.engine, ledger.intake, "main", LATER)
        assert not ledger.run(lambda connection: suppressions.find_barred(connection, [revived]))
        ledger.suppress("group", 389284)
        assert ledger.run(lambda connection: suppressions.find_barred(connection, [revived])) == {revived.seq}
