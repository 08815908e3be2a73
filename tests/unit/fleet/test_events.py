"""Events of tasks are gathered, and published by Celery's loop alone: who tells of one never waits for Redis."""

# mypy: disallow-untyped-calls=False
# because Celery's functions are not typed.

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.events import EventDispatcher

from worker68.fleet.events import MOST_GATHERED, GatherEvents

EXCHANGE = "celeryev"


class Hub:
    """Celery's loop, which goes on when the test says so."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[..., None], *how: Any) -> None:
        self._soon.append(lambda: call(*how))

    def call_later(self, _seconds: float, call: Callable[..., None], *how: Any) -> None:
        self.call_soon(call, *how)

    def go_on(self) -> None:
        while self._soon:
            self._soon.pop(0)()


class Producer:
    """Publishes to so many subscribers."""

    def __init__(self) -> None:
        self.heard_by: dict[str, int] = {}
        self.subscribers = 1
        self.channel = self
        self.published: list[list[str]] = []
        self.threads: set[threading.Thread] = set()

    def publish(self, events: list[dict[str, Any]], **_: Any) -> None:
        self.threads.add(threading.current_thread())
        self.published.append([event["uuid"] for event in events])
        self.heard_by[EXCHANGE] = self.subscribers


class Consumer:
    """Celery's consumer once its dispatcher is made."""

    def __init__(self) -> None:
        app = Celery("worker68", set_as_current=False, broker="memory://")
        app.conf.event_exchange = EXCHANGE
        self.hub = Hub()
        self.producer = Producer()
        self.event_dispatcher = EventDispatcher(app=app, enabled=False, buffer_group=["task"])
        self.event_dispatcher.enabled = True
        self.event_dispatcher.producer = self.producer

    def tell(self, *numbers: int) -> None:
        for number in numbers:
            self.event_dispatcher.send("task-started", uuid=str(number))


@pytest.fixture
def consumer() -> Consumer:
    consumer = Consumer()
    GatherEvents(consumer).start(consumer)
    consumer.hub.go_on()
    return consumer


def test_a_burst_is_published_by_celerys_loop_alone_however_large_it_is(consumer: Consumer) -> None:
    burst = range(3 * MOST_GATHERED)
    telling = threading.Thread(target=lambda: consumer.tell(*burst))
    telling.start()
    telling.join()
    assert consumer.producer.published == []
    consumer.hub.go_on()
    assert consumer.producer.threads == {threading.current_thread()}
    told = [uuid for events in consumer.producer.published for uuid in events]
    assert told == [str(number) for number in burst]


def test_no_message_holds_more_than_is_gathered_at_most(consumer: Consumer) -> None:
    consumer.tell(*range(2 * MOST_GATHERED + 2))
    consumer.hub.go_on()
    assert [len(events) for events in consumer.producer.published] == [1, MOST_GATHERED, MOST_GATHERED, 1]


def test_where_nobody_listens_only_the_first_of_a_burst_is_published(consumer: Consumer) -> None:
    consumer.producer.subscribers = 0
    consumer.tell(*range(10))
    consumer.hub.go_on()
    consumer.producer.subscribers = 1
    consumer.tell(10, 11)
    consumer.hub.go_on()
    assert consumer.producer.published == [["0"], ["10"], ["11"]]


def test_an_event_that_comes_during_the_publish_is_published_as_well(consumer: Consumer) -> None:
    publish = consumer.producer.publish

    def begin_to_listen(events: list[dict[str, Any]], **how: Any) -> None:
        if not consumer.producer.published:
            consumer.tell(2)
        publish(events, **how)

    consumer.producer.subscribers = 0
    consumer.producer.publish = begin_to_listen  # type: ignore[method-assign]
    consumer.tell(0, 1)
    consumer.hub.go_on()
    assert consumer.producer.published == [["0"], ["2"]]


def test_who_tells_does_not_wait_for_a_message_that_is_on_its_way(consumer: Consumer) -> None:
    with consumer.event_dispatcher.mutex:  # Celery's loop publishes, and Redis does not answer
        telling = threading.Thread(target=lambda: consumer.tell(*range(2 * MOST_GATHERED)), daemon=True)
        telling.start()
        telling.join(10)
        assert not telling.is_alive()
