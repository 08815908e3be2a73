"""The message by which a ready job reaches Celery: the job's own Celery id and task, and its number instead of its fields.

In: a job. Out: a kombu payload. Never: message text, which Celery would show in events and to Flower.
"""

from __future__ import annotations

import msgspec

from worker68.broker.delivery import Deliverable
from worker68.broker.place import queue_of
from worker68.jobs.job import Job


def deliverable(job: Job) -> Deliverable:
    """Return the message that makes Celery run ``job``: its task is called with ``seq`` alone."""
    shown = _shown(job)
    queue = queue_of(job.account)
    headers = {
        "lang": "py",
        "task": job.task,
        "id": job.task_id,
        "root_id": job.task_id,
        "parent_id": None,
        "group": None,
        "retries": job.attempts,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": shown,
        "origin": "worker68",
        # Results leave through the outbox, not through Celery's tracing of the task.
        "ignore_result": True,
        "shadow": None,
    }
    raw = {
        "body": msgspec.json.encode([[], {"seq": job.seq}, {}]).decode(),
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
