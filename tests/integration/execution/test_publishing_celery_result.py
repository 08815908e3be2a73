"""Celery's own way to the answer: ``AsyncResult.get()`` over what the relay publishes, with Celery's real Redis backend."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError

from tests.parts.jobs import NOW, message, send_fields
from tests.parts.ledger import SENT, Ledger
from tests.parts.worker import wait_until
from worker68.client import JobFailed
from worker68.execution.relay import Relay
from worker68.jobs.outcome import ErrorCode, Outcome, failed, in_doubt
from worker68.store import waiting

SECONDS = 60


@pytest.fixture
def producer(redis_url: str) -> Iterator[Any]:
    """A producer that knows nothing of worker68."""
    app = Celery("producer", broker=redis_url, backend=redis_url, set_as_current=False)
    yield app
    app.backend.result_consumer.stop()
    app.close()


def end(sqlite: Ledger, relay: Relay, outcome: Outcome) -> None:
    (job,) = sqlite.arrive(message(kwargs=send_fields(metadata={"é": "\x00"}), task_id="t"))
    sqlite.settle(sqlite.must_begin(job), outcome)
    relay.wake()


def test_a_success_is_the_replys_object(relay: Relay, sqlite: Ledger, producer: Any) -> None:
    end(sqlite, relay, SENT)
    reply = producer.AsyncResult("t").get(timeout=SECONDS)
    assert (reply["status"], reply["result"], reply["metadata"]) == ("succeeded", {"message_id": 77}, {"é": "\x00"})
    assert producer.AsyncResult("t").state == "SUCCESS"


@pytest.mark.parametrize(
    "outcome", [failed(ErrorCode.REFUSED, "no", 1021), in_doubt(ErrorCode.NO_VERDICT, "?")], ids=lambda o: str(o.status)
)
def test_anything_else_raises_an_exception_with_the_reply(
    relay: Relay, sqlite: Ledger, producer: Any, outcome: Outcome
) -> None:
    end(sqlite, relay, outcome)
    with pytest.raises(JobFailed) as raised:
        producer.AsyncResult("t").get(timeout=SECONDS)
    assert raised.value.reply["status"] == outcome.status
    assert json.loads(raised.value.args[0])["task_id"] == "t"
    assert producer.AsyncResult("t").state == "FAILURE"


def test_without_our_package_it_is_celerys_stand_in_with_the_same_argument(
    relay: Relay, sqlite: Ledger, producer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "worker68.client")
    end(sqlite, relay, failed(ErrorCode.REFUSED, "no"))
    with pytest.raises(Exception, match="refused") as raised:
        producer.AsyncResult("t").get(timeout=SECONDS)
    assert type(raised.value).__name__ == "JobFailed"
    assert not isinstance(raised.value, JobFailed)
    assert json.loads(raised.value.args[0])["error"]["code"] == "refused"


def test_a_cancelled_job_is_revoked(relay: Relay, sqlite: Ledger, producer: Any) -> None:
    sqlite.arrive(message(task_id="t"))
    waiting.cancel(sqlite.engine, ["t"], "revoked", NOW)
    relay.wake()
    with pytest.raises((JobFailed, TaskRevokedError)):
        producer.AsyncResult("t").get(timeout=SECONDS)
    assert producer.AsyncResult("t").state == "REVOKED"


def test_who_waits_goes_on_waiting_while_it_is_deferred(relay: Relay, sqlite: Ledger, producer: Any) -> None:
    got: list[Any] = []
    waiter = threading.Thread(target=lambda: got.append(producer.AsyncResult("t").get(timeout=SECONDS)), daemon=True)
    waiter.start()
    relay.defer([("t", 0.0)])
    wait_until(lambda: producer.AsyncResult("t").state == "DEFERRED")
    assert not got
    end(sqlite, relay, SENT)
    waiter.join(SECONDS)
    assert [reply["status"] for reply in got] == ["succeeded"]


def test_a_double_gets_its_own_result(relay: Relay, sqlite: Ledger, producer: Any) -> None:
    end(sqlite, relay, SENT)
    sqlite.arrive(message(kwargs=send_fields(job_id="t"), task_id="double"))
    relay.wake()
    assert producer.AsyncResult("double").get(timeout=SECONDS)["task_id"] == "double"
