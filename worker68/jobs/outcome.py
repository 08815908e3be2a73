"""What may become of a job: exactly one outcome, or another try."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


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
