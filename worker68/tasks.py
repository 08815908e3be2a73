"""The tasks as Celery sees them: thin. Each one lets the runtime run the job whose number the delivery carries."""

from __future__ import annotations

import json
from typing import Any

import structlog
from celery import Celery

from worker68 import runtime
from worker68.broker.request import Told, strategy_of
from worker68.client import JobFailed
from worker68.execution.slots import StepDone
from worker68.jobs.kinds import KINDS
from worker68.jobs.outcome import Outcome, Status, TryAgain

log = structlog.get_logger(__name__)


def register(app: Celery) -> None:
    """Give the application one task for each kind of job."""
    for name in KINDS:
        app.task(
            _not_delivered,
            bind=True,
            name=name,
            ignore_result=True,
            throws=(RuntimeError,),
            shared=False,
            Strategy=Strategy,
        )


def _not_delivered(task: Any, *_: Any, **__: Any) -> None:
    """What Celery itself would run: a message of ours on a queue that is not ours."""
    remedy = "jobs are taken in from the queues worker68 and worker68.<account> alone: send it there"
    log.error("job_on_other_queue", task=task.name, task_id=task.request.id, remedy=remedy)
    raise RuntimeError(remedy)


async def _run(seq: int, task_id: str) -> Told:
    """Run one job. What Celery tells of its end follows its outcome; between two steps the task stays started."""
    conclusion = await runtime.current().run(seq)
    if conclusion is None or isinstance(conclusion, StepDone):
        return Told(None, {})
    if isinstance(conclusion, TryAgain):
        return Told("task-retried", {"exception": conclusion.reason, "traceback": ""})
    if conclusion.status is Status.SUCCEEDED:
        return Told("task-succeeded", {"result": repr({"status": str(conclusion.status)})})
    return Told("task-failed", {"exception": repr(JobFailed(_brief(task_id, conclusion))), "traceback": ""})


def _brief(task_id: str, outcome: Outcome) -> str:
    error = outcome.error.as_dict() if outcome.error else None
    return json.dumps({"job_id": task_id, "status": str(outcome.status), "error": error})


Strategy = staticmethod(strategy_of(_run, lambda way: runtime.current().jobs.begin(way)))
