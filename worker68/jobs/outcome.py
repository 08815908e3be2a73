"""What may become of a job: exactly one outcome, or another try; and the reply that says so, as JSON and as Celery's own result."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import msgspec


class Status(StrEnum):
    """How a job ended (contract, section 2)."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class ErrorCode(StrEnum):
    """Why a job did not succeed (contract, section 2)."""

    INVALID_JOB = "invalid_job"
    UNKNOWN_ACCOUNT = "unknown_account"
    NOT_PERMITTED = "not_permitted"
    SUPPRESSED = "suppressed"
    CONFLICT = "conflict"
    REFUSED = "refused"
    BUSY = "busy"
    NOT_SENT = "not_sent"
    NO_VERDICT = "no_verdict"
    CONNECTION_LOST = "connection_lost"
    WORKER_LOST = "worker_lost"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True)
class JobError:
    """The ``error`` of a reply. ``bridge_code`` is the bridge's or the service's own code, where it gave one."""

    code: ErrorCode
    message: str
    bridge_code: int | str | None = None

    def as_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"code": str(self.code), "message": self.message}
        if self.bridge_code is not None:
            fields["bridge_code"] = self.bridge_code
        return fields


@dataclass(frozen=True)
class Outcome:
    """The one end of a job. ``result`` says what was done, also where a later step failed.

    ``reason``: why it expired or was cancelled, in words; the contract has no error code for these two.
    """

    status: Status
    result: dict[str, Any] | None = None
    error: JobError | None = None
    reason: str | None = None


#: What ends a message that made no job: its answer says nothing about the job that has its ``job_id`` (contract, section 2).
MADE_NO_JOB = frozenset({ErrorCode.INVALID_JOB, ErrorCode.UNKNOWN_ACCOUNT, ErrorCode.CONFLICT})


def first_revision(outcome: Outcome) -> int:
    """Return the revision of a reply that is the first one: 1, or 0 where the message made no job."""
    return 0 if outcome.error is not None and outcome.error.code in MADE_NO_JOB else 1


@dataclass(frozen=True)
class TryAgain:
    """No outcome yet. ``spent``: the attempt reached the bridge, so back off and count it; else the job just waits its turn."""

    code: ErrorCode
    reason: str
    spent: bool
    bridge_code: int | str | None = None


def whole_outcome(last: Outcome, done: dict[str, Any] | None) -> Outcome:
    """Return the outcome of a job's last step as the job's: its result says what the steps before it did (``done``).

    Only an announcement has a step before it.
    """
    if done is None:
        return last
    return replace(last, result=done | {"announcement": last.result})


def succeeded(result: dict[str, Any]) -> Outcome:
    return Outcome(Status.SUCCEEDED, result=result)


def failed(code: ErrorCode, message: str, bridge_code: int | str | None = None) -> Outcome:
    return Outcome(Status.FAILED, error=JobError(code, message, bridge_code))


def in_doubt(code: ErrorCode, message: str) -> Outcome:
    return Outcome(Status.IN_DOUBT, error=JobError(code, message))


def expired(reason: str) -> Outcome:
    return Outcome(Status.EXPIRED, reason=reason)


def perhaps_made(given_up: Outcome) -> Outcome:
    """Return how a change ends that was written and not answered, where ``given_up`` says why it may not be tried again.

    An outcome that means "not done" would not be true.
    """
    return failed(
        ErrorCode.UNAVAILABLE, f"written, but no reply came, so it may have been made; then: {given_up.reason}"
    )


def cancelled(reason: str) -> Outcome:
    return Outcome(Status.CANCELLED, reason=reason)


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
