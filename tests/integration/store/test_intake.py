"""A popped batch becomes rows in pop order, once, however often it is written."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event

from tests.parts.jobs import LEAST_FIELDS, MUTE, NOW, SYNC, account, message, mute_fields, send_fields
from tests.parts.ledger import Ledger
from worker68.errors import DatabaseRefused
from worker68.execution.intake import Arrival, Intake
from worker68.jobs.outcome import Status
from worker68.jobs.states import State
from worker68.limits.rates import parse_limits
from worker68.store import intake, waiting
from worker68.store.intake import Dead
from worker68.store.statements import attempts
from worker68.store.tables import jobs, requesters

NOTICE = "worker68.set_group_notice"


def test_rows_come_in_pop_order(ledger: Ledger) -> None:
    texts = [f"{number}" for number in range(50)]
    made = ledger.arrive(*[message(kwargs=send_fields(text=text)) for text in texts])
    assert [job.fields.text for job in made] == texts  # type: ignore[attr-defined]
    assert [job.seq for job in made] == sorted(job.seq for job in made)
    assert [row.job_id for row in ledger.rows()] == [job.job_id for job in made]
    assert ledger.lane() == [job.seq for job in made]


def test_the_order_goes_on_over_batches(ledger: Ledger) -> None:
    first, second = ledger.send(), ledger.send()
    assert first.seq < second.seq


def test_new_jobs_are_inserted_without_a_look(ledger: Ledger) -> None:
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(" ".join(statement.split()[:3]))

    event.listen(ledger.engine, "before_cursor_execute", note)
    assert len(ledger.arrive(message(), message(MUTE, mute_fields()), message(SYNC, {}))) == 3
    event.remove(ledger.engine, "before_cursor_execute", note)
    assert [words for words in said if not words.startswith("BEGIN")] == ["INSERT INTO jobs", "INSERT INTO requesters"]


def test_what_is_not_new_takes_nothing_from_the_order_of_the_others(ledger: Ledger) -> None:
    ledger.take_in(message(kwargs=send_fields(job_id="wrong", text="")))
    (known,) = ledger.arrive(message(kwargs=send_fields(job_id="known"), task_id="1"))
    batch = [message(kwargs=send_fields(job_id=name), task_id=name) for name in ("c", "known", "wrong", "a")]
    made = ledger.arrive(*batch)
    assert [job.job_id for job in made] == ["c", "wrong", "a"]
    assert ledger.lane() == [known.seq, *(job.seq for job in made)]
    assert ledger.requesters(known.seq) == ["1", "known"]


def test_a_batch_of_all_kinds_tells_which_ones_run(ledger: Ledger) -> None:
    taken = ledger.take_in(
        message(kwargs=send_fields()),
        message(kwargs=send_fields(text="")),
        message(MUTE, mute_fields()),
        message(SYNC, {"expires_at": 5}),
        message(SYNC, {}),
        message("worker68.later", {}),
    )
    assert [job is not None for job in taken] == [True, False, True, False, True, True]


def test_the_same_batch_again_changes_nothing(ledger: Ledger) -> None:
    batch = [
        message(kwargs=send_fields(job_id="a", reply_to="orders"), task_id="1"),
        message(kwargs=send_fields(job_id="a"), task_id="2"),
        message(MUTE, mute_fields(), task_id="3"),
        message("worker68.later", {}, task_id="4"),
    ]
    ledger.take_in(*batch)
    before = ledger.rows()
    again = ledger.take_in(*batch, now=NOW + dt.timedelta(seconds=9))
    assert again == [None] * 4
    assert ledger.rows() == before
    assert ledger.count(requesters) == 4
    assert ledger.in_outbox() == []
    deferred = [entry.address for entry in ledger.in_outbox("deferred")]
    assert deferred == ["2", "4"], (
        "a requester that joined, and one whose task is unknown, learns once that its job waits"
    )


def test_what_is_said_again_to_a_repeated_batch_bears_the_same_id(ledger: Ledger) -> None:
    """At least once: a reader drops the double by its ``reply_id``."""
    ledger.settled(job_id="done", reply_to="orders")
    batch = [
        message(kwargs=send_fields(job_id="done", text="other", reply_to="orders"), task_id="conflict"),
        message(kwargs=send_fields(job_id="bad", text="", reply_to="orders"), task_id="invalid"),
        message(kwargs=send_fields(job_id="done", reply_to="orders"), task_id="join"),
    ]
    ledger.clear_outbox()
    ledger.take_in(*batch)
    first = {reply["task_id"]: reply["reply_id"] for _, reply in ledger.replies()}
    ledger.clear_outbox()
    ledger.take_in(*batch, now=NOW + dt.timedelta(seconds=9))
    assert {reply["task_id"]: reply["reply_id"] for _, reply in ledger.replies()} == first
    assert first.keys() == {"conflict", "invalid", "join"}


def test_what_ends_at_once_has_its_outcome_and_its_reply_with_it(ledger: Ledger) -> None:
    ledger.arrive(message(kwargs=send_fields(expires_at=5, reply_to="orders", metadata={"a": 1}), task_id="t"))
    (row,) = ledger.rows()
    assert (row.state, row.status, row.envelope) == (State.ENDED, Status.EXPIRED, None)
    ((address, reply),) = ledger.replies()
    assert (address, reply["status"], reply["metadata"], reply["attempts"]) == ("orders", "expired", {"a": 1}, 0)
    assert ledger.told() == ["t: expired"]


def test_nobody_is_told_who_did_not_ask(ledger: Ledger) -> None:
    ledger.arrive(message(kwargs=send_fields(expires_at=5), ignore_result=True))
    assert ledger.in_outbox() == []


def test_a_waiting_job_keeps_its_envelope_until_it_ends(ledger: Ledger) -> None:
    raw = message(kwargs=send_fields())
    (job,) = ledger.arrive(raw)
    assert ledger.row(job.seq).envelope == raw.decode()
    assert ledger.settle(ledger.must_begin(job))
    assert ledger.row(job.seq).envelope is None


def test_nothing_is_sent_to_a_chat_on_the_do_not_contact_list(ledger: Ledger) -> None:
    ledger.suppress("group", 5)
    ledger.take_in(
        message(kwargs=send_fields(chat={"type": "group", "id": 5}), task_id="barred"),
        message(kwargs=send_fields(chat={"type": "friend", "id": 5}), task_id="friend"),
        message(kwargs=send_fields(chat={"type": "group", "id": 5}, account="other"), task_id="elsewhere"),
        message(MUTE, mute_fields(group_id=5), task_id="moderation"),
    )
    assert ledger.told() == ["barred: suppressed"]
    assert [row.status for row in ledger.rows()] == [Status.FAILED, None, None, None]


def test_what_was_revoked_before_it_arrived_is_cancelled(ledger: Ledger) -> None:
    assert waiting.cancel(ledger.engine, ["early", "early"], "revoked", NOW).ended == []
    assert waiting.cancel(ledger.engine, ["early"], "revoked", NOW).ended == []
    ledger.arrive(message(kwargs=send_fields(reply_to="orders"), task_id="early"))
    assert ledger.told() == ["early: cancelled"]
    assert [reply["status"] for _, reply in ledger.replies()] == ["cancelled"]


def test_every_send_has_a_name_of_its_own_at_the_bridge(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([11111111111, 11111111111, 11111111111, 22222222222, 22222222222, 33333333333])
    monkeypatch.setattr(intake, "draw_custom_msg_id", lambda: next(draws))
    first = ledger.arrive(message(), message())
    second = ledger.arrive(message(), message(MUTE, mute_fields()))
    assert {job.custom_msg_id for job in first} == {11111111111, 22222222222}
    assert [job.custom_msg_id for job in second] == [33333333333, None]
    assert [row.custom_msg_id for row in ledger.rows()] == [job.custom_msg_id for job in [*first, *second]]


def test_a_drawn_name_is_eleven_digits() -> None:
    assert all(len(str(intake.draw_custom_msg_id())) == 11 for _ in range(1000))


def test_messages_set_aside_are_written_with_the_batch(ledger: Ledger) -> None:
    intake.take_in(ledger.engine, [], [Dead("main", '{"reason": "\\u0000"}')], NOW)
    (entry,) = ledger.in_outbox()
    assert (entry.kind, entry.account, entry.payload) == ("dead", "main", '{"reason": "\\u0000"}')


def test_an_empty_batch_is_nothing(ledger: Ledger) -> None:
    assert intake.take_in(ledger.engine, [], [], NOW) == []


def test_a_batch_that_the_database_refuses_writes_nothing(ledger: Ledger) -> None:
    good, bad = ledger.entries(message(), message())
    bad.row["lane"] = None
    with pytest.raises(DatabaseRefused):
        intake.take_in(ledger.engine, [good, bad], [], NOW)
    assert ledger.count(jobs) == 0
    assert ledger.count(requesters) == 0


class TestTooLate:
    """``reject_if_late`` counts those who have their turn before, at the limits that they meet as it does."""

    def take(self, ledger: Ledger, *messages: bytes, limit: str = "chat") -> list[str]:
        """Take messages in with a limit of one a second, two at once; return who is told what."""
        limits = parse_limits(dict.fromkeys(("account", "chat", "send"), "off") | {limit: "1/s+2"})
        door = Intake(ledger.engine, {"main": account(limits=limits)})
        door.take_in([Arrival(raw, "worker68", None) for raw in messages], NOW)
        return ledger.told()

    def impatient(self, task_id: str, seconds: float, **more: Any) -> bytes:
        times = {"expires_at": (NOW + dt.timedelta(seconds=seconds)).timestamp(), "reject_if_late": True}
        return message(kwargs=send_fields(**times), task_id=task_id, **more)

    def test_as_many_may_be_ahead_as_leave_in_time(self, ledger: Ledger) -> None:
        ahead = [
            message() for _ in range(4)
        ]  # the third and the fourth leave after 1 s and 2 s, the next one after 3 s
        assert self.take(ledger, *ahead) == []
        assert self.take(ledger, self.impatient("in time", 3.0)) == []
        assert self.take(ledger, self.impatient("late", 3.9)) == ["late: expired"]
        assert ledger.rows()[-1].reason.startswith("more than 4 jobs of its chat are before it, so that")

    @pytest.mark.parametrize("limit", ["account", "send"])
    def test_any_limit_that_they_share_counts(self, ledger: Ledger, limit: str) -> None:
        ahead = [message() for _ in range(4)]
        assert self.take(ledger, *ahead, self.impatient("late", 2.9), limit=limit) == ["late: expired"]

    def test_those_of_the_same_batch_count(self, ledger: Ledger) -> None:
        assert self.take(ledger, message(), message(), message(), self.impatient("late", 1.0)) == ["late: expired"]

    def test_another_chat_and_those_behind_do_not_count(self, ledger: Ledger) -> None:
        others = [message(kwargs=send_fields(chat={"type": "friend", "id": 1})) for _ in range(9)]
        behind = [message(priority=9) for _ in range(9)]
        assert self.take(ledger, *others, *behind, self.impatient("in time", 0.5, priority=0)) == []

    def test_what_goes_on_at_its_next_step_is_before_it_whatever_its_priority(self, ledger: Ledger) -> None:
        fields = LEAST_FIELDS[NOTICE]
        first, second = ledger.arrive(*[message(NOTICE, fields, priority=9) for _ in range(2)])
        for attempt in (ledger.must_begin(first), ledger.must_begin(second)):
            ledger.run(partial(attempts.advance, attempt=attempt, done={"notice_id": 5}, now=NOW))
        times = {"expires_at": (NOW + dt.timedelta(seconds=0.5)).timestamp(), "reject_if_late": True}
        assert self.take(ledger, message(NOTICE, {**fields, **times}, task_id="late")) == ["late: expired"]

    def test_a_patient_job_waits_for_its_expiry(self, ledger: Ledger) -> None:
        late = message(kwargs=send_fields(expires_at=(NOW + dt.timedelta(seconds=1)).timestamp()))
        assert self.take(ledger, *[message() for _ in range(9)], late) == []
