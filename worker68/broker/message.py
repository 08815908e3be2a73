"""The message by which a ready job reaches Celery: the job's own Celery id and task, and its number instead of its fields.

In: a job. Out: a kombu payload. Never: message text, which Celery would show in events and to Flower.
"""

from __future__ import annotations

from typing import Final

from worker68.broker.delivery import Deliverable
from worker68.broker.place import queue_of
from worker68.broker.request import SEQ
from worker68.jobs.job import Job

#: The body of a message without arguments.
_NOTHING: Final = "[[], {}, {}]"


def deliverable(job: Job) -> Deliverable:
    """Return the message that makes Celery run ``job``: its number is in the header ``SEQ``."""
    shown = _shown(job)
    queue = queue_of(job.account)
    headers = {
        "lang": "py",
        "task": job.task,
        "id": job.task_id,
        "root_id": job.task_id,
        "parent_id": None,
        "group": None,
        "retries": job.attempts - job.step,  # each step that is done took one attempt that was no retry
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": shown,
        "origin": "worker68",
        # Results leave through the outbox, not through Celery's tracing of the task.
        "ignore_result": True,
        "shadow": None,
        SEQ: job.seq,
    }
    raw = {
        "body": _NOTHING,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "body_encoding": "utf-8",
            "correlation_id": job.task_id,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "delivery_tag": str(job.seq),
            "priority": job.priority,
        },
    }
    return Deliverable(tag=str(job.seq), raw=raw)


def _shown(job: Job) -> str:
    chat = f", chat: {job.chat}" if job.chat else ""
    return f"{{job_id: {job.job_id}, account: {job.account}{chat}}}"
