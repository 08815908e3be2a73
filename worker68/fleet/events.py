"""Celery's events of tasks, gathered: a burst is published in few messages, and Celery's loop is woken for each of these only.

In: Celery's event dispatcher, a new one on each connection. Out: what it has buffered leaves a moment after the first event of a
burst, or is dropped where nobody listens to the first one: the others would go nowhere. Stock, each event wakes the loop, and each
wake-up makes a client of Redis and a message of its own. Never: a publish by whoever tells of an event, which may be the loop.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Final

from celery import bootsteps
from celery.worker.consumer.events import Events

#: So late an event is published at most.
GATHER_SECONDS: Final = 0.05
#: So many events in one message at most.
MOST_GATHERED: Final = 500


class GatherEvents(bootsteps.StartStopStep):
    """A step of Celery's consumer, after the one that makes the dispatcher."""

    requires = (Events,)

    def __init__(self, consumer: Any, **options: Any) -> None:
        self._lock = threading.Lock()  # guards _armed
        self._armed = False
        super().__init__(consumer, **options)

    def start(self, consumer: Any) -> None:
        dispatcher = consumer.event_dispatcher
        with self._lock:
            self._armed = False  # what was armed may have ended with the connection before this one
        if consumer.hub is not None:
            dispatcher.buffer_limit = sys.maxsize  # beyond it, the thread that tells of an event would publish them all
            dispatcher.on_send_buffered = lambda: self._arm(consumer)
            self._arm(consumer)  # what the dispatcher before this one was waiting for

    def stop(self, consumer: Any) -> None:
        """Let nothing be left behind; where the connection is gone, the next dispatcher takes what the last one kept."""
        if consumer.event_dispatcher is not None:
            _publish_heard(consumer.event_dispatcher)

    def _arm(self, consumer: Any) -> None:
        """Have the loop publish soon. On any thread."""
        with self._lock:
            if self._armed:
                return
            self._armed = True
        consumer.hub.call_soon(consumer.hub.call_later, GATHER_SECONDS, self._publish, consumer)

    def _publish(self, consumer: Any) -> None:
        with self._lock:
            self._armed = False
        if consumer.event_dispatcher is not None:
            _publish_heard(consumer.event_dispatcher)


def _publish_heard(dispatcher: Any) -> None:
    """Publish the first event of the burst, and the others too unless it had no subscriber."""
    with dispatcher.mutex:
        events = dispatcher._group_buffer["task"]
        if events and not dispatcher._closed:
            heard_by = dispatcher.producer.channel.heard_by
            heard_by.pop(dispatcher.exchange.name, None)
            first, others = events.pop(0), len(events)
            dispatcher._publish([first], dispatcher.producer, "task.multi")
            if heard_by.get(dispatcher.exchange.name) == 0:
                del events[:others]  # not what came meanwhile: somebody may have begun to listen
            for _ in range(0, len(events), MOST_GATHERED):
                dispatcher._publish(events[:MOST_GATHERED], dispatcher.producer, "task.multi")
                del events[:MOST_GATHERED]
    dispatcher.flush()
