"""A kombu consumer as tests see it: what came, in its order, and waits that end.

In: a connection, queues. Out: messages. Never: an acknowledgement of its own.
"""

# mypy: disallow-untyped-calls=False
# because kombu's functions are not typed.

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.message import Message
from kombu.messaging import Consumer

from worker68.broker.delivery import Deliverable
from worker68.clock import Deadline

WITHIN = 60.0


class Inbox:
    """A consumer's messages, in the order in which they came."""

    def __init__(self, connection: Connection, *queues: Queue | str, prefetch: int = 0) -> None:
        self.messages: list[Message] = []
        self.connection = connection
        declared = [queue(one) if isinstance(one, str) else one for one in queues]
        self.consumer = Consumer(connection, declared, on_message=self.messages.append)
        self.consumer.qos(prefetch_count=prefetch)
        self.consumer.consume()

    @property
    def bodies(self) -> list[Any]:
        return [message.payload for message in self.messages]

    def drain_until(self, condition: Callable[[], object]) -> None:
        deadline = Deadline.after(WITHIN)
        while not condition():
            assert not deadline.passed, f"only {self.bodies} came"
            with suppress(TimeoutError):
                self.connection.drain_events(timeout=0.5)

    def drain_what_is_there(self) -> None:
        """Go round until a whole round of the poller brings nothing more."""
        with suppress(TimeoutError):
            while True:
                self.connection.drain_events(timeout=0.3)


def queue(name: str) -> Queue:
    return Queue(name, Exchange(name), routing_key=name)


def deliverable(tag: str) -> Deliverable:
    """Return a message for a ``Delivery``, whose body is its tag."""
    properties = {"delivery_tag": "x", "body_encoding": "utf-8", "delivery_info": {"exchange": "", "routing_key": "q"}}
    raw = {"body": f'"{tag}"', "content-type": "application/json", "content-encoding": "utf-8", "headers": {}}
    return Deliverable(tag, {**raw, "properties": properties})
