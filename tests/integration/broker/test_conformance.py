"""What Celery relies on in kombu's Redis transport, asked of the stock one and of ours alike.

``stock``: kombu's own. ``ours``: our transport in a worker, on a queue that is no job queue, which it leaves to kombu.
``delivered``: our transport on a job queue, whose messages come from the delivery. What would come back to a queue in Redis comes
back to the sender there, which puts it in again.
"""

# mypy: disallow-untyped-calls=False
# because kombu's functions are not typed.

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Producer

from tests.parts.inbox import Inbox, deliverable, queue
from worker68.broker.delivery import Delivery
from worker68.broker.transport import broker_settings

on_redis = pytest.mark.parametrize("bench", ["stock", "ours"], indirect=True)
on_all = pytest.mark.parametrize("bench", ["stock", "ours", "delivered"], indirect=True)


class Bench:
    """One transport, and a producer for it."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self._url = url
        self._open: list[Connection] = []
        self.delivery = Delivery(self._put_again, lambda tag, reason: None)

    @property
    def queue(self) -> str:
        return "worker68" if self.kind == "delivered" else "tasks"

    def connect(self, **more: Any) -> Connection:
        options: dict[str, Any] = {"polling_interval": 0.1} | more
        if self.kind == "stock":
            connection = Connection(self._url, transport_options=options)
        else:
            settings = broker_settings(self._url)
            options["delivery"] = self.delivery
            connection = Connection(
                settings["broker_url"], transport=settings["broker_transport"], transport_options=options
            )
        self._open.append(connection)
        return connection

    def put(self, *bodies: str, to: str | None = None, priority: int = 0) -> None:
        if self.kind == "delivered" and to is None:
            self.delivery.put(*map(deliverable, bodies))
            return
        with Connection(self._url) as connection:
            producer = Producer(connection)
            for body in bodies:
                name = to or self.queue
                producer.publish(body, routing_key=name, exchange="", declare=[queue(name)], priority=priority)

    def close(self) -> None:
        for connection in self._open:
            connection.release()
        self.delivery.close()

    def _put_again(self, tag: str) -> None:
        self.delivery.put(deliverable(tag))


@pytest.fixture
def bench(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Bench]:
    bench = Bench(request.param, redis_url)
    yield bench
    bench.close()


def consume(bench: Bench, **options: Any) -> Inbox:
    return Inbox(bench.connect(), queue(bench.queue), **options)


@on_all
def test_messages_come_in_their_order_and_once(bench: Bench) -> None:
    inbox = consume(bench)
    bench.put("a", "b", "c")
    inbox.drain_until(lambda: len(inbox.messages) == 3)
    inbox.drain_what_is_there()
    assert inbox.bodies == ["a", "b", "c"]


@on_all
def test_an_acknowledged_message_is_gone(bench: Bench, client: redis.Redis) -> None:
    inbox = consume(bench)
    bench.put("a")
    inbox.drain_until(lambda: inbox.messages)
    inbox.messages[0].ack()
    inbox.connection.release()
    again = consume(bench)
    again.drain_what_is_there()
    assert again.messages == []
    assert client.hlen("unacked") == len(bench.delivery.outstanding()) == 0


@on_all
def test_a_message_rejected_with_requeue_comes_again(bench: Bench) -> None:
    inbox = consume(bench)
    bench.put("a")
    inbox.drain_until(lambda: inbox.messages)
    inbox.messages[0].reject(requeue=True)
    inbox.drain_until(lambda: len(inbox.messages) == 2)
    assert inbox.bodies == ["a", "a"]


@on_all
def test_a_message_rejected_without_requeue_does_not(bench: Bench, client: redis.Redis) -> None:
    inbox = consume(bench)
    bench.put("a")
    inbox.drain_until(lambda: inbox.messages)
    inbox.messages[0].reject()
    inbox.drain_what_is_there()
    assert inbox.bodies == ["a"]
    assert client.hlen("unacked") == len(bench.delivery.outstanding()) == 0


@on_all
def test_prefetch_holds_back_until_there_is_room(bench: Bench) -> None:
    inbox = consume(bench, prefetch=2)
    bench.put("a", "b", "c")
    inbox.drain_until(lambda: len(inbox.messages) == 2)
    inbox.drain_what_is_there()
    assert inbox.bodies == ["a", "b"]
    inbox.messages[0].ack()
    inbox.drain_until(lambda: len(inbox.messages) == 3)


@on_all
def test_a_larger_prefetch_makes_room_at_once(bench: Bench) -> None:
    """Celery raises and lowers it while it runs: at a start, after a reconnect, by remote control."""
    inbox = consume(bench, prefetch=1)
    bench.put("a", "b")
    inbox.drain_until(lambda: inbox.messages)
    inbox.consumer.qos(prefetch_count=2)
    inbox.drain_until(lambda: len(inbox.messages) == 2)


@on_all
def test_a_cancelled_consumer_gets_nothing_and_one_that_consumes_again_gets_it(bench: Bench) -> None:
    inbox = consume(bench)
    inbox.consumer.cancel()
    bench.put("a")
    inbox.drain_what_is_there()
    assert inbox.messages == []
    inbox.consumer.consume()
    inbox.drain_until(lambda: inbox.messages)


@on_all
def test_recover_brings_back_what_is_not_acknowledged(bench: Bench) -> None:
    inbox = consume(bench)
    bench.put("a")
    inbox.drain_until(lambda: inbox.messages)
    inbox.consumer.recover(requeue=True)
    inbox.drain_until(lambda: len(inbox.messages) == 2)


@on_all
def test_fan_out_reaches_everybody_beside_the_queue(bench: Bench) -> None:
    """Remote control: one message to all workers, also while they consume their queues."""
    control = Exchange("control", type="fanout")
    inboxes = [
        Inbox(bench.connect(), Queue(f"worker-{number}", control, auto_delete=True), queue(bench.queue))
        for number in range(2)
    ]
    for inbox in inboxes:
        inbox.drain_what_is_there()  # the subscription goes out with the first look
    with bench.connect() as connection:
        Producer(connection).publish("ping", exchange=control, routing_key="", declare=[control])
    for inbox in inboxes:
        inbox.drain_until(lambda inbox=inbox: inbox.bodies == ["ping"])  # type: ignore[misc]


def consume_two_and_acknowledge_one(bench: Bench) -> Inbox:
    inbox = consume(bench)
    bench.put("a", "b")
    inbox.drain_until(lambda: len(inbox.messages) == 2)
    inbox.messages[0].ack()
    return inbox


@on_redis
def test_closing_restores_what_is_not_acknowledged(bench: Bench, client: redis.Redis) -> None:
    """Delivered jobs are the exception, on purpose: they are in the pool and run, and SQL restores them."""
    inbox = consume_two_and_acknowledge_one(bench)
    inbox.connection.release()
    assert client.llen(bench.queue) == 1
    again = consume(bench)
    again.drain_until(lambda: again.bodies == ["b"])
    assert again.messages[0].headers["redelivered"]


@on_redis
def test_what_a_dead_consumer_left_comes_again_after_the_visibility_timeout(bench: Bench, client: redis.Redis) -> None:
    """Delivered jobs are the exception here too: their owner's lease decides, and SQL has them."""
    consume_two_and_acknowledge_one(bench)
    heir = Inbox(bench.connect(visibility_timeout=0), queue(bench.queue))
    heir.connection.transport.cycle.maybe_restore_messages()
    heir.drain_until(lambda: heir.bodies == ["b"])
    assert heir.messages[0].headers["redelivered"]
    heir.messages[0].ack()
    assert client.hlen("unacked") == 0


@on_redis
def test_priorities_come_in_their_order(bench: Bench) -> None:
    for priority in (9, 3, 0, 6):
        bench.put(f"{priority}", priority=priority)
    inbox = consume(bench, prefetch=1)
    for seen in range(1, 5):
        inbox.drain_until(lambda seen=seen: len(inbox.messages) == seen)  # type: ignore[misc]
        inbox.messages[-1].ack()
    assert inbox.bodies == ["0", "3", "6", "9"]


@on_redis
def test_queues_have_fair_turns(bench: Bench) -> None:
    for name in ("one", "two"):
        bench.put(*[f"{name} {number}" for number in range(5)], to=name)
    inbox = Inbox(bench.connect(), queue("one"), queue("two"), prefetch=1)
    for seen in range(1, 11):
        inbox.drain_until(lambda seen=seen: len(inbox.messages) == seen)  # type: ignore[misc]
        inbox.messages[-1].ack()
    turns = [body.split()[0] for body in inbox.bodies]
    assert {tuple(sorted(turns[place : place + 2])) for place in range(0, 10, 2)} == {("one", "two")}


@on_redis
def test_purge_empties_a_queue_and_says_how_many(bench: Bench) -> None:
    bench.put("a", "b")
    channel = bench.connect().channel()
    assert channel.queue_purge(bench.queue) == 2
    assert channel.queue_purge(bench.queue) == 0
