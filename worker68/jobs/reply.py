"""The reply: the answer to a producer, as JSON, and the same as Celery's own result."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import msgspec

from worker68.jobs.outcome import Outcome, Status

#: Replies of one job and revision always bear the same id, however often they are published: it is made from these two.
_REPLY_ID_NAMESPACE = uuid.UUID("6a0b7a52-0f4d-4d0a-9c57-5d8f4f1c6868")


class Reply(msgspec.Struct, frozen=True):
    """The reply of the contract, section 2; the fields stand in its order."""

    job_id: str
    task_id: str
    task: str
    account: str
    status: Status
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    attempts: int
    received_at: dt.datetime
    finished_at: dt.datetime
    metadata: dict[str, Any] | None
    revision: int
    reply_id: str
    #: Why it expired or was cancelled, in words; null for every other status.
    reason: str | None


def encode_reply(reply: Reply) -> str:
    """Return the reply as JSON; times are RFC 3339 in UTC."""
    return msgspec.json.encode(reply).decode()


def reply_id(account: str, job_id: str, received_at: dt.datetime, revision: int) -> str:
    """Return the id by which readers drop doubles: one per job and revision."""
    return str(uuid.uuid5(_REPLY_ID_NAMESPACE, f"{account}\n{job_id}\n{received_at.isoformat()}\n{revision}"))


def answer_id(account: str, job_id: str, task_id: str) -> str:
    """Return the same for the answer to a message that is no job of its own: invalid, or in conflict with another."""
    return str(uuid.uuid5(_REPLY_ID_NAMESPACE, f"{account}\n{job_id}\n{task_id}"))


def error_dict(outcome: Outcome) -> dict[str, Any] | None:
    return outcome.error.as_dict() if outcome.error else None


def celery_result(reply: Reply, encoded: str) -> str:
    """Return the entry of Celery's result backend for ``reply``, as JSON.

    SUCCESS carries the reply's object; FAILURE and REVOKED carry an exception whose first argument is the reply as JSON, of
    the class ``worker68.client.JobFailed``, or Celery's stand-in where that module is not imported.
    """
    state = {Status.SUCCEEDED: "SUCCESS", Status.CANCELLED: "REVOKED"}.get(reply.status, "FAILURE")
    result: Any = msgspec.Raw(encoded.encode())
    if state != "SUCCESS":
        result = {"exc_type": "JobFailed", "exc_message": [encoded], "exc_module": "worker68.client"}
    meta = {
        "status": state,
        "result": result,
        "traceback": None,
        "children": [],
        "date_done": reply.finished_at,
        "task_id": reply.task_id,
    }
    return msgspec.json.encode(meta).decode()


def celery_deferred(task_id: str, reason: str | None = None) -> str:
    """Return the entry of Celery's result backend for a job that waits; ``reason``: why (``AsyncResult.info``)."""
    meta: dict[str, Any] = {
        "status": "DEFERRED",
        "result": {"reason": reason} if reason else None,
        "traceback": None,
        "children": [],
        "date_done": None,
        "task_id": task_id,
    }
    return msgspec.json.encode(meta).decode()
