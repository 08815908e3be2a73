"""The commands' producer: a job goes to its account's queue, its reply is waited for, and a Redis that is away is said at once."""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.result import AsyncResult

from tests.parts.broadcasts import hear_broadcast
from tests.parts.environment import BRIDGE, Environment
from tests.parts.jobs import NOW, SEND, send_fields
from tests.parts.ledger import SENT, Ledger
from tests.parts.worker import wait_until
from worker68.cli.producer import Producer
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway, SettingsError
from worker68.execution.publishing import RESULT_PREFIX
from worker68.jobs.envelope import read_envelope
from worker68.jobs.outcome import ErrorCode, failed, in_doubt
from worker68.store import waiting

FIELDS = {"account": "main"} | send_fields()
AWAY = "redis://:secret@127.0.0.1:1/0"

Make = Callable[[str], Producer]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Make]:
    made: list[Producer] = []

    def make(url: str) -> Producer:
        made.append(Producer(Environment(monkeypatch, tmp_path).load(REDIS_URL=url, BRIDGE_URL=BRIDGE)))
        return made[-1]

    yield make
    for producer in made:
        consumer = producer._app.backend.result_consumer
        consumer.stop()
        # A result that is collected only now must not try to unsubscribe from a Redis that is gone.
        consumer.subscribed_to.clear()
        with producer:
            pass  # its end closes it


@pytest.fixture
def producer(make: Make, redis_url: str) -> Producer:
    return make(redis_url)


def take(client: redis.Redis, queue: str) -> bytes:
    """Take the one message of a queue."""
    found: Any = client.lpop(queue, 2)
    (message,) = found
    return bytes(message)


@pytest.mark.parametrize(("account", "queue"), [("main", "worker68.main"), ("shop", "worker68")])
def test_a_job_goes_to_its_account_or_where_all_are_known(
    producer: Producer, client: redis.Redis, account: str, queue: str
) -> None:
    fields = FIELDS | {"account": account}
    result = producer.put_in(SEND, fields)
    message = read_envelope(take(client, queue))
    assert (message.task, message.task_id, message.kwargs) == (SEND, result.id, fields)


@pytest.mark.parametrize(
    "outcome", [SENT, failed(ErrorCode.REFUSED, "no", 1021), in_doubt(ErrorCode.NO_VERDICT, "silence"), None]
)
def test_a_reply_is_returned_however_the_job_ended(
    producer: Producer, client: redis.Redis, ledger: Ledger, outcome: Any
) -> None:
    """None stands for a job that is cancelled while it waits."""
    result = producer.put_in(SEND, FIELDS)
    (job,) = ledger.arrive(take(client, "worker68.main"))
    if outcome is None:
        waiting.cancel(ledger.engine, [result.id], "called off", NOW)
    else:
        ledger.settle(ledger.must_begin(job), outcome)
    (told,) = ledger.in_outbox("result")
    client.set(f"{RESULT_PREFIX}{told.address}", told.payload)

    reply = producer.await_reply(result, 60)

    assert reply is not None
    assert (reply["task_id"], reply["status"]) == (result.id, "cancelled" if outcome is None else outcome.status)


def test_a_job_that_has_not_ended_has_no_reply(producer: Producer) -> None:
    assert producer.await_reply(producer.put_in(SEND, FIELDS), 0.1) is None


def test_messages_are_revoked_on_all_workers(producer: Producer, client: redis.Redis) -> None:
    with hear_broadcast(client) as heard:
        producer.revoke(["one", "two"])
        said = heard()
    assert (said["method"], said["arguments"]["task_id"], said["destination"]) == ("revoke", ["one", "two"], None)


@pytest.mark.parametrize(
    "ask",
    [
        lambda producer: producer.put_in(SEND, FIELDS),
        lambda producer: producer.revoke(["one"]),
        lambda producer: producer.await_reply(AsyncResult("one", app=producer._app), 30),
    ],
    ids=["put in", "revoke", "await the reply"],
)
def test_a_redis_that_is_away_is_said_and_its_password_is_not(make: Make, ask: Callable[[Producer], object]) -> None:
    producer = make(AWAY)
    with pytest.raises(RedisAway, match="does not answer") as away:
        ask(producer)
    assert "secret" not in str(away.value)


def test_a_redis_that_goes_away_during_the_wait_is_said_once(
    producer: Producer, redis_server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    result = producer.put_in(SEND, FIELDS)

    def kill_when_waited_for() -> None:
        wait_until(lambda: client.pubsub_channels(f"{RESULT_PREFIX}*"))
        redis_server.kill()

    killer = threading.Thread(target=kill_when_waited_for)
    killer.start()
    with pytest.raises(RedisAway, match=f"does not answer .*; the job {result.id} goes on without this command; "):
        producer.await_reply(result, 60)
    killer.join()
    assert caplog.messages == [], "not by Celery too"


def test_without_a_redis_url_there_is_none(make: Make) -> None:
    with pytest.raises(SettingsError, match="WORKER68_REDIS_URL is not set"):
        make("")
