"""One job_id is one thing to do: however often it is asked for, it is sent once, and everyone who asked is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP_CHAT, SEND, Stage, envelope, name

pytestmark = pytest.mark.parametrize("shared_stage", ["sqlite", "postgresql"], indirect=True, scope="module")


def test_twice_at_once_is_sent_once_and_answers_both(stage: Stage) -> None:
    words, job_id, first_list, second_list = name(), name(), name(), name()
    stage.bridge.faults.extra_verdict_delay_seconds = 0.5

    first = stage.send(words, job_id=job_id, reply_to=first_list, metadata={"who": 1})
    second = stage.send(words, job_id=job_id, reply_to=f"stream:{second_list}", metadata={"who": 2})

    reply = stage.take_reply(first_list)
    (entry,) = stage.wait(lambda: stage.stream(second_list))
    other = json.loads(entry["reply"])
    assert (reply["task_id"], reply["metadata"]) == (first.id, {"who": 1})
    assert (other["task_id"], other["metadata"]) == (second.id, {"who": 2})
    assert reply | {"task_id": "", "metadata": None} == other | {"task_id": "", "metadata": None}
    assert stage.end_of(first) == reply
    assert stage.end_of(second) == other
    assert len(stage.frames(words)) == 1


def test_after_the_end_the_same_reply_comes_at_once(stage: Stage) -> None:
    words, job_id, reply_to = name(), name(), name()
    first = stage.end_of(stage.send(words, job_id=job_id))

    again = stage.send(words, job_id=job_id, reply_to=reply_to)

    assert stage.take_reply(reply_to) == first | {"task_id": again.id}
    assert stage.end_of(again)["reply_id"] == first["reply_id"]
    assert len(stage.frames(words)) == 1


def test_a_crowd_in_one_batch_is_sent_once(stage: Stage) -> None:
    words, job_id, reply_to = name(), name(), name()
    messages = [
        json.dumps(envelope(SEND, {"chat": GROUP_CHAT, "text": words, "job_id": job_id, "reply_to": reply_to}))
        for _ in range(50)
    ]

    stage.redis.lpush("worker68.main", *messages[:25])
    stage.redis.lpush("worker68", *messages[25:])

    replies = [stage.take_reply(reply_to) for _ in messages]
    assert len({reply["task_id"] for reply in replies}) == 50
    assert len({reply["reply_id"] for reply in replies}) == 1
    assert {reply["status"] for reply in replies} == {"succeeded"}
    assert len(stage.frames(words)) == 1


def test_the_same_raw_message_pushed_twice_is_one_job(stage: Stage) -> None:
    words = name()
    message = json.dumps(envelope(SEND, {"chat": GROUP_CHAT, "text": words}, task_id=name()))
    task_id = json.loads(message)["headers"]["id"]

    stage.push(message)
    stage.push(message, "worker68")
    stage.end_of(stage.celery.AsyncResult(task_id))
    stage.push(message)

    assert stage.end_of(stage.send(name()))["status"] == "succeeded"
    stage.wait(lambda: stage.redis.llen("worker68.main") + stage.redis.llen("worker68") == 0)
    assert len(stage.frames(words)) == 1


def test_a_new_task_id_is_a_new_job(stage: Stage) -> None:
    words = name()

    replies = [stage.end_of(stage.send(words)) for _ in range(2)]

    assert len({reply["job_id"] for reply in replies}) == 2
    assert stage.sent(words) == 2


def test_other_content_is_a_conflict_and_leaves_the_first_alone(stage: Stage) -> None:
    words, other_words, job_id, reply_to = name(), name(), name(), name()
    stage.bridge.faults.extra_verdict_delay_seconds = 0.5

    first = stage.send(words, job_id=job_id)
    second = stage.send(other_words, job_id=job_id, reply_to=reply_to, metadata={"n": 2})

    conflict = stage.take_reply(reply_to)
    assert (conflict["status"], conflict["error"]["code"]) == ("failed", "conflict")
    assert (conflict["task_id"], conflict["job_id"], conflict["metadata"]) == (second.id, job_id, {"n": 2})
    assert stage.end_of(second) == conflict
    assert stage.end_of(first)["status"] == "succeeded"
    assert stage.frames(other_words) == []
    row = stage.row(job_id)
    assert row is not None
    assert row["status"] == "succeeded"


def test_another_task_under_the_same_job_id_is_a_conflict(stage: Stage) -> None:
    job_id = name()
    stage.end_of(stage.send(name(), job_id=job_id))

    reply = stage.end_of(stage.send_task("worker68.sync_groups", job_id=job_id))

    assert reply["error"]["code"] == "conflict"


def test_defaults_written_out_are_the_same_content(stage: Stage) -> None:
    words, job_id = name(), name()
    stage.end_of(stage.send(words, job_id=job_id))

    chat = dict(reversed(GROUP_CHAT.items()))
    fields: dict[str, Any] = {"quote": None, "mentions": [], "account": "main", "ordered": False, "metadata": {"x": 1}}
    again = stage.end_of(
        stage.send(words, chat=chat, job_id=job_id, send_at=0, **fields, options={"priority": 9, "countdown": 3600})
    )

    assert again["status"] == "succeeded"
    assert len(stage.frames(words)) == 1


def test_a_repeat_may_wait_for_a_job_that_is_deferred(stage: Stage) -> None:
    words, job_id = name(), name()
    first = stage.send(words, job_id=job_id, options={"countdown": 1.5})
    stage.wait(lambda: stage.row(job_id))

    second = stage.send(words, job_id=job_id)

    assert stage.end_of(first)["status"] == stage.end_of(second)["status"] == "succeeded"
    assert len(stage.frames(words)) == 1


def test_ignoring_one_result_does_not_ignore_the_others(stage: Stage) -> None:
    words, job_id = name(), name()
    stage.bridge.faults.extra_verdict_delay_seconds = 0.5

    loud = stage.send(words, job_id=job_id)
    silent = stage.send(words, job_id=job_id, options={"ignore_result": True})

    assert stage.end_of(loud)["status"] == "succeeded"
    assert stage.redis.exists(f"celery-task-meta-{silent.id}") == 0
