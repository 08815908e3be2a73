"""Events of tasks are gathered: whoever has something to tell never waits for Redis."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from celery import Celery
from celery.events import EventDispatcher
from kombu.asynchronous.hub import Hub

from worker68.fleet.events import MOST_GATHERED, GatherEvents

EVENTS = 2 * MOST_GATHERED + 2


def tell(dispatcher: EventDispatcher) -> None:
    for number in range(EVENTS):
        dispatcher.send("task-started", uuid=str(number))


def test_nobody_who_tells_waits_for_a_message_that_is_on_its_way() -> None:
    app = Celery(broker="memory://", set_as_current=False)
    with app.connection_for_write() as connection:
        dispatcher = EventDispatcher(connection, app=app, buffer_group={"task"})
        consumer = SimpleNamespace(event_dispatcher=dispatcher, hub=Hub(), steps=[])  # type: ignore[no-untyped-call]
        GatherEvents(consumer).start(consumer)
        with dispatcher.mutex:  # Celery's loop publishes, and Redis does not answer
            telling = threading.Thread(target=tell, args=[dispatcher], daemon=True)
            telling.start()
            telling.join(10)
            assert not telling.is_alive()
        assert len(dispatcher._group_buffer["task"]) == EVENTS
