"""A known idempotency key runs nothing: same content joins, other content conflicts, an invalid message holds no key."""

from __future__ import annotations

from tests.parts.jobs import MUTE, message, mute_fields, send_fields
from tests.parts.ledger import Ledger
from worker68.jobs.outcome import ErrorCode, Status, failed, in_doubt
from worker68.jobs.states import Event
from worker68.store import waiting
from worker68.store.tables import jobs


def ask(task_id: str, text: str = "hello", **fields: object) -> bytes:
    return message(kwargs=send_fields(job_id="a", text=text, **fields), task_id=task_id)


def test_whoever_joins_a_waiting_job_gets_its_reply(ledger: Ledger) -> None:
    (job,) = ledger.arrive(ask("1", reply_to="first", metadata={"n": 1}))
    assert ledger.arrive(ask("2", reply_to="second", metadata={"n": 2})) == []
    assert ledger.in_outbox() == []
    assert [entry.address for entry in ledger.in_outbox("deferred")] == ["2"]
    assert ledger.settle(ledger.must_begin(job))
    replies = ledger.replies()
    assert [(address, reply["task_id"], reply["metadata"]) for address, reply in replies] == [
        ("first", "1", {"n": 1}),
        ("second", "2", {"n": 2}),
    ]
    assert len({reply["reply_id"] for _, reply in replies}) == 1
    assert ledger.told() == ["1: succeeded", "2: succeeded"]


def test_whoever_joins_while_it_is_being_sent_gets_its_reply(ledger: Ledger) -> None:
    (job,) = ledger.arrive(ask("1"))
    attempt = ledger.must_begin(job)
    assert ledger.arrive(ask("2")) == []
    assert ledger.settle(attempt)
    assert ledger.told() == ["1: succeeded", "2: succeeded"]


def test_whoever_joins_after_the_end_gets_the_reply_at_once_and_later_revisions_too(ledger: Ledger) -> None:
    (job,) = ledger.arrive(ask("1"))
    assert ledger.settle(ledger.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "?"))
    ledger.clear_outbox()
    assert ledger.arrive(ask("2", reply_to="late")) == []
    assert ledger.told() == ["2: no_verdict"]
    ledger.clear_outbox()
    assert ledger.revise(job.seq)
    assert ledger.told() == ["1: succeeded", "2: succeeded"]
    assert [reply["revision"] for _, reply in ledger.replies()] == [2]


def test_doubles_within_a_batch_are_one_job(ledger: Ledger) -> None:
    taken = ledger.take_in(ask("1"), ask("2"), ask("1"))
    assert [job is not None for job in taken] == [True, False, False]
    assert ledger.requesters(ledger.rows()[0].seq) == ["1", "2"]


def test_doubles_of_what_ends_at_once_all_get_its_reply(ledger: Ledger) -> None:
    ledger.suppress("group", 389284)
    ledger.take_in(ask("1"), ask("2"))
    ledger.take_in(ask("3"))
    assert ledger.told() == ["1: suppressed", "2: suppressed", "3: suppressed"]


def test_other_content_conflicts_and_leaves_the_first_job_alone(ledger: Ledger) -> None:
    (job,) = ledger.arrive(ask("1"))
    before = ledger.rows()
    assert ledger.arrive(ask("2", text="other", reply_to="orders", metadata={"n": 2})) == []
    assert ledger.arrive(message(MUTE, mute_fields(job_id="a"), task_id="3")) == []
    assert ledger.rows() == before
    assert ledger.told() == ["2: conflict", "3: conflict"]
    ((_, reply),) = ledger.replies()
    assert (reply["job_id"], reply["task_id"], reply["metadata"]) == ("a", "2", {"n": 2})
    ledger.clear_outbox()
    assert ledger.settle(ledger.must_begin(job))
    assert ledger.told() == ["1: succeeded"]


def test_other_content_in_the_same_batch_conflicts_too(ledger: Ledger) -> None:
    taken = ledger.take_in(ask("1"), ask("2", text="other"), ask("3"))
    assert [job is not None for job in taken] == [True, False, False]
    assert ledger.told() == ["2: conflict"]
    assert ledger.requesters(ledger.rows()[0].seq) == ["1", "3"]


def test_a_key_holds_within_its_account_only(ledger: Ledger) -> None:
    assert len(ledger.arrive(ask("1"), ask("2", text="x", account="other"))) == 2


def test_an_invalid_message_holds_no_key(ledger: Ledger) -> None:
    assert ledger.arrive(ask("1", text="")) == []
    (job,) = ledger.arrive(ask("2"))
    assert ledger.told() == ["1: invalid_job"]
    assert [row.seq for row in ledger.rows()] == [job.seq]
    assert ledger.settle(ledger.must_begin(job))
    assert ledger.told() == ["1: invalid_job", "2: succeeded"]


def test_an_invalid_message_holds_no_key_within_a_batch_either(ledger: Ledger) -> None:
    taken = ledger.take_in(ask("1", text=""), ask("2"), ask("3"))
    assert [job is not None for job in taken] == [False, True, False]
    assert ledger.told() == ["1: invalid_job"]
    (row,) = ledger.rows()
    assert ledger.requesters(row.seq) == ["2", "3"]


def test_a_valid_message_after_an_invalid_one_stands_where_it_was_popped(ledger: Ledger) -> None:
    ledger.take_in(ask("1", text=""), message(task_id="between"), ask("2"))
    assert [ledger.requesters(row.seq) for row in ledger.rows()] == [["between"], ["2"]]


def test_an_invalid_message_leaves_the_job_that_holds_its_key_alone(ledger: Ledger) -> None:
    (job,) = ledger.arrive(ask("1"))
    before = ledger.rows()
    ledger.arrive(ask("2", text=""))
    assert ledger.rows() == before
    assert ledger.told() == ["2: invalid_job"]
    assert ledger.requesters(job.seq) == ["1"]


def test_invalid_messages_with_one_key_are_each_told_what_is_wrong(ledger: Ledger) -> None:
    ledger.take_in(ask("1", text="", reply_to="orders"), ask("2", mentions=5, reply_to="orders"))
    ledger.take_in(ask("3", ordered=5, reply_to="orders"))
    by_task = {reply["task_id"]: reply["error"]["message"] for _, reply in ledger.replies()}
    assert by_task["1"].startswith("text: ")
    assert by_task["2"].startswith("mentions: ")
    assert by_task["3"].startswith("ordered: ")
    assert ledger.count(jobs) == 1


def test_a_job_that_failed_holds_its_key(ledger: Ledger) -> None:
    (job,) = ledger.arrive(ask("1"))
    waiting.end_waiting(ledger.engine, [job.seq], Event.REFUSE, failed(ErrorCode.NOT_PERMITTED, "no"), job.received_at)
    assert ledger.arrive(ask("2")) == []
    assert ledger.told() == ["1: not_permitted", "2: not_permitted"]
    assert ledger.row(job.seq).status == Status.FAILED


def test_unknown_tasks_differ_by_their_own_fields_only(ledger: Ledger) -> None:
    def later(task_id: str, **fields: object) -> bytes:
        return message("worker68.later", {"job_id": "a", "thing": 1} | fields, task_id=task_id)

    ledger.take_in(later("1"), later("2", metadata={"n": 2}, reply_to="orders"), later("3", thing=2))
    assert ledger.told() == ["3: conflict"]
    assert ledger.requesters(ledger.rows()[0].seq) == ["1", "2"]
