"""The tasks as Celery knows them: their names, what they do and which fields they take.

They are what producers that have this application send jobs by: ``delay`` and ``apply_async`` put a job in. No worker runs them:
the jobs of a worker begin on its loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery

from worker68.jobs.task import Task
from worker68.tasks import TASKS

log = structlog.get_logger(__name__)


def register(app: Celery) -> None:
    """Give the application one task for each kind of job."""
    for name, task in TASKS.items():
        # typing: whether the fields are right is said in the reply.
        app.task(
            _function_of(task),
            bind=True,
            name=name,
            throws=(RuntimeError,),
            shared=False,
            typing=False,
        )


def _function_of(task: Task) -> Callable[..., None]:
    """Return what Celery would run: it has the task's description and fields, and says where to send the message instead."""

    def refuse(celery_task: Any, *_: Any, **__: Any) -> None:
        remedy = "jobs are taken in from the queues worker68 and worker68.<account> alone: send it there"
        log.error("job_on_other_queue", task=celery_task.name, task_id=celery_task.request.id, remedy=remedy)
        raise RuntimeError(remedy)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    every_job = inspect.Parameter("every_job", inspect.Parameter.VAR_KEYWORD)  # the fields that every job takes
    fields = [
        field.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for field in inspect.signature(task.fields).parameters.values()
    ]
    refuse.__name__ = task.name.rpartition(".")[2]
    refuse.__doc__ = task.summary
    refuse.__signature__ = inspect.Signature([own, *fields, every_job])  # type: ignore[attr-defined]
    return refuse
