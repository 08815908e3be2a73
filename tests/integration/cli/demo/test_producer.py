"""The demo's producer sends jobs by the contract alone, and hands out their replies as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.parts.broadcasts import hear_broadcast
from tests.parts.clock import Clock
from worker68.cli.demo.jobs import MUTE, SEND, DemoJob
from worker68.cli.demo.producer import DemoProducer
from worker68.clock import Deadline
from worker68.jobs.envelope import Envelope, read_envelope
from worker68.jobs.outcome import Status

SECONDS = 60
ONE = DemoJob(SEND, {"chat": {"type": "group", "id": 5}, "text": "one"})
TWO = DemoJob(MUTE, {"group_id": 5, "user_id": 7, "seconds": 60}, "two", Status.FAILED)


@pytest.fixture
def producer(redis_url: str) -> Iterator[DemoProducer]:
    with DemoProducer(redis_url) as producer:
        yield producer


def taken(client: redis.Redis) -> list[Envelope]:
    """Return what was sent, the first one first."""
    found: Any = client.lrange("worker68.main", 0, -1)
    return [read_envelope(raw) for raw in reversed(found)]


def reply(client: redis.Redis, task_id: str, status: str = "succeeded") -> None:
    client.rpush("worker68:replies:demo", json.dumps({"task_id": task_id, "status": status, "error": None}))


def look() -> None:
    """Find all as it should be."""


def never() -> None:
    pytest.fail("nothing is under way: there is nothing to look at")


def test_jobs_are_sent_as_any_celery_client_sends_them(producer: DemoProducer, client: redis.Redis) -> None:
    producer.send([ONE, TWO])
    assert [(message.task, message.kwargs) for message in taken(client)] == [
        (ONE.task, ONE.kwargs),
        (TWO.task, TWO.kwargs),
    ]
    assert producer.under_way == [ONE, TWO]


def test_endings_come_as_their_replies_come(
    producer: DemoProducer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.cli.demo.producer")
    producer.send([ONE, TWO])
    clock.pass_by(3.0)
    one, two = (message.task_id for message in taken(client))
    for task_id in ("of another", two, one):
        reply(client, task_id)
    looks: list[int] = []
    endings = list(producer.await_endings(Deadline.after(SECONDS), lambda: looks.append(1)))
    assert [(ending.job, ending.reply["task_id"], ending.as_expected) for ending in endings] == [
        (TWO, two, False),
        (ONE, one, True),
    ]
    assert [ending.waited for ending in endings] == [3.0, 3.0]
    assert len(looks) == 3, "before each reply"
    assert producer.under_way == []
    assert list(producer.await_endings(Deadline.after(SECONDS), never)) == []


def test_what_has_no_reply_in_time_stays_under_way(producer: DemoProducer, client: redis.Redis) -> None:
    producer.send([ONE, TWO])
    one, _ = (message.task_id for message in taken(client))
    reply(client, one)
    deadline = Deadline.after(SECONDS)
    for ending in producer.await_endings(deadline, look):
        assert ending.job is ONE
        deadline.at = 0.0
    assert producer.under_way == [TWO]


class WorkerGone(Exception):
    """What a look may find."""


def test_a_look_may_end_the_wait(producer: DemoProducer) -> None:
    looks: list[int] = []

    def look_twice() -> None:
        looks.append(1)
        if len(looks) == 2:
            raise WorkerGone

    producer.send([ONE])
    with pytest.raises(WorkerGone):
        next(producer.await_endings(Deadline.after(SECONDS), look_twice))
    assert producer.under_way == [ONE]


def test_jobs_that_are_to_be_cancelled_are_revoked_once_all_are_sent(
    producer: DemoProducer, client: redis.Redis
) -> None:
    unwanted = DemoJob(SEND, {"text": "never mind"}, "revoked", revoke=True)
    with hear_broadcast(client) as heard:
        producer.send([ONE, unwanted, TWO])
        said = heard()
    assert len(taken(client)) == 3
    assert (said["method"], said["arguments"]["task_id"]) == ("revoke", [taken(client)[1].task_id])


def test_no_worker_hears(producer: DemoProducer) -> None:
    assert producer.worker_hears() is False
