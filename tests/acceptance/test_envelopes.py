"""What no producer should push: each is set aside with its reason, and the worker goes on with the next job."""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.canvas import Signature

from tests.acceptance.conftest import GROUP_CHAT, SEND, Stage, envelope, name
from tests.parts.worker import PATIENCE_SECONDS

pytestmark = pytest.mark.parametrize("shared_stage", ["postgresql"], indirect=True, scope="module")

GOOD = envelope(SEND, {"chat": GROUP_CHAT, "text": "never sent"})
DEEP = "[" * 500_000 + "]" * 500_000


def changed(**changes: Any) -> dict[str, Any]:
    """Return a good envelope with parts of it replaced; None takes a part away."""
    return {key: value for key, value in (GOOD | changes).items() if value is not None}


def headers(**changes: Any) -> dict[str, Any]:
    return changed(headers={key: value for key, value in (GOOD["headers"] | changes).items() if value is not None})


UNREADABLE: dict[str, Any] = {
    "nothing": b"",
    "not JSON": b"hello",
    "binary junk": bytes(range(256)),
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "pickle": pickle.dumps(GOOD),
    "a list": [1, 2, 3],
    "null": None,
    "a number": 68,
    "a string": "abc",
    "an empty object": {},
    "half a message": json.dumps(GOOD).encode()[:-20],
    "a megabyte of nesting": DEEP,
    "nesting in the body": changed(body=DEEP),
    "no headers": changed(headers=None),
    "headers of another type": changed(headers="task"),
    "no id": headers(id=None),
    "an id that is a number": headers(id=7),
    "an id of 300 characters": headers(id="x" * 300),
    "an id with NUL": headers(id="a\x00b"),
    "no task": headers(task=None),
    "a task that is a list": headers(task=["worker68.send_message"]),
    "no body": changed(body=None),
    "body abc": changed(body="abc"),
    "a body that is an object": changed(body={"text": "x"}),
    "a body that is JSON of an object": changed(body="{}"),
    "a body of two parts": changed(body="[[], {}]"),
    "kwargs as a list": changed(body="[[], [], {}]"),
    "NaN in the body": changed(body='[[], {"text": NaN}, {}]'),
    "half a surrogate pair": changed(body='[[], {"text": "\\ud800"}, {}]'),
    "bad base64": changed(properties={"body_encoding": "base64"}),
    "base64 of no JSON": changed(properties={"body_encoding": "base64"}, body=base64.b64encode(b"\xff\xfe").decode()),
    "an unknown body_encoding": changed(properties={"body_encoding": "rot13"}),
    "the content type of pickle": changed(**{"content-type": "application/x-python-serialize"}),
    "no content type": changed(**{"content-type": None}),
    "a compressed body": headers(compression="application/x-gzip"),
    "protocol 1": {"task": SEND, "id": "x", "args": [], "kwargs": {}},
}


def as_pushed(message: Any) -> bytes:
    if isinstance(message, bytes):
        return message
    return (message if message is DEEP else json.dumps(message)).encode()


@pytest.mark.parametrize("queue", ["worker68.main", "worker68"])
@pytest.mark.parametrize("message", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_it_is_set_aside_and_the_worker_goes_on(stage: Stage, message: Any, queue: str) -> None:
    pushed = as_pushed(message)
    stage.redis.delete("worker68:dead")

    stage.push(pushed, queue)

    (entry,) = stage.wait(lambda: stage.redis.lrange("worker68:dead", 0, -1))
    dead = json.loads(entry)
    kept = base64.b64decode(dead["message_base64"]) if "message_base64" in dead else dead["message"].encode()
    assert kept == pushed
    assert dead["queue"] == queue
    assert len(dead["reason"]) > 10
    if dead["task_id"] is not None:
        assert stage.end_of(stage.celery.AsyncResult(dead["task_id"]))["error"]["code"] == "invalid_job"
    assert stage.end_of(stage.send(name()))["status"] == "succeeded"


@pytest.mark.parametrize(
    "options", [{"serializer": "pickle"}, {"compression": "gzip"}, {"compression": "zlib"}], ids=str
)
def test_celerys_other_ways_to_write_a_message_are_its_results_failure(stage: Stage, options: dict[str, Any]) -> None:
    result = stage.send(name(), options=options)

    reply = stage.end_of(result)

    assert (reply["error"]["code"], reply["revision"]) == ("invalid_job", 0)
    assert stage.dead(result.id)


def test_celerys_first_protocol_is_its_results_failure(stage: Stage) -> None:
    with Celery("older", broker=stage.redis_server.url, set_as_current=False) as older:
        older.conf.task_protocol = 1
        task_id = older.send_task(SEND, queue="worker68.main", kwargs={"chat": GROUP_CHAT, "text": name()}).id

    assert stage.end_of(stage.celery.AsyncResult(task_id))["error"]["code"] == "invalid_job"


def test_a_chain_a_chord_and_callbacks_are_refused_before_anything_is_sent(stage: Stage) -> None:
    first, second = name("first"), name("second")

    def job(words: str) -> Signature:
        task = stage.celery.signature(SEND, kwargs={"chat": GROUP_CHAT, "text": words}, queue="worker68.main")
        return task.set(immutable=True)

    attached = {
        "chain": chain(job(first), job(second)).apply_async(),
        "chord": chord([job(first), job(first)], job(second), app=stage.celery).apply_async(),
        "callbacks": job(first).apply_async(link=job(second)),
        "errbacks": job(first).apply_async(link_error=job(second)),
    }

    for part, result in attached.items():
        error = stage.end_of(result)["error"]
        assert error["code"] == "invalid_job"
        assert f"{part}: " in error["message"]
        assert "reply_to" in error["message"]
    assert (stage.frames(first), stage.frames(second)) == ([], [])
    results = group([job(first), job(first)], app=stage.celery).apply_async()
    assert [reply["status"] for reply in results.get(timeout=PATIENCE_SECONDS)] == ["succeeded"] * 2


def test_an_unknown_task_is_deferred_and_told_the_nearest_known_one(stage: Stage) -> None:
    result = stage.send_task("worker68.send_mesage", chat=GROUP_CHAT, text=name())

    stage.wait(lambda: result.state == "DEFERRED")

    assert "did you mean worker68.send_message?" in result.info["reason"]


def test_strange_but_readable_messages_run(stage: Stage) -> None:
    words = name()
    body = json.dumps([[], {"chat": GROUP_CHAT, "text": words}, {}])
    stage.push(changed(headers={"task": SEND, "id": f"odd {words}", "retries": "x", "eta": None}, body=body))
    stage.push(changed(headers={"task": SEND, "id": f"two {words}"}, body=body, properties=None))
    stage.push(changed(headers={"task": SEND, "id": f"three {words}"}, body=body, properties={"priority": 1e99}))

    stage.wait(lambda: stage.sent(words) == 3)


def test_a_wrong_time_in_the_headers_is_answered(stage: Stage) -> None:
    task_id = name()
    body = json.dumps([[], {"chat": GROUP_CHAT, "text": task_id}, {}])

    stage.push(changed(headers={"task": SEND, "id": task_id, "eta": "soon", "expires": 60}, body=body))

    error = stage.end_of(stage.celery.AsyncResult(task_id))["error"]
    assert error["code"] == "invalid_job"
    assert "eta" in error["message"]
    assert "expires" in error["message"]


def test_text_that_databases_dislike_is_sent(stage: Stage) -> None:
    words = f"{name()} \x00 \x7f \ufffe \U0010ffff ' \" ; -- %s :job_id"

    reply = stage.end_of(stage.send(words, metadata={"nul": "\x00", "deep": [[[{}]]]}))

    assert reply["status"] == "succeeded"
    assert reply["metadata"] == {"nul": "\x00", "deep": [[[{}]]]}
    assert stage.sent(words) == 1
