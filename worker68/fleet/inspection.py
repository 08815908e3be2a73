"""What this worker's jobs look like to remote control: under way from memory, all others from SQL.

In: jobs as their turns begin and end; questions. Out: entries of the form that Celery's ``inspect`` and Flower know, with the job's
id, account and chat in place of its arguments. Celery's own lists are not asked: they hold what Celery was handed, for a moment.
Never: message text; a wait for SQL longer than ``PATIENCE_SECONDS``.
"""

from __future__ import annotations

import asyncio
import os
import queue
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import structlog

from worker68.broker.place import queue_of
from worker68.errors import DatabaseAway
from worker68.jobs.job import Job
from worker68.jobs.states import State
from worker68.store import inspection
from worker68.store.engine import Engine
from worker68.store.inspection import Found

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: So long Celery's thread waits for SQL: a look takes milliseconds, and whoever asks waits for a second.
PATIENCE_SECONDS: Final = 0.5

Entry = dict[str, Any]


class Inspection:
    """Answers remote control. ``begin`` lets a coroutine begin on the loop; ``accounts`` are those that this worker owns.

    ``under_way`` belongs to the loop; all other methods to Celery's thread.
    """

    def __init__(
        self,
        engine: Engine,
        accounts: Callable[[], list[str]],
        begin: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._engine = engine
        self._accounts = accounts
        self._begin = begin
        # By their numbers, with the time of their beginning. Celery's thread copies it in one step.
        self._under_way: dict[int, tuple[Job, float]] = {}
        self._looking = False

    @contextmanager
    def under_way(self, job: Job) -> Iterator[None]:
        """Show a job as active meanwhile."""
        self._under_way[job.seq] = (job, time.time())
        try:
            yield
        finally:
            del self._under_way[job.seq]

    def active(self, hostname: str) -> list[Entry]:
        """Return the jobs that have their turn in this worker."""
        return [
            _entry(hostname, job.task_id, job.job_id, job.account, job.task, job.priority, _chat_of(job), began)
            for job, began in list(self._under_way.values())
        ]

    def scheduled(self, hostname: str) -> list[Entry]:
        """Return the jobs of this worker's accounts that are not due yet. Raises ``DatabaseAway``."""
        found = self._look(lambda: inspection.find_scheduled(self._engine, self._accounts()))
        return [
            {
                "eta": one.due_at.isoformat() if one.due_at else None,
                "priority": one.priority,
                "request": _found(hostname, one),
            }
            for one in found
        ]

    def reserved(self, hostname: str) -> list[Entry]:
        """Return the jobs of this worker's accounts that wait for their turn. Raises ``DatabaseAway``."""
        found = self._look(lambda: inspection.find_reserved(self._engine, self._accounts()))
        under_way = set(self._under_way)
        return [_found(hostname, one) for one in found if one.seq not in under_way]

    def query(self, hostname: str, task_ids: Sequence[str]) -> dict[str, tuple[str, Entry]]:
        """Return where the jobs of these Celery ids stand, as far as they are this worker's accounts'. Raises ``DatabaseAway``."""
        found = self._look(lambda: inspection.find_by_ids(self._engine, self._accounts(), task_ids))
        return {one.task_id: (self._standing(one), {**_found(hostname, one), "status": one.status}) for one in found}

    def revoked(self, revoked: Sequence[str]) -> list[str]:
        """Return the ids among ``revoked`` that were cancelled, and those whose job has not come yet. Raises ``DatabaseAway``."""
        return self._look(lambda: inspection.find_revoked(self._engine, revoked))

    def _standing(self, found: Found) -> str:
        if found.state is State.ENDED:
            return "ended"
        if found.seq in self._under_way or found.state is State.SENDING:
            return "active"
        # One that backs off after an attempt is in its lane.
        return "scheduled" if found.state is State.DEFERRED and not found.attempts else "reserved"

    def _look(self, work: Callable[[], T]) -> T:
        """Look into SQL beside Celery's thread, and wait a moment for it: not at all while an earlier look is not done."""
        if self._looking:
            raise DatabaseAway("the database is slow or away: an earlier question is not answered yet")
        answer: queue.SimpleQueue[T | Exception] = queue.SimpleQueue()

        async def look() -> None:
            try:
                answer.put(await asyncio.to_thread(work))
            except Exception as error:  # noqa: BLE001 - raised where it was asked
                answer.put(error)
            finally:
                self._looking = False

        self._looking = True
        self._begin(look())
        try:
            found = answer.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise DatabaseAway(f"the database did not answer within {PATIENCE_SECONDS:g} s") from None
        if isinstance(found, Exception):
            raise found
        return found


def _chat_of(job: Job) -> Entry | None:
    return {"type": job.chat.type, "id": job.chat.id} if job.chat else None


def _found(hostname: str, one: Found) -> Entry:
    chat = {"type": one.chat_type, "id": one.chat_id} if one.chat_type else None
    return _entry(hostname, one.task_id, one.job_id, one.account, one.task, one.priority, chat, None)


def _entry(
    hostname: str,
    task_id: str,
    job_id: str,
    account: str,
    task: str,
    priority: int,
    chat: Entry | None,
    began: float | None,
) -> Entry:
    """Return a job in the form of Celery's ``Request.info``."""
    return {
        "id": task_id,
        "name": task,
        "args": [],
        "kwargs": {"job_id": job_id, "account": account, "chat": chat},
        "type": task,
        "hostname": hostname,
        "time_start": began,
        "acknowledged": True,
        "delivery_info": {
            "exchange": "",
            "routing_key": queue_of(account),
            "priority": priority,
            "redelivered": False,
        },
        "worker_pid": os.getpid() if began is not None else None,
    }
