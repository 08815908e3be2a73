"""The bootstep: the runtime starts before Celery's pool and closes after it has drained.

Celery stops its steps in reverse order of their start; ``Pool`` requires this one, so the connection to the bridge is still there
while the last jobs wait for their verdicts.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from celery import bootsteps, signals
from celery.worker.components import Pool

from worker68 import runtime
from worker68.broker.pool import TaskPool
from worker68.errors import SettingsError

__all__ = ["RuntimeStep"]


class RuntimeStep(bootsteps.StartStopStep):
    """Builds, starts and stops the runtime of a worker."""

    def __init__(self, worker: Any, **options: Any) -> None:
        self._runtime: runtime.Runtime | None = None
        super().__init__(worker, **options)

    def create(self, worker: Any) -> None:
        try:
            _require_our_pool(worker.pool_cls)
            _refuse_options(worker)
            self._runtime = runtime.build(worker.app.worker68_settings)
            self._runtime.look_at_database()
        except SettingsError as error:
            print(f"worker68: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        options = worker.app.conf.broker_transport_options
        worker.app.conf.broker_transport_options = {**options, "delivery": self._runtime.delivery}
        # Mingle waits a second for the neighbours' lists of revoked tasks, which lie in SQL here; gossip only elects.
        worker.options |= {"without_mingle": True, "without_gossip": True}

    def start(self, worker: Any) -> None:
        assert self._runtime is not None
        # Celery's consumer makes a new dispatcher whenever it connects anew.
        self._runtime.task_events.through(lambda: getattr(worker.consumer, "event_dispatcher", None))
        self._runtime.start()
        threading.Thread(target=self._runtime.bound_the_stop, name="worker68-stop", daemon=True).start()
        signals.worker_shutting_down.connect(self._ask_to_stop)

    def _ask_to_stop(self, **_: Any) -> None:
        if self._runtime is not None:
            self._runtime.ask_to_stop()

    def close(self, worker: Any) -> None:
        """A shutdown has begun: nothing new is taken in or started."""
        if self._runtime is not None:
            self._runtime.drain()

    def stop(self, worker: Any) -> None:
        """The pool has drained."""
        if self._runtime is not None:
            self._runtime.stop()

    def terminate(self, worker: Any) -> None:
        self.stop(worker)


def _require_our_pool(pool: type) -> None:
    """Another pool knows nothing of jobs: it could not be held, and a stop would not wait for them."""
    if not issubclass(pool, TaskPool):
        raise SettingsError("jobs go their way in worker68's own pool alone: leave out the option --pool (-P)")


def _refuse_options(worker: Any) -> None:
    """Celery takes these options, and nothing would come of them."""
    if worker.autoscale:
        raise SettingsError(
            "jobs need no thread of the pool: set WORKER68_CONCURRENCY in place of the option --autoscale"
        )
    if set(worker.app.amqp.queues.consume_from) != {queue.name for queue in worker.app.conf.task_queues}:
        raise SettingsError(
            "a worker takes in the queues of its accounts alone: leave out the options --queues (-Q) and --exclude-queues (-X); "
            "WORKER68_ACCOUNTS says which accounts"
        )


Pool.requires = (*Pool.requires, RuntimeStep)
