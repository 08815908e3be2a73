"""What has ended is counted once it is committed, once a job, whoever ends it; and what waits is counted from the tables."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.parts.jobs import MUTE, NOW, SEND, message, mute_fields, send_fields
from tests.parts.ledger import Ledger
from worker68.jobs.outcome import ErrorCode, failed, in_doubt
from worker68.store import waiting
from worker68.store.endings import Ending
from worker68.store.engine import Connection, endings_of
from worker68.store.figures import count_outbox, count_waiting_jobs
from worker68.store.statements import attempts

MINUTE = dt.timedelta(minutes=1)


def endings(ledger: Ledger) -> dict[Ending, int]:
    return endings_of(ledger.engine).read()


def test_an_outcome_is_counted_once_for_all_who_asked(ledger: Ledger) -> None:
    job = ledger.send(job_id="one")
    ledger.arrive(message(kwargs=send_fields(job_id="one")))
    ledger.settle(ledger.must_begin(job))

    assert endings(ledger) == {Ending("main", SEND, "succeeded", "", False): 1}


def test_what_is_rolled_back_is_not_counted(ledger: Ledger) -> None:
    attempt = ledger.must_begin(ledger.send())

    def settle_and_fail(connection: Connection) -> None:
        attempts.settle(connection, [(attempt, failed(ErrorCode.REFUSED, "no"))], NOW)
        raise RuntimeError("the commit does not come")

    with pytest.raises(RuntimeError):
        ledger.run(settle_and_fail)
    assert endings(ledger) == {}

    ledger.settle(attempt, failed(ErrorCode.REFUSED, "no"))
    assert endings(ledger) == {Ending("main", SEND, "failed", "refused", False): 1}


def test_a_revision_is_counted_apart(ledger: Ledger) -> None:
    job = ledger.settled(in_doubt(ErrorCode.NO_VERDICT, "?"))
    ledger.revise(job.seq)

    assert endings(ledger) == {
        Ending("main", SEND, "in_doubt", "no_verdict", False): 1,
        Ending("main", SEND, "succeeded", "", True): 1,
    }


def test_jobs_that_end_without_running_are_counted_too(ledger: Ledger) -> None:
    ledger.arrive(message(kwargs={"text": "no chat"}), message(kwargs=send_fields(account="nobody")))
    cancelled = ledger.send()
    waiting.cancel(ledger.engine, [cancelled.task_id], "changed my mind", NOW)
    ledger.send(job_id="twice")
    ledger.arrive(message(kwargs=send_fields(job_id="twice", text="something else")))

    assert endings(ledger) == {
        Ending("main", SEND, "failed", "invalid_job", False): 1,
        Ending("", SEND, "failed", "unknown_account", False): 1,
        Ending("main", SEND, "cancelled", "", False): 1,
        Ending("main", SEND, "failed", "conflict", False): 1,
    }


def test_what_waits_is_counted_by_account_task_and_state(ledger: Ledger) -> None:
    first = ledger.send()
    ledger.send(now=NOW + MINUTE)
    ledger.send(send_at=(NOW + 5 * MINUTE).isoformat())
    ledger.arrive(message(MUTE, mute_fields()))
    ledger.send(account="other")
    ledger.settled()
    ledger.must_begin(ledger.send())

    found = {(row.task, row.state): row for row in count_waiting_jobs(ledger.engine, ["main"])}

    assert {key: row.number for key, row in found.items()} == {
        (SEND, "ready"): 2,
        (SEND, "deferred"): 1,
        (SEND, "sending"): 1,
        (MUTE, "ready"): 1,
    }
    assert found[SEND, "ready"].since == first.received_at
    # Before its time a job could not have run.
    assert found[SEND, "deferred"].since == NOW + 5 * MINUTE


def test_the_outbox_is_counted_with_the_age_of_its_oldest(ledger: Ledger) -> None:
    ledger.settled(reply_to="orders")
    later = ledger.send(reply_to="orders", now=NOW + MINUTE)
    ledger.settle(ledger.must_begin(later), now=NOW + MINUTE)

    found = {row.kind: row for row in count_outbox(ledger.engine, ["main"])}

    assert {kind: row.number for kind, row in found.items()} == {"reply": 2, "result": 2}
    assert found["reply"].since == NOW
    assert count_outbox(ledger.engine, ["other"]) == []
