"""The reply as producers read it: its fields, times in UTC, one id for each revision."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import msgspec
import pytest

from tests.parts.jobs import NOW
from worker68.jobs.outcome import Reply, Status, celery_deferred, celery_result, encode_reply, reply_id

REPLY = Reply(
    job_id="order-1",
    task_id="celery-1",
    task="worker68.send_message",
    account="main",
    status=Status.SUCCEEDED,
    result={"message_id": 2**62},
    error=None,
    reason=None,
    attempts=1,
    received_at=NOW,
    finished_at=NOW.astimezone(dt.timezone(dt.timedelta(hours=8))).astimezone(dt.UTC),
    metadata={"nul": "\x00", "é": "🙂"},
    revision=1,
    reply_id="r",
)


def meta(status: Status) -> Any:
    reply = msgspec.structs.replace(REPLY, status=status)
    return json.loads(celery_result(reply, encode_reply(reply)))


def test_a_reply_has_the_fields_of_the_contract_in_its_order() -> None:
    text = encode_reply(REPLY)
    assert list(json.loads(text)) == [
        "job_id",
        "task_id",
        "task",
        "account",
        "status",
        "result",
        "error",
        "attempts",
        "received_at",
        "finished_at",
        "metadata",
        "revision",
        "reply_id",
        "reason",
    ]
    assert json.loads(text)["received_at"] == "2026-11-23T12:00:00Z"
    assert json.loads(text)["metadata"] == {"nul": "\x00", "é": "🙂"}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (Status.SUCCEEDED, "SUCCESS"),
        (Status.FAILED, "FAILURE"),
        (Status.IN_DOUBT, "FAILURE"),
        (Status.EXPIRED, "FAILURE"),
        (Status.CANCELLED, "REVOKED"),
    ],
)
def test_celerys_state_follows_from_the_status(status: Status, state: str) -> None:
    result = meta(status)
    assert result["status"] == state
    assert result["task_id"] == "celery-1"
    carried = result["result"] if state == "SUCCESS" else json.loads(result["result"]["exc_message"][0])
    assert carried == json.loads(encode_reply(msgspec.structs.replace(REPLY, status=status)))


def test_a_waiting_job_is_deferred() -> None:
    waiting = json.loads(celery_deferred("celery-1"))
    assert (waiting["status"], waiting["task_id"], waiting["result"]) == ("DEFERRED", "celery-1", None)
    assert json.loads(celery_deferred("celery-1", "why"))["result"] == {"reason": "why"}


def test_a_reply_id_is_one_per_job_and_revision() -> None:
    first = reply_id("main", "order-1", NOW, 1)
    assert reply_id("main", "order-1", NOW, 1) == first
    others = {
        reply_id("main", "order-1", NOW, 2),
        reply_id("main", "order-2", NOW, 1),
        reply_id("other", "order-1", NOW, 1),
        reply_id("main", "order-1", NOW + dt.timedelta(days=40), 1),
    }
    assert len(others | {first}) == 5


def test_a_reply_id_is_the_same_wherever_the_clock_stands() -> None:
    """SQLite gives times back without an offset, PostgreSQL in the session's: the store makes both UTC before."""
    stored = replace_offset(NOW)
    assert reply_id("main", "order-1", stored, 1) == reply_id("main", "order-1", NOW, 1)


def replace_offset(when: dt.datetime) -> dt.datetime:
    return when.astimezone(dt.timezone(dt.timedelta(hours=8))).astimezone(dt.UTC)
