"""The two bootsteps that tie the runtime to a Celery worker.

``RuntimeStep`` starts and stops the runtime with the worker. ``ShowStep`` starts anew on each connection of Celery's to Redis, and
shows Celery what the runtime does. No job depends on it: without a connection, only remote control and events stop.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any, Final

from celery import bootsteps, signals

from worker68.celery_worker import internals
from worker68.celery_worker.events import JobEvents
from worker68.celery_worker.inspection import Inspection
from worker68.celery_worker.internals import ShownRequests
from worker68.celery_worker.revocation import Revocation
from worker68.clock import monotonic
from worker68.errors import RedisAway, SettingsError
from worker68.observe import outages
from worker68.runtime import Runtime

__all__ = ["RuntimeStep", "ShowStep"]

#: How often Celery is shown what has changed: heartbeats and Flower look every two seconds.
SHOW_SECONDS: Final = 1.0
#: A Redis that takes connections and no writes (full, a failover) would be asked many times a second, with a line in the log each.
REFUSED_SECONDS: Final = 1.0
#: How often the queues are bound anew: workers of earlier versions bind them to one exchange whenever they connect.
BIND_SECONDS: Final = 300.0


class RuntimeStep(bootsteps.StartStopStep):
    """Builds, starts and stops the runtime of a worker."""

    requires = ("celery.worker.components:Pool",)  # so this ends before it, and before the hub

    def __init__(self, worker: Any, **options: Any) -> None:
        self._runtime: Runtime | None = None
        super().__init__(worker, **options)

    def create(self, worker: Any) -> None:
        try:
            _refuse_options(worker)
            self._runtime = Runtime(worker.app.worker68_settings)
            self._runtime.look_at_database()
            self._runtime.look_at_redis()
        except SettingsError as error:
            print(f"worker68: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        _put_into(worker.app, self._runtime)
        internals.leave_out_neighbours(worker)

    def start(self, worker: Any) -> None:
        assert self._runtime is not None
        internals.consume_nothing(worker.app)
        self._runtime.start()
        internals.let_shutdowns_interrupt_each_other()
        signals.worker_shutting_down.connect(self._ask_to_stop)

    def _ask_to_stop(self, how: str = "Warm", **_: Any) -> None:
        if self._runtime is not None:
            self._runtime.ask_to_stop(at_once=how == "Cold")

    def close(self, worker: Any) -> None:
        """A shutdown has begun, also one that remote control asked for."""
        if self._runtime is not None:
            self._runtime.ask_to_stop()

    def stop(self, worker: Any) -> None:
        """A warm shutdown: what is under way ends first. Celery's consumer has stopped, but is still connected."""
        if self._runtime is not None:
            self._runtime.stop()

    def terminate(self, worker: Any) -> None:
        if self._runtime is not None:
            self._runtime.ask_to_stop(at_once=True)
            self._runtime.stop()


class ShowStep(bootsteps.StartStopStep):
    """Shows Celery, once a second, what is under way and what has happened. A step of its consumer."""

    requires = ("celery.worker.consumer.events:Events",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        self._runtime: Runtime = consumer.app.worker68_runtime
        self._requests = ShownRequests(self._runtime.runs, consumer.app.tasks)
        self._events = JobEvents(self._runtime.feed)
        self._timer: Any = None
        self._bind_at = 0.0  # when the queues are bound next
        super().__init__(consumer, **options)

    def start(self, consumer: Any) -> None:
        self._bind_at = 0.0
        self._bind_queues()
        internals.prepare_dispatcher(consumer.event_dispatcher)
        self._runtime.feed.is_wanted = partial(internals.sends_task_events, consumer)
        self._timer = consumer.timer.call_repeatedly(SHOW_SECONDS, self._show, (consumer,))

    def stop(self, consumer: Any) -> None:
        """The connection has ended; where it broke off before this step had begun, let Celery not try again at once."""
        if self._timer is None:
            time.sleep(REFUSED_SECONDS)
            return
        consumer.timer.cancel(self._timer)
        self._timer = None

    def shutdown(self, consumer: Any) -> None:
        """Publish how the last jobs ended, before the connection closes."""
        self._publish(consumer)

    def _show(self, consumer: Any) -> None:
        if monotonic() >= self._bind_at:
            self._bind_queues()
        self._requests.refresh()
        self._publish(consumer)

    def _publish(self, consumer: Any) -> None:
        if consumer.event_dispatcher is not None:
            self._events.publish(consumer.event_dispatcher)

    def _bind_queues(self) -> None:
        """Bind the queues as Celery would if it consumed them; a Redis that is full is asked again."""
        try:
            self._runtime.bind_queues()
        except RedisAway as away:
            outages.REDIS.fails("bindings", away)
        else:
            self._bind_at = monotonic() + BIND_SECONDS
            outages.REDIS.works("bindings")


def _put_into(app: Any, runtime: Runtime) -> None:
    """Put what the other step and the commands of remote control use where they find it: in Celery's application."""
    app.worker68_runtime = runtime
    app.worker68_inspection = Inspection(runtime.engine, runtime.owned_accounts, runtime.loop, runtime.runs)
    app.worker68_revocation = Revocation(runtime.engine, runtime.loop, runtime.note_cancelled)


def _refuse_options(worker: Any) -> None:
    """Refuse options of Celery's that would break the worker, or do nothing."""
    if not internals.has_thread_pool(worker):
        raise SettingsError("jobs run on one event loop, not in a pool of Celery's: leave out the option --pool (-P)")
    if internals.is_autoscaled(worker):
        raise SettingsError(
            "jobs need no thread of the pool: set WORKER68_CONCURRENCY in place of the option --autoscale"
        )
    if internals.selected_queues(worker.app) != {queue.name for queue in worker.app.conf.task_queues}:
        raise SettingsError(
            "a worker takes in the queues of its accounts alone: leave out the options --queues (-Q) and --exclude-queues (-X); "
            "WORKER68_ACCOUNTS says which accounts"
        )
