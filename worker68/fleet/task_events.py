"""Jobs that wait, told as Celery events: so that Flower shows ``DEFERRED`` and ``RESUMED`` where Celery knows nothing yet.

In: jobs taken in that did not start at once, and jobs whose turn has come. Out: ``task-deferred``, ``task-resumed``, and
``task-cancelled`` for waiting jobs that were cancelled, through the worker's own event dispatcher. A courtesy: of a burst only some
are told, and none while Redis is away. Never: a wait, an error for the caller, message text.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import structlog

from worker68.clock import monotonic
from worker68.jobs.job import Job

log = structlog.get_logger(__name__)

#: Deferred jobs that are told of in one second: a burst of 100 000 would only push everything else out of Flower's memory.
MOST_A_SECOND: Final = 100
#: Jobs remembered as deferred; a forgotten one is shown as deferred until it ends.
REMEMBERED: Final = 20_000


class Dispatcher(Protocol):
    """What is used of ``celery.events.EventDispatcher``. Its ``send`` is thread-safe, and gathers events of tasks."""

    def send(self, kind: str, /, **fields: Any) -> Any: ...


class TaskEvents:
    """Tells. Thread-safe. ``through`` gives Celery's dispatcher, None while its consumer is not connected."""

    def __init__(self) -> None:
        self._dispatcher: Callable[[], Dispatcher | None] = lambda: None
        self._lock = threading.Lock()  # guards all below
        self._told: OrderedDict[str, None] = OrderedDict()
        self._second = 0
        self._left = 0

    def through(self, dispatcher: Callable[[], Dispatcher | None]) -> None:
        self._dispatcher = dispatcher

    def deferred(self, jobs: Iterable[Job]) -> None:
        """These were taken in, and wait."""
        for job in jobs:
            if not self._remember(job.task_id):
                return
            due = job.due_at.isoformat() if job.due_at is not None else None
            received = job.received_at.timestamp()
            self._send(
                "task-deferred",
                uuid=job.task_id,
                name=job.task,
                args="()",
                kwargs=_shown(job),
                eta=due,
                received=received,
            )

    def resumed(self, job: Job) -> None:
        """This one's turn has come. Celery's "started" alone would not change what Flower shows of a deferred one."""
        with self._lock:
            told = self._told.pop(job.task_id, False)
        if told is None:
            self._send("task-resumed", uuid=job.task_id, name=job.task)

    def cancelled(self, task_ids: Sequence[str]) -> None:
        """These ended while they waited. Celery's "revoked" would not change what Flower shows of a deferred one."""
        for task_id in task_ids:
            with self._lock:
                self._told.pop(task_id, None)
            self._send("task-cancelled", uuid=task_id)

    def _remember(self, task_id: str) -> bool:
        """Remember that a job is told of as deferred; False where enough were told in this second."""
        second = int(monotonic())
        with self._lock:
            if second != self._second:
                self._second, self._left = second, MOST_A_SECOND
            if self._left == 0:
                return False
            self._left -= 1
            self._told[task_id] = None
            if len(self._told) > REMEMBERED:
                self._told.popitem(last=False)
        return True

    def _send(self, kind: str, **fields: Any) -> None:
        dispatcher = self._dispatcher()
        if dispatcher is None:
            return
        try:
            dispatcher.send(kind, **fields)
        except Exception as error:  # noqa: BLE001 - Celery's connection may be gone; the job matters more
            log.debug("task_event_not_told", kind=kind, problem=str(error))


def _shown(job: Job) -> str:
    return f"{{job_id: {job.job_id}, account: {job.account}}}"
