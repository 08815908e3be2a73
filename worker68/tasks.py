"""The tasks as Celery sees them: thin. Each one lets the runtime run the job whose number the delivery carries."""

from __future__ import annotations

import json
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Retry

from worker68 import runtime
from worker68.client import JobFailed
from worker68.jobs.kinds import KINDS
from worker68.jobs.outcome import Outcome, Status, TryAgain


def register(app: Celery) -> None:
    """Give the application one task for each kind of job."""
    for name in KINDS:
        app.task(_run, bind=True, name=name, ignore_result=True, throws=(JobFailed,), shared=False)


def _run(task: Task, seq: int) -> dict[str, Any] | None:
    """Run one job. What Celery makes of the end (an event for Flower, a log line) follows its outcome."""
    conclusion = runtime.current().run(seq)
    if isinstance(conclusion, TryAgain):
        raise Retry(message=conclusion.reason)
    if conclusion is None:
        raise Ignore
    if conclusion.status is Status.SUCCEEDED:
        return {"status": str(conclusion.status)}
    raise JobFailed(_brief(task, conclusion))


def _brief(task: Task, outcome: Outcome) -> str:
    error = outcome.error.as_dict() if outcome.error else None
    return json.dumps({"job_id": task.request.id, "status": str(outcome.status), "error": error})
