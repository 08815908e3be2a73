"""What this worker's jobs look like to remote control: under way from memory, all others from SQL.

In: questions. Out: entries of the form that Celery's ``inspect`` and Flower know, with the job's id, account and chat in place of
its arguments. Never: message text; a wait for SQL longer than ``PATIENCE_SECONDS``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import msgspec

from worker68.broker.place import queue_of
from worker68.errors import DatabaseAway
from worker68.jobs.job import Job
from worker68.jobs.states import State
from worker68.loop import LoopThread
from worker68.observe.runs import Runs
from worker68.store import inspection
from worker68.store.engine import Engine
from worker68.store.inspection import Found

T = TypeVar("T")

#: Celery's thread waits so long for SQL: a look takes milliseconds, and the client waits a second.
PATIENCE_SECONDS: Final = 0.5

Entry = dict[str, Any]


class Inspection:
    """Answers remote control, on Celery's thread. ``accounts`` are those that this worker owns."""

    def __init__(
        self,
        engine: Engine,
        accounts: Callable[[], list[str]],
        loop: LoopThread,
        runs: Runs,
    ) -> None:
        self._engine = engine
        self._accounts = accounts
        self._loop = loop
        self._runs = runs
        self._looking: Future[Any] | None = None  # the last look

    def active(self, hostname: str) -> list[Entry]:
        """Return the jobs that have their turn in this worker."""
        runs = list(self._runs.under_way.values())  # in one step: the loop changes it meanwhile
        return [_entry(hostname, run.ready.job, run.began_at) for run in runs]

    def scheduled(self, hostname: str) -> list[Entry]:
        """Return the jobs of this worker's accounts that are not due yet. Raises ``DatabaseAway``."""
        found = self._look(lambda: inspection.find_scheduled(self._engine, self._accounts()))
        return [
            {
                "eta": one.due_at.isoformat() if one.due_at else None,
                "priority": one.priority,
                "request": _entry(hostname, one),
            }
            for one in found
        ]

    def reserved(self, hostname: str) -> list[Entry]:
        """Return the jobs of this worker's accounts that wait for their turn. Raises ``DatabaseAway``."""
        found = self._look(lambda: inspection.find_reserved(self._engine, self._accounts()))
        under_way = set(self._runs.under_way)
        return [_entry(hostname, one) for one in found if one.seq not in under_way]

    def query(self, hostname: str, task_ids: Sequence[str]) -> dict[str, tuple[str, Entry]]:
        """Return where the jobs of these Celery ids stand, as far as they are this worker's accounts'. Raises ``DatabaseAway``."""
        found = self._look(lambda: inspection.find_by_ids(self._engine, self._accounts(), task_ids))
        return {one.task_id: (self._standing(one), {**_entry(hostname, one), "status": one.status}) for one in found}

    def revoked(self, revoked: Sequence[str]) -> list[str]:
        """Return the ids among ``revoked`` that were cancelled, and those whose job has not come yet. Raises ``DatabaseAway``."""
        return self._look(lambda: inspection.find_revoked(self._engine, revoked))

    def _standing(self, found: Found) -> str:
        if found.state is State.ENDED:
            return "ended"
        if found.seq in self._runs.under_way or found.state is State.SENDING:
            return "active"
        # One that backs off after an attempt is in its lane.
        return "scheduled" if found.state is State.DEFERRED and not found.attempts else "reserved"

    def _look(self, work: Callable[[], T]) -> T:
        """Look into SQL beside Celery's thread, and wait a moment for it: not at all while an earlier look is not done."""
        if self._looking is not None and not self._looking.done():
            raise DatabaseAway("the database is slow or away: an earlier question is not answered yet")
        self._looking = looking = self._loop.submit(asyncio.to_thread(work))
        try:
            return looking.result(PATIENCE_SECONDS)
        except TimeoutError:
            raise DatabaseAway(f"the database did not answer within {PATIENCE_SECONDS:g} s") from None


def _entry(hostname: str, job: Job | Found, began: float | None = None) -> Entry:
    """Return a job in the form of Celery's ``Request.info``."""
    return {
        "id": job.task_id,
        "name": job.task,
        "args": [],
        "kwargs": {"job_id": job.job_id, "account": job.account, "chat": msgspec.to_builtins(job.chat)},
        "type": job.task,
        "hostname": hostname,
        "time_start": began,
        "acknowledged": True,
        "delivery_info": {
            "exchange": "",
            "routing_key": queue_of(job.account),
            "priority": job.priority,
            "redelivered": False,
        },
        "worker_pid": os.getpid() if began is not None else None,
    }
