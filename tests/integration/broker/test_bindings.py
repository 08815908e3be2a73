"""One message reaches one queue: also where earlier versions have bound several to one exchange."""

# mypy: disallow-untyped-calls=False
# because kombu's functions are not typed.

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Producer

from worker68.broker.bindings import KEYS, bind_queues

OWN = b"worker68\x06\x16\x06\x16worker68"
SHARED = b"worker68\x06\x16\x06\x16worker68.main"
#: A producer's own, by which one message reaches one queue.
KEPT = b"worker68.main\x06\x16\x06\x16worker68.main"


@pytest.fixture
def kombu(redis_url: str) -> Iterator[Connection]:
    with Connection(redis_url) as connection:
        yield connection


def publish(connection: Connection, exchange: str, routing_key: str) -> None:
    Producer(connection).publish("x", exchange=exchange, routing_key=routing_key)


def test_a_message_that_names_the_exchange_reaches_its_queue(client: redis.Redis, kombu: Connection) -> None:
    bind_queues(client, ["worker68", "worker68.main"])

    publish(kombu, "worker68.main", "worker68.main")

    assert (client.llen("worker68"), client.llen("worker68.main")) == (0, 1)


def test_it_is_bound_as_kombu_binds_it(client: redis.Redis, kombu: Connection) -> None:
    Queue("worker68", Exchange("worker68"), routing_key="worker68")(kombu).declare()
    by_kombu = {key: client.smembers(key) for key in client.scan_iter("_kombu.*")}
    client.flushdb()

    bind_queues(client, ["worker68"])

    assert {key: client.smembers(key) for key in client.scan_iter("_kombu.*")} == by_kombu


def test_a_message_for_the_front_door_reaches_no_other_queue(client: redis.Redis, kombu: Connection) -> None:
    """Earlier versions bound all queues to the front door's exchange with one routing key."""
    for key in KEYS:
        client.sadd(key % "worker68", SHARED, KEPT)

    bind_queues(client, ["worker68", "worker68.main"])

    publish(kombu, "worker68", "worker68")
    assert (client.llen("worker68"), client.llen("worker68.main")) == (1, 0)
    for key in KEYS:
        assert client.smembers(key % "worker68") == {OWN, KEPT}
        assert client.smembers(key % "worker68.main") == {KEPT}
