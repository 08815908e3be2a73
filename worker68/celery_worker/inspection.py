"""What this worker's jobs look like to remote control: under way from memory, all others from SQL.

In: questions. Out: entries of the form that Celery's ``inspect`` and Flower know, with the job's id, account and chat in place of
its arguments; what a revoke came to. Never: message text; a wait for SQL longer than ``PATIENCE_SECONDS``.
"""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import structlog

from worker68.broker.place import queue_of
from worker68.errors import DatabaseAway
from worker68.jobs.job import Job
from worker68.jobs.states import State
from worker68.runtime import Runtime
from worker68.store import inspection
from worker68.store.inspection import Found
from worker68.store.waiting import Cancelled

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: So long Celery's thread waits for SQL: a look takes milliseconds, and whoever asks waits for a second.
PATIENCE_SECONDS: Final = 0.5

Entry = dict[str, Any]


class Inspection:
    """Answers remote control. On Celery's thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        # The answers that are not there yet.
        self._open: set[object] = set()

    def active(self, hostname: str) -> list[Entry]:
        """Return the jobs that have their turn in this worker."""
        runs = list(self._runtime.runs.under_way.values())  # in one step: the loop changes it meanwhile
        return [_active(hostname, run.ready.job, run.began_at) for run in runs]

    def scheduled(self, hostname: str) -> list[Entry]:
        """Return the jobs of this worker's accounts that are not due yet. Raises ``DatabaseAway``."""
        found = self._look(inspection.find_scheduled, self._runtime.owned_accounts())
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
        found = self._look(inspection.find_reserved, self._runtime.owned_accounts())
        under_way = set(self._runtime.runs.under_way)
        return [_found(hostname, one) for one in found if one.seq not in under_way]

    def query(self, hostname: str, task_ids: Sequence[str]) -> dict[str, tuple[str, Entry]]:
        """Return where the jobs of these Celery ids stand, as far as they are this worker's accounts'. Raises ``DatabaseAway``."""
        found = self._look(inspection.find_by_ids, self._runtime.owned_accounts(), task_ids)
        return {one.task_id: (self._standing(one), {**_found(hostname, one), "status": one.status}) for one in found}

    def revoked(self, revoked: Sequence[str]) -> list[str]:
        """Return the ids among ``revoked`` that were cancelled, and those whose job has not come yet. Raises ``DatabaseAway``."""
        return self._look(inspection.find_revoked, revoked)

    def revoke(self, task_ids: Sequence[str]) -> Cancelled | None:
        """Cancel the waiting jobs of these Celery ids; return what came of it, None where that takes longer or failed."""
        try:
            # Where an answer is open already, the database is slow: this one is not waited for.
            return self._ask(self._runtime.revoke(task_ids), 0.0 if self._open else PATIENCE_SECONDS)
        except DatabaseAway:
            return None

    def _standing(self, found: Found) -> str:
        if found.state is State.ENDED:
            return "ended"
        if found.seq in self._runtime.runs.under_way or found.state is State.SENDING:
            return "active"
        # One that backs off after an attempt is in its lane.
        return "scheduled" if found.state is State.DEFERRED and not found.attempts else "reserved"

    def _look(self, find: Callable[..., T], *what: object) -> T:
        """Ask SQL on the pool. Raises ``DatabaseAway`` where no answer comes within a moment, or an earlier one is still open."""
        if self._open:
            raise DatabaseAway("the database is slow or away: an earlier question is not answered yet")
        return self._ask(asyncio.to_thread(find, self._runtime.engine, *what), PATIENCE_SECONDS)

    def _ask(self, question: Coroutine[Any, Any, T], patience_seconds: float) -> T:
        """Let a coroutine run on the loop, and wait so long for what it returns or raises; it goes on where that is too short."""
        answer: queue.SimpleQueue[T | Exception] = queue.SimpleQueue()

        async def find_out() -> None:
            found: T | Exception
            try:
                found = await question
            except Exception as error:  # noqa: BLE001 - raised where it was asked
                found = error
            finally:
                self._open.discard(answer)
            answer.put(found)

        self._open.add(answer)
        self._runtime.loop.begin(find_out())
        try:
            found = answer.get(timeout=patience_seconds)
        except queue.Empty:
            raise DatabaseAway(f"the database did not answer within {patience_seconds:g} s") from None
        if isinstance(found, Exception):
            raise found
        return found


def _active(hostname: str, job: Job, began_at: float) -> Entry:
    chat = {"type": job.chat.type, "id": job.chat.id} if job.chat else None
    return _entry(hostname, job.task_id, job.job_id, job.account, job.task, job.priority, chat, began_at)


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
