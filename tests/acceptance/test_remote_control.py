"""Celery's own tools at a worker: inspect, events, revoke, shutdown. No message text shows in any of them, nor in the log."""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP_CHAT, SEND, Stage, envelope, name
from tests.parts.worker import PATIENCE_SECONDS
from worker68.clock import Deadline
from worker68.jobs.kinds import KINDS

STAGE = {"LOG_LEVEL": "debug", "accounts": {"second": {}}}


def inspect(stage: Stage, what: str) -> Any:
    replies = getattr(stage.celery.control.inspect(timeout=PATIENCE_SECONDS, limit=1), what)()
    (reply,) = replies.values()
    return reply


def watch_events(stage: Stage, words: str, **fields: Any) -> tuple[str, list[dict[str, Any]]]:
    """Send a message; return its Celery id and all events until its task has ended."""
    seen: list[dict[str, Any]] = []
    with stage.celery.connection_for_read() as connection:
        receiver = stage.celery.events.Receiver(connection, handlers={"*": seen.append})
        with receiver.consumer_context() as (listening, _, _):
            with contextlib.suppress(TimeoutError):
                listening.drain_events(timeout=0.5)  # only now does it listen: the first events would be missed
            task_id: str = stage.send(words, metadata={"note": words}, **fields).id
            deadline = Deadline.after(PATIENCE_SECONDS)
            while types_of(seen, task_id)[-1:] not in (["task-succeeded"], ["task-failed"]):
                assert not deadline.passed, seen
                try:
                    listening.drain_events(timeout=1)
                except TimeoutError:
                    continue
    return task_id, seen


def types_of(events: list[dict[str, Any]], task_id: str) -> list[str]:
    return [event["type"] for event in events if event.get("uuid") == task_id]


def test_ping(stage: Stage) -> None:
    assert inspect(stage, "ping") == {"ok": "pong"}


def test_registered_tasks_are_ours(stage: Stage) -> None:
    assert {task for task in inspect(stage, "registered") if task.startswith("worker68.")} == set(KINDS)


def test_active_queues(stage: Stage) -> None:
    queues = {queue["name"] for queue in inspect(stage, "active_queues")}

    assert queues == {"worker68", "worker68.main", "worker68.second"}


def test_stats(stage: Stage) -> None:
    stats = inspect(stage, "stats")

    assert stats["pool"]["max-concurrency"] == 128
    assert stats["broker"]["transport"] == "redis"
    json.dumps(stats)


def test_active_shows_the_job_but_not_its_text(stage: Stage) -> None:
    stage.bridge.faults.extra_verdict_delay_seconds = 1.5
    words = name("secret")
    result = stage.send(words)
    stage.wait(lambda: stage.frames(words))

    (active,) = inspect(stage, "active")

    assert (active["id"], active["name"]) == (result.id, SEND)
    assert words not in json.dumps(active)
    assert stage.end_of(result)["status"] == "succeeded"
    stage.wait(lambda: inspect(stage, "active") == [])


@pytest.mark.parametrize("what", ["reserved", "scheduled", "revoked", "conf", "report", "query_task"])
def test_the_other_questions_are_answered_without_text(stage: Stage, what: str) -> None:
    words = name("secret")
    waiting = stage.send(words, send_at=4_000_000_000)
    stage.wait(lambda: stage.row(waiting.id))
    if what == "query_task":
        (reply,) = stage.celery.control.inspect(timeout=PATIENCE_SECONDS, limit=1).query_task(waiting.id).values()
    else:
        reply = inspect(stage, what)

    assert words not in repr(reply)
    waiting.revoke()
    assert stage.end_of(waiting)["status"] == "cancelled"


def test_a_job_on_a_queue_that_is_not_ours_fails_in_words(stage: Stage) -> None:
    words, queue = name(), "elsewhere"
    stage.celery.control.add_consumer(queue, reply=True, timeout=PATIENCE_SECONDS, limit=1)

    stage.send(words, queue=queue)

    stage.worker.wait(lambda: "send it there" in stage.worker.log_since_start)
    stage.celery.control.cancel_consumer(queue, reply=True, timeout=PATIENCE_SECONDS, limit=1)
    assert stage.frames(words) == []
    assert words not in stage.worker.log_since_start


def test_events_tell_the_way_of_a_job_without_its_text(stage: Stage) -> None:
    stage.end_of(stage.send(name()))  # before the bridge is ready, a job is deferred
    words = name("secret")

    task_id, seen = watch_events(stage, words)

    assert types_of(seen, task_id) == ["task-received", "task-started", "task-succeeded"]
    assert {event["name"] for event in seen if event.get("uuid") == task_id and "name" in event} == {SEND}
    assert words not in json.dumps(seen, default=str)


def test_a_failed_job_is_a_failed_task_without_its_text(stage: Stage) -> None:
    stage.bridge.faults.verdict = "not_sent"
    words = name("secret")

    task_id, seen = watch_events(stage, words)

    assert types_of(seen, task_id) == ["task-received", "task-started", "task-failed"]
    assert "not_sent" in json.dumps(seen, default=str)
    assert words not in json.dumps(seen, default=str)


def test_revoke_answers(stage: Stage) -> None:
    task_id = name()

    (reply,) = stage.celery.control.revoke(task_id, reply=True, timeout=PATIENCE_SECONDS, limit=1)

    (answer,) = reply.values()
    assert answer == {"ok": f"{task_id}: 1 not seen yet, cancelled if it comes within a day"}


def test_celerys_time_limits_end_no_job(stage: Stage) -> None:
    stage.celery.control.time_limit(SEND, soft=1, hard=1, reply=True, timeout=PATIENCE_SECONDS, limit=1)
    stage.bridge.faults.extra_verdict_delay_seconds = 1.5

    assert stage.end_of(stage.send(name()))["status"] == "succeeded"


def test_message_text_is_in_no_line_of_the_log(stage: Stage) -> None:
    secret = name("secret")
    faults = stage.bridge.faults

    stage.end_of(stage.send(secret, quote={"message_id": 1, "text": secret, "user_id": 2, "name": secret}))
    stage.end_of(stage.send(secret, txt=secret))
    stage.end_of(stage.send(secret, chat={"type": "group", "id": 5}))
    stage.end_of(stage.send(secret, chat=secret, metadata=secret))
    stage.end_of(stage.send_task(SEND, options={"args": [secret]}, chat=GROUP_CHAT, text=secret))
    faults.busy_sends.set(1)
    stage.end_of(stage.send(secret))
    faults.verdict = "swallowed"
    stage.end_of(stage.send(secret))
    faults.verdict = "not_sent"
    stage.end_of(stage.send(secret))
    stage.push(secret)
    stage.push(envelope(SEND, {"chat": GROUP_CHAT, "text": secret}, task_id="no id\n"))
    stage.push(envelope(f"worker68.{name()}", {"text": secret}))
    stage.wait(lambda: stage.dead(secret) and not stage.redis.llen("worker68.main"))
    assert stage.end_of(stage.send(secret))["status"] == "failed"

    assert secret not in stage.worker.log


def test_shutdown_by_remote_control_ends_the_process_in_order(stage: Stage) -> None:
    stage.celery.control.shutdown()

    assert stage.worker.wait_for_end() == 0
    assert "Traceback" not in stage.worker.log_since_start
