"""The ways back: reply lists, reply streams, and Celery's own results, as producers without our package see them."""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError

from tests.acceptance.conftest import GROUP_CHAT, SEND, Stage, name
from worker68.app import make_app
from worker68.client import JobFailed
from worker68.settings import Settings

WEEK = 7 * 86400

FIELDS = ["job_id", "task_id", "task", "account", "status", "result", "error", "attempts", "received_at", "finished_at"]
FIELDS += ["metadata", "revision", "reply_id", "reason"]

PRODUCER = """
import json, sys
from celery import Celery
url, chat, text = sys.argv[1:]
app = Celery(broker=url, backend=url)
result = app.send_task("worker68.send_message", queue="worker68.main", kwargs={"chat": json.loads(chat), "text": text})
try:
    result.get(timeout=180)
except Exception as error:
    print(json.dumps([type(error).__name__, result.state, error.args[0], "worker68" in sys.modules]))
"""


def test_a_reply_has_every_field_in_the_contracts_order(stage: Stage) -> None:
    reply_to, metadata = name(), {"order": 7, "nested": {"list": [1, None, "ü"]}}
    result = stage.send(name(), reply_to=reply_to, metadata=metadata)

    reply = stage.take_reply(reply_to)

    assert list(reply) == FIELDS
    assert reply["job_id"] == reply["task_id"] == result.id
    assert (reply["task"], reply["account"], reply["revision"]) == (SEND, "main", 1)
    assert reply["metadata"] == metadata
    received, finished = (datetime.fromisoformat(reply[field]) for field in ("received_at", "finished_at"))
    assert received.utcoffset() == finished.utcoffset() == timedelta(0)
    assert received <= finished
    assert reply["error"] is None


def test_our_own_application_puts_jobs_in_and_gets_their_results(stage: Stage) -> None:
    settings: dict[str, Any] = {
        key.lower(): stage.worker.settings[key] for key in ("REDIS_URL", "DATABASE_URL", "BRIDGE_URL")
    }
    with make_app(Settings(**settings)) as app:
        task = app.tasks[SEND]
        results = (
            task.delay(chat=GROUP_CHAT, text=name()),
            task.apply_async(kwargs={"chat": GROUP_CHAT, "text": name()}, countdown=1, priority=3),
        )
        assert [result.get(timeout=180)["status"] for result in results] == ["succeeded"] * 2
        app.backend.result_consumer.stop()


def test_the_celery_result_is_the_reply(stage: Stage) -> None:
    reply_to = name()
    result = stage.send(name(), reply_to=reply_to)

    assert result.get(timeout=180) == stage.take_reply(reply_to)
    assert result.state == "SUCCESS"


def test_unread_replies_end_after_a_week(stage: Stage) -> None:
    reply_to = name()
    result = stage.send(name(), reply_to=reply_to)
    stage.send(name(), reply_to=f"stream:{reply_to}")
    keys = [f"worker68:replies:{reply_to}", f"worker68:replies:{reply_to}:stream", f"celery-task-meta-{result.id}"]

    stage.wait(lambda: stage.redis.exists(*keys) == 3)

    stage.wait(lambda: all(WEEK - 60 <= stage.redis.ttl(key) <= WEEK for key in keys))


def test_a_stream_gets_each_reply_as_one_field(stage: Stage) -> None:
    reply_to = name()
    first = stage.send(name(), reply_to=f"stream:{reply_to}")
    second = stage.send_task(SEND, chat=GROUP_CHAT, reply_to=f"stream:{reply_to}")

    entries = stage.wait(lambda: len(stage.stream(reply_to)) == 2 and stage.stream(reply_to))

    assert [list(fields) for fields in entries] == [["reply"], ["reply"]]
    replies = {json.loads(fields["reply"])["task_id"]: json.loads(fields["reply"]) for fields in entries}
    assert replies[first.id]["status"] == "succeeded"
    assert replies[second.id]["status"] == "failed"
    assert stage.redis.exists(f"worker68:replies:{reply_to}") == 0


def test_without_reply_to_no_reply_is_published(stage: Stage) -> None:
    before = set(stage.redis.keys("worker68:replies:*"))

    assert stage.end_of(stage.send(name()))["metadata"] is None

    assert set(stage.redis.keys("worker68:replies:*")) == before


def test_a_reply_key_of_another_type_hurts_only_its_own_reply(stage: Stage) -> None:
    reply_to, other = name(), name()
    stage.redis.set(f"worker68:replies:{reply_to}", "somebody else's")

    result = stage.send(name(), reply_to=reply_to)

    stage.send(name(), reply_to=other)
    assert stage.take_reply(other)["status"] == "succeeded"
    assert stage.end_of(result)["status"] == "succeeded"
    stage.wait(lambda: stage.dead(result.id))


def test_ignore_result_is_honoured(stage: Stage) -> None:
    reply_to = name()
    result = stage.send(name(), reply_to=reply_to, options={"ignore_result": True, "countdown": 0.5})

    assert stage.take_reply(reply_to)["status"] == "succeeded"

    assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    assert stage.redis.exists(f"celery-task-meta-{result.id}") == 0


def test_a_failure_raises_the_clients_exception(stage: Stage) -> None:
    result = stage.send_task(SEND, chat=GROUP_CHAT)

    with pytest.raises(JobFailed) as raised:
        result.get(timeout=180)

    assert result.state == "FAILURE"
    assert list(json.loads(raised.value.args[0])) == FIELDS
    assert raised.value.reply["error"]["code"] == "invalid_job"


def test_a_producer_without_our_package_gets_a_stand_in_with_the_same_argument(stage: Stage, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PRODUCER, stage.redis_server.url, json.dumps(GROUP_CHAT), ""]

    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)

    kind, state, argument, knows_us = json.loads(said.stdout)
    assert (kind, state, knows_us) == ("JobFailed", "FAILURE", False)
    assert list(json.loads(argument)) == FIELDS


def test_doubt_is_a_failure_for_celery(stage: Stage) -> None:
    stage.bridge.faults.verdict = "swallowed"

    result = stage.send(name())

    assert stage.end_of(result)["status"] == "in_doubt"
    assert result.state == "FAILURE"


def test_a_waiting_job_is_deferred_for_celery(stage: Stage) -> None:
    result = stage.send(name(), send_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())

    stage.wait(lambda: result.state == "DEFERRED")

    result.revoke()
    with pytest.raises((TaskRevokedError, JobFailed)):
        result.get(timeout=180)
    assert result.state == "REVOKED"


def test_who_joins_a_waiting_job_is_deferred_too(stage: Stage) -> None:
    words, job_id = name(), name()
    fields = {"job_id": job_id, "send_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    first = stage.send(words, **fields)
    stage.wait(lambda: first.state == "DEFERRED")

    second = stage.send(words, **fields)
    stage.wait(lambda: second.state == "DEFERRED")

    first.revoke()
    assert stage.end_of(second)["status"] == "cancelled"


def test_a_cancelled_jobs_result_holds_its_reply(stage: Stage) -> None:
    reply_to = name()
    result = stage.send(name(), reply_to=reply_to, send_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    stage.wait(lambda: result.state == "DEFERRED")

    result.revoke()

    reply = stage.take_reply(reply_to)
    assert list(reply) == FIELDS
    assert (reply["status"], reply["result"], reply["attempts"]) == ("cancelled", None, 0)
    assert stage.end_of(result) == reply
