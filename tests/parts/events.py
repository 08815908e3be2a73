"""Celery's events as Flower hears them.

In: a Celery application and a client of its Redis. Out: each event, once the subscription stands. Never: an event from
before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from celery import Celery
from redis import Redis

from worker68.clock import Deadline

PATIENCE_SECONDS = 60.0


class Events:
    """The events since the subscription, in ``seen``; ``hear_until`` goes on listening until something is true."""

    def __init__(self, seen: list[dict[str, Any]], drain: Callable[[float], None]) -> None:
        self.seen = seen
        self._drain = drain

    def hear_until(self, condition: Callable[[], bool]) -> None:
        deadline = Deadline.after(PATIENCE_SECONDS)
        while not condition():
            assert not deadline.passed, self.seen
            with contextlib.suppress(TimeoutError):
                self._drain(1.0)

    def types_of(self, task_id: str) -> list[str]:
        return [event["type"] for event in self.seen if event.get("uuid") == task_id]


@contextlib.contextmanager
def hear_events(app: Celery, redis: Redis) -> Iterator[Events]:
    """Subscribe to all events, and go on once Redis has the subscription: kombu asks for it as late as it first listens."""
    subscriptions = redis.pubsub_numpat()
    seen: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": seen.append})
        with receiver.consumer_context() as (listening, _, _):
            events = Events(seen, lambda seconds: listening.drain_events(timeout=seconds))
            events.hear_until(lambda: redis.pubsub_numpat() > subscriptions)
            yield events
