"""Celery's events of tasks, as Flower shows them: what happens to jobs, in Celery's words.

In: what the feed has kept. Out: for a job that waits ``task-deferred``, then ``task-resumed`` or ``task-cancelled``, which are our
own; for one that runs Celery's. Codes, and no words: those of the bridge may repeat the message's text. Never: message text.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from worker68.client import JobFailed
from worker68.execution.slots import StepDone
from worker68.jobs.job import Job
from worker68.jobs.outcome import JobError, Outcome, Status, TryAgain
from worker68.observe.runs import Began, Cancelled, Conclusion, Deferred, Ended, Feed, Happening

#: Deferred jobs announced in one second at most: a burst of 100 000 would push everything else out of Flower's memory.
MOST_A_SECOND: Final = 100
#: Jobs remembered as deferred; a forgotten one is shown as deferred until it ends.
REMEMBERED: Final = 20_000

#: The type of an event, and its fields.
Event: TypeAlias = tuple[str, dict[str, Any]]


class JobEvents:
    """Publishes. On Celery's thread."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._deferred: OrderedDict[str, None] = OrderedDict()  # announced, and not yet begun
        self._second = 0
        self._left = 0

    def publish(self, dispatcher: Any) -> None:
        """Send what has happened since the last time, in few messages."""
        for at, happening in self._feed.take():
            for kind, fields in self._events_of(at, happening):
                dispatcher.send(kind, timestamp=at, **fields)
        dispatcher.flush()

    def _events_of(self, at: float, happening: Happening) -> Iterator[Event]:
        match happening:
            case Deferred(job):
                if self._remember(job.task_id, int(at)):
                    yield "task-deferred", _deferred(job)
            case Began(job):
                if self._forget(
                    job.task_id
                ):  # Celery's own events would not change what Flower shows of a deferred one
                    yield "task-resumed", {"uuid": job.task_id, "name": job.task}
                yield "task-received", _received(job)
                yield "task-started", {"uuid": job.task_id}
            case Ended(job, conclusion, seconds):
                event = end_event(job.task_id, conclusion)
                if event is not None:
                    kind, fields = event
                    yield kind, {"uuid": job.task_id, "runtime": seconds, **fields}
            case Cancelled(task_id):
                self._forget(task_id)
                yield "task-cancelled", {"uuid": task_id}

    def _remember(self, task_id: str, second: int) -> bool:
        """Remember that a job is announced as deferred; False where enough were announced in this second."""
        if second != self._second:
            self._second, self._left = second, MOST_A_SECOND
        if self._left == 0:
            return False
        self._left -= 1
        self._deferred[task_id] = None
        if len(self._deferred) > REMEMBERED:
            self._deferred.popitem(last=False)
        return True

    def _forget(self, task_id: str) -> bool:
        return self._deferred.pop(task_id, False) is None


def end_event(task_id: str, conclusion: Conclusion) -> Event | None:
    """Return the event of a run's end; None where nothing has changed: between two steps a task stays started."""
    if conclusion is None or isinstance(conclusion, StepDone):
        return None
    if isinstance(conclusion, TryAgain):
        return "task-retried", {"exception": _codes(conclusion), "traceback": ""}
    if conclusion.status is Status.SUCCEEDED:
        return "task-succeeded", {"result": repr({"status": str(conclusion.status)})}
    return "task-failed", {"exception": repr(_failure(task_id, conclusion)), "traceback": ""}


def _failure(task_id: str, outcome: Outcome) -> JobFailed:
    brief: dict[str, Any] = {"job_id": task_id, "status": str(outcome.status), "error": None}
    if outcome.error is not None:
        brief["error"] = {"code": _codes(outcome.error), "message": "its reply and worker68 jobs show say why"}
    return JobFailed(json.dumps(brief))


def _codes(problem: JobError | TryAgain) -> str:
    """Return the codes of a problem; the bridge's only where it is a number, for as a text it is another of its words."""
    return f"{problem.code} {problem.bridge_code}" if isinstance(problem.bridge_code, int) else str(problem.code)


def _described(job: Job) -> dict[str, Any]:
    return {"uuid": job.task_id, "name": job.task, "args": "()", "kwargs": _shown(job)}


def _deferred(job: Job) -> dict[str, Any]:
    eta = job.due_at.isoformat() if job.due_at is not None else None
    return _described(job) | {"eta": eta, "received": job.received_at.timestamp()}


def _received(job: Job) -> dict[str, Any]:
    retries = job.attempts - job.step  # each step that is done took one attempt that was no retry
    of_celery = {"root_id": job.task_id, "parent_id": None, "retries": retries, "eta": None, "expires": None}
    return _described(job) | of_celery


def _shown(job: Job) -> str:
    chat = f", chat: {job.chat}" if job.chat else ""
    return f"{{job_id: {job.job_id}, account: {job.account}{chat}}}"
