"""Kombu with our transport: job queues from the delivery, everything else from Redis, over lost connections too."""

# mypy: disallow-untyped-calls=False
# because kombu's functions are not typed.

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import redis
from kombu.asynchronous import Hub
from kombu.connection import Connection
from kombu.entity import Exchange
from kombu.messaging import Producer

from tests.parts.inbox import WITHIN, Inbox, deliverable, queue
from worker68.broker.delivery import Delivery
from worker68.broker.transport import broker_settings
from worker68.clock import Deadline

Connect = Callable[..., Connection]


class Sender:
    def __init__(self) -> None:
        self.given_back: list[str] = []
        self.refused: list[str] = []
        self.delivery = Delivery(self.given_back.append, lambda tag, reason: self.refused.append(tag))

    def put(self, *tags: str) -> None:
        self.delivery.put(*map(deliverable, tags))


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.delivery.close()


@pytest.fixture
def connect(redis_url: str) -> Connect:
    settings = broker_settings(redis_url)

    def connect(delivery: Delivery | None = None) -> Connection:
        options = {} if delivery is None else {"delivery": delivery}
        return Connection(
            settings["broker_url"],
            transport=settings["broker_transport"],
            transport_options={**options, "polling_interval": 0.1},
        )

    return connect


def test_a_job_comes_from_the_delivery_and_never_from_redis(
    connect: Connect, sender: Sender, client: redis.Redis
) -> None:
    client.lpush("worker68", "would be taken by a stock transport")
    with connect(sender.delivery) as connection:
        inbox = Inbox(connection, "worker68")
        sender.put("a", "b")

        inbox.drain_until(lambda: len(inbox.messages) == 2)
        inbox.drain_what_is_there()

    assert inbox.bodies == ["a", "b"]
    assert client.llen("worker68") == 1


def test_without_a_delivery_everything_is_stock(connect: Connect, client: redis.Redis) -> None:
    with connect() as connection:
        Producer(connection).publish(
            "hello", routing_key="worker68", declare=[queue("worker68")], exchange=Exchange("worker68")
        )
        inbox = Inbox(connection, "worker68")
        inbox.drain_until(lambda: inbox.messages)

        assert client.hlen("unacked") == 1
        inbox.messages[0].ack()
        assert client.hlen("unacked") == 0


def test_a_queue_that_is_no_job_queue_is_stock_beside_it(connect: Connect, sender: Sender, client: redis.Redis) -> None:
    with connect(sender.delivery) as connection:
        Producer(connection).publish(
            "stock", routing_key="celery", declare=[queue("celery")], exchange=Exchange("celery")
        )
        inbox = Inbox(connection, "worker68", "celery")
        sender.put("ours")
        inbox.drain_until(lambda: len(inbox.messages) == 2)

        assert sorted(inbox.bodies) == ["ours", "stock"]
        assert client.hlen("unacked") == 1
        for message in inbox.messages:
            message.ack()
        assert client.hlen("unacked") == 0
        assert sender.delivery.outstanding() == []


SHARED = "worker68\x06\x16\x06\x16worker68.main"


def test_a_message_for_the_front_door_reaches_no_other_queue(
    connect: Connect, sender: Sender, client: redis.Redis
) -> None:
    """Earlier versions bound all queues to the front door's exchange with one routing key."""
    kept = b"worker68.main\x06\x16\x06\x16worker68.main"  # a producer's own, by which one message reaches one queue
    for key in ("_kombu.binding.worker68", "_kombu.binding_permanent.worker68"):
        client.sadd(key, SHARED, kept)
    with connect(sender.delivery) as connection:
        Inbox(connection, "worker68", "worker68.main")
    with connect() as connection:
        Producer(connection).publish("x", exchange="worker68", routing_key="worker68")

    assert (client.llen("worker68"), client.llen("worker68.main")) == (1, 0)
    own = {b"worker68\x06\x16\x06\x16worker68", kept}
    assert client.smembers("_kombu.binding.worker68") == own
    assert client.smembers("_kombu.binding_permanent.worker68") == own
    assert client.smembers("_kombu.binding.worker68.main") == {kept}


def test_a_producer_leaves_bindings_as_they_are(connect: Connect, client: redis.Redis) -> None:
    client.sadd("_kombu.binding.worker68", SHARED)
    with connect() as connection:
        queue("worker68")(connection).declare()
    assert client.sismember("_kombu.binding.worker68", SHARED)


def test_a_put_from_another_thread_wakes_a_waiting_consumer(connect: Connect, sender: Sender) -> None:
    with connect(sender.delivery) as connection:
        inbox = Inbox(connection, "worker68")
        inbox.drain_what_is_there()
        thread = threading.Timer(0.05, sender.put, ["late"])
        thread.start()

        connection.drain_events(timeout=WITHIN)
        thread.join()

    assert inbox.bodies == ["late"]


def test_rejected_messages_go_back_to_the_sender(connect: Connect, sender: Sender, client: redis.Redis) -> None:
    with connect(sender.delivery) as connection:
        inbox = Inbox(connection, "worker68")
        sender.put("again", "never")
        inbox.drain_until(lambda: len(inbox.messages) == 2)

        inbox.messages[0].reject(requeue=True)
        inbox.messages[1].reject(requeue=False)

    assert sender.given_back == ["again"]
    assert sender.refused == ["never"]
    assert client.keys("worker68*") == []


def test_the_prefetch_limit_holds_and_an_ack_makes_room(connect: Connect, sender: Sender) -> None:
    with connect(sender.delivery) as connection:
        inbox = Inbox(connection, "worker68", prefetch=2)
        sender.put("a", "b", "c")
        inbox.drain_until(lambda: len(inbox.messages) == 2)
        inbox.drain_what_is_there()
        assert inbox.bodies == ["a", "b"]

        inbox.messages[0].ack()
        inbox.drain_until(lambda: len(inbox.messages) == 3)


def test_a_cancelled_consumer_gets_nothing_and_what_waits_comes_when_it_consumes_again(
    connect: Connect, sender: Sender
) -> None:
    with connect(sender.delivery) as connection:
        inbox = Inbox(connection, "worker68")
        inbox.consumer.cancel()
        sender.put("a")
        inbox.drain_what_is_there()
        assert inbox.messages == []

        inbox.consumer.consume()
        inbox.drain_until(lambda: inbox.messages)

    assert inbox.bodies == ["a"]


def test_closing_gives_nothing_back_and_a_late_ack_is_taken(
    connect: Connect, sender: Sender, client: redis.Redis
) -> None:
    with connect(sender.delivery) as connection:
        inbox = Inbox(connection, "worker68")
        sender.put("a")
        inbox.drain_until(lambda: inbox.messages)
    assert sender.given_back == []
    assert sender.delivery.outstanding() == ["a"]

    inbox.messages[0].ack()

    assert sender.delivery.outstanding() == []
    assert client.keys("*unacked*") == []


def test_recover_gives_back(connect: Connect, sender: Sender) -> None:
    with connect(sender.delivery) as connection:
        inbox = Inbox(connection, "worker68")
        sender.put("a")
        inbox.drain_until(lambda: inbox.messages)

        inbox.consumer.recover(requeue=True)

    assert sender.given_back == ["a"]


def test_another_applications_unacknowledged_messages_are_left_alone(
    connect: Connect, sender: Sender, client: redis.Redis
) -> None:
    client.hset("unacked", "x", '[{"body": "", "properties": {}, "headers": {}}, "", "celery"]')
    client.zadd("unacked_index", {"x": 1})
    with connect(sender.delivery) as connection:
        inbox = Inbox(connection, "worker68")
        connection.transport.register_with_event_loop(connection.connection, Hub())
        inbox.drain_what_is_there()

    assert client.hlen("unacked") == 1


class Loop:
    """Celery's event loop: the hub, a connection that is registered with it, and a reconnect as Celery does it."""

    def __init__(self, connect: Connect, delivery: Delivery) -> None:
        self._connect = connect
        self._delivery = delivery
        self.hub = Hub()
        self.open()

    def open(self) -> None:
        self.connection = self._connect(self._delivery)
        self.connection.connect()
        self.connection.transport.register_with_event_loop(self.connection.connection, self.hub)
        self.inbox = Inbox(self.connection, "worker68")
        self.loop = self.hub.create_loop()

    def lose(self) -> None:
        self.hub.reset()
        self.connection.close()

    def turn_until(self, condition: Callable[[], object]) -> None:
        deadline = Deadline.after(WITHIN)
        while not condition():
            assert not deadline.passed, f"only {self.inbox.bodies} came"
            next(self.loop)


@pytest.fixture
def loop(connect: Connect, sender: Sender) -> Iterator[Loop]:
    loop = Loop(connect, sender.delivery)
    yield loop
    loop.connection.close()
    loop.hub.close()


def test_celerys_event_loop_wakes_up_for_a_put(loop: Loop, sender: Sender) -> None:
    next(loop.loop)
    thread = threading.Timer(0.05, sender.put, ["a", "b"])
    thread.start()

    loop.turn_until(lambda: len(loop.inbox.messages) == 2)

    thread.join()
    assert loop.inbox.bodies == ["a", "b"]


def test_after_a_lost_connection_the_next_one_delivers_each_message_once(loop: Loop, sender: Sender) -> None:
    sender.put("before")
    loop.turn_until(lambda: loop.inbox.messages)
    first = loop.inbox
    loop.lose()
    sender.put("meanwhile")
    loop.open()
    sender.put("after")

    loop.turn_until(lambda: len(loop.inbox.messages) == 2)

    assert (first.bodies, loop.inbox.bodies) == (["before"], ["meanwhile", "after"])
    assert sender.given_back == []


def test_the_descriptor_is_silenced_also_when_nobody_consumes(loop: Loop, sender: Sender) -> None:
    loop.turn_until(lambda: sender.delivery.fileno() in loop.hub.readers)
    loop.inbox.consumer.cancel()
    sender.put("a")

    loop.turn_until(lambda: not is_ringing(sender.delivery))

    assert len(sender.delivery) == 1


def is_ringing(delivery: Delivery) -> bool:
    with socket.socket(fileno=delivery.fileno()) as ear:
        try:
            return bool(ear.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False
        finally:
            ear.detach()
