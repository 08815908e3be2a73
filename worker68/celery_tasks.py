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
from worker68.jobs.outcome import JobError, Outcome, Status, TryAgain
from worker68.tasks import TASKS

log = structlog.get_logger(__name__)


def register(app: Celery) -> None:
    """Give the application one task for each kind of job."""
    for name in TASKS:
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
    """Run one job. What Celery tells of its end follows its outcome."""
    return tell_end(task_id, await runtime.current().run(seq))


def tell_end(task_id: str, conclusion: Outcome | TryAgain | StepDone | None) -> Told:
    """Return what Celery's events tell of a run: codes, and no words. Those of the bridge may repeat the message's text.

    Between two steps the task stays started.
    """
    if conclusion is None or isinstance(conclusion, StepDone):
        return Told(None, {})
    if isinstance(conclusion, TryAgain):
        return Told("task-retried", {"exception": _codes(conclusion), "traceback": ""})
    if conclusion.status is Status.SUCCEEDED:
        return Told("task-succeeded", {"result": repr({"status": str(conclusion.status)})})
    brief: dict[str, Any] = {"job_id": task_id, "status": str(conclusion.status), "error": None}
    if conclusion.error is not None:
        brief["error"] = {"code": _codes(conclusion.error), "message": "its reply and worker68 jobs show say why"}
    return Told("task-failed", {"exception": repr(JobFailed(json.dumps(brief))), "traceback": ""})


def _codes(problem: JobError | TryAgain) -> str:
    """Return the codes of a problem; the bridge's only where it is a number, for as a text it is another of its words."""
    return f"{problem.code} {problem.bridge_code}" if isinstance(problem.bridge_code, int) else str(problem.code)


Strategy = staticmethod(strategy_of(_run, lambda way: runtime.current().loop.begin(way)))
