"""When a job runs, and when not any more: send_at, eta, countdown, expiry, revoke, also over a restart of the worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP_CHAT, SEND, Stage, envelope, name

pytestmark = pytest.mark.parametrize("shared_stage", ["sqlite", "postgresql"], indirect=True, scope="module")

#: Longer than any test holds a verdict.
STAGE = {"VERDICT_TIMEOUT": 60}


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.fixture(scope="module", autouse=True)
def doomed(shared_stage: Stage) -> str:
    """Return the id of a job that expires an hour before it is due. Nothing hurries that, so it starts with the module."""
    task_id: str = shared_stage.send(name(), send_at=soon(3600).isoformat(), expires_at=soon(1).isoformat()).id
    return task_id


@pytest.mark.parametrize(
    "ask",
    [
        lambda when: {"send_at": when.isoformat()},
        lambda when: {"send_at": when.timestamp()},
        lambda when: {"send_at": when.astimezone(timezone(timedelta(hours=8))).isoformat()},
        lambda when: {"options": {"eta": when}},
        lambda when: {"options": {"countdown": (when - datetime.now(UTC)).total_seconds()}},
        lambda when: {"send_at": when.isoformat(), "options": {"eta": when - timedelta(seconds=1)}},
    ],
    ids=["send_at", "send_at in epoch seconds", "send_at elsewhere", "eta", "countdown", "the later of two"],
)
def test_nothing_is_sent_before_its_time(stage: Stage, ask: Any) -> None:
    when, words = soon(1), name()

    result = stage.send(words, **ask(when))

    reply = stage.end_of(result)
    ended_at = datetime.now(UTC)
    assert reply["status"] == "succeeded"
    assert ended_at >= when
    assert datetime.fromisoformat(reply["finished_at"]) >= when - timedelta(milliseconds=10)
    assert stage.sent(words) == 1


def test_a_time_in_the_past_means_now(stage: Stage) -> None:
    assert stage.end_of(stage.send(name(), send_at=soon(-86400).isoformat()))["status"] == "succeeded"


def test_a_deferred_job_does_not_hold_up_its_chat(stage: Stage) -> None:
    later, now = name(), name()
    deferred = stage.send(later, send_at=soon(3600).isoformat())
    stage.wait(lambda: stage.row(deferred.id))

    assert stage.end_of(stage.send(now))["status"] == "succeeded"

    row = stage.row(deferred.id)
    assert row is not None
    assert row["state"] == "deferred"
    assert stage.frames(later) == []
    deferred.revoke()


def test_deferred_jobs_outlive_a_restart(stage: Stage) -> None:
    words, tomorrow = name(), name()
    due = stage.send(words, send_at=soon(12).isoformat())
    far = stage.send(tomorrow, send_at=soon(86400).isoformat())
    stage.wait(lambda: stage.row(due.id) and stage.row(far.id))

    assert stage.worker.stop() == 0
    assert stage.frames(words) == []
    stage.worker.start()
    stage.worker.wait_ready()

    assert stage.end_of(due)["status"] == "succeeded"
    assert stage.sent(words) == 1
    row = stage.row(far.id)
    assert row is not None
    assert row["state"] == "deferred"
    far.revoke()
    assert stage.end_of(far)["status"] == "cancelled"


@pytest.mark.parametrize("way", ["expires", "expires_at", "raw header without an offset"])
def test_what_has_expired_when_it_arrives_is_not_sent(stage: Stage, way: str) -> None:
    words, past = name(), soon(-5)
    if way == "expires":
        result = stage.send(words, options={"expires": past})
    elif way == "expires_at":
        result = stage.send(words, expires_at=past.timestamp())
    else:
        result = stage.celery.AsyncResult(name())
        fields = {"chat": GROUP_CHAT, "text": words}
        expires = past.replace(tzinfo=None).isoformat()
        stage.push(envelope(SEND, fields, task_id=result.id, expires=expires))

    reply = stage.end_of(result)
    assert (reply["status"], reply["result"], reply["attempts"]) == ("expired", None, 0)
    assert result.state == "FAILURE"
    assert stage.frames(words) == []


def test_the_earlier_of_two_expiries_counts(stage: Stage) -> None:
    reply = stage.end_of(stage.send(name(), expires_at=soon(-5).isoformat(), options={"expires": 3600}))

    assert reply["status"] == "expired"


def test_a_job_expires_while_the_bridge_is_down(stage: Stage) -> None:
    words, expiry = name(), soon(1)
    stage.bridge.stop()
    doomed = stage.send(words, expires_at=expiry.isoformat())
    patient = stage.send(name(), expires_at=soon(3600).isoformat())
    stage.wait(lambda: stage.row(doomed.id) and datetime.now(UTC) > expiry)

    stage.bridge.start()

    assert stage.end_of(doomed)["status"] == "expired"
    assert stage.end_of(patient)["status"] == "succeeded"
    assert stage.frames(words) == []


def test_reject_if_late_ends_at_once_what_cannot_be_in_time(stage: Stage) -> None:
    words = name()

    late = stage.send(
        words, send_at=soon(7200).isoformat(), expires_at=soon(3600).isoformat(), reject_if_late=True, job_id=words
    )

    assert stage.end_of(late)["status"] == "expired"
    row = stage.row(words)
    assert row is not None
    assert row["state"] == "ended"
    assert row["reason"]


def test_reject_if_late_does_not_reject_what_can_be_in_time(stage: Stage) -> None:
    words = name()

    reply = stage.end_of(stage.send(words, expires_at=soon(3600).isoformat(), reject_if_late=True))

    assert reply["status"] == "succeeded"


def test_what_has_expired_before_it_was_due_says_so_without_being_sent(stage: Stage, doomed: str) -> None:
    assert stage.end_of(stage.celery.AsyncResult(doomed))["status"] == "expired"
    assert stage.frames(doomed) == []


def test_revoke_cancels_what_waits(stage: Stage) -> None:
    words, reply_to = name(), name()
    result = stage.send(words, send_at=soon(3600).isoformat(), reply_to=reply_to)
    stage.wait(lambda: stage.row(result.id))

    result.revoke()

    assert stage.take_reply(reply_to)["status"] == "cancelled"
    row = stage.row(result.id)
    assert row is not None
    assert (row["state"], row["status"]) == ("ended", "cancelled")
    assert row["reason"]


def test_revoke_before_arrival_cancels_on_arrival(stage: Stage) -> None:
    words, task_id = name(), name()
    stage.celery.control.revoke(task_id)
    stage.wait(lambda: stage.rows("SELECT task_id FROM cancellations WHERE task_id = :job_id", task_id))

    stage.push(envelope(SEND, {"chat": GROUP_CHAT, "text": words}, task_id=task_id))

    assert stage.end_of(stage.celery.AsyncResult(task_id))["status"] == "cancelled"
    assert stage.frames(words) == []


def test_revoke_after_the_end_changes_nothing(stage: Stage) -> None:
    result = stage.send(name())
    reply = stage.end_of(result)

    result.revoke()
    stage.worker.wait_for_log("jobs_cancelled", result.id)

    assert stage.end_of(stage.celery.AsyncResult(result.id)) == reply
    assert reply["status"] == "succeeded"


def test_revoke_does_not_touch_what_is_being_sent(stage: Stage) -> None:
    stage.bridge.faults.hold_verdicts = True
    words = name()
    result = stage.send(words)
    stage.wait(lambda: stage.frames(words))

    result.revoke(terminate=True)
    stage.worker.wait_for_log("jobs_cancelled", result.id)
    stage.bridge.faults.clear()

    assert stage.end_of(result)["status"] == "succeeded"
    assert stage.sent(words) == 1


def test_revoke_of_one_of_many_ids_of_a_job_is_for_the_job(stage: Stage) -> None:
    words, job_id = name(), name()
    first = stage.send(words, job_id=job_id, send_at=soon(3600).isoformat())
    stage.wait(lambda: stage.row(job_id))
    second = stage.send(words, job_id=job_id)
    stage.wait(
        lambda: (
            len(stage.rows("SELECT r.id FROM requesters r JOIN jobs USING (seq) WHERE job_id = :job_id", job_id)) == 2
        )
    )

    second.revoke()

    assert stage.end_of(first)["status"] == stage.end_of(second)["status"] == "cancelled"
