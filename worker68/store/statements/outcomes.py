"""How a job ended, as columns of its row; and the end of jobs that wait."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, and_, exists, or_, select, update

from worker68.jobs.outcome import ErrorCode, Outcome, first_revision, perhaps_made, whole_outcome
from worker68.jobs.states import Event, sources, target
from worker68.jobs.task import Nature
from worker68.store.statements.outbox import post_outcomes
from worker68.store.tables import BRIDGE_CODE_LENGTH, attempts, jobs, plain
from worker68.tasks import find_step


def outcome_columns(outcome: Outcome) -> dict[str, Any]:
    """Return the columns of ``jobs`` that say how it ended."""
    error = outcome.error
    return {
        "status": outcome.status,
        "result": msgspec.json.encode(outcome.result).decode() if outcome.result is not None else None,
        "error_code": error.code if error else None,
        "error_message": plain(error.message) if error else None,
        "bridge_code": plain(str(error.bridge_code))[:BRIDGE_CODE_LENGTH]
        if error and error.bridge_code is not None
        else None,
        "reason": plain(outcome.reason) if outcome.reason is not None else None,
    }


def decode_done(done: str | None) -> dict[str, Any] | None:
    """Return what ``jobs.done`` says: the result of the steps that are done."""
    return msgspec.json.decode(done, type=dict[str, Any]) if done is not None else None


def end_waiting(
    connection: Connection, seqs: Iterable[int], event: Event, outcome: Outcome, now: dt.datetime
) -> list[int]:
    """End jobs that wait (EXPIRE, CANCEL, REFUSE) and post the replies; return those that did.

    One that is being sent is not touched. What earlier steps of a job have done stands in its result. A change that was written
    and not answered may have been made: it does not end as expired or cancelled, which would say that it was not.
    """
    seqs = set(seqs)
    tried = connection.execute(_TRIED.where(jobs.c.seq.in_(seqs))).all()
    ended = _end(connection, seqs - {row.seq for row in tried}, event, outcome, now)
    for row in tried:
        last = perhaps_made(outcome) if outcome.error is None and row.unanswered and _is_change(row) else outcome
        ended += _end(connection, {row.seq}, event, whole_outcome(last, decode_done(row.done)), now)
    post_outcomes(connection, ended, now)
    return ended


#: Attempts at the job's present step of which nothing says that they were not carried out.
_UNANSWERED: Final = and_(
    attempts.c.seq == jobs.c.seq,
    attempts.c.step == jobs.c.step,
    attempts.c.ending.in_([ErrorCode.UNAVAILABLE, ErrorCode.WORKER_LOST]),
)
_TRIED: Final = select(
    jobs.c.seq, jobs.c.task, jobs.c.fields, jobs.c.step, jobs.c.done, exists().where(_UNANSWERED).label("unanswered")
).where(or_(jobs.c.done.is_not(None), jobs.c.attempts > 0))


def _is_change(row: Any) -> bool:
    """Whether the job's present step changes something. Taken for granted where this worker cannot read the row."""
    try:
        step = find_step(row.task, row.fields, row.step)
    except (ValueError, IndexError):
        return True
    return step is None or step.nature is Nature.CHANGE


def _end(connection: Connection, seqs: set[int], event: Event, outcome: Outcome, now: dt.datetime) -> list[int]:
    return list(
        connection.scalars(
            update(jobs)
            .where(jobs.c.seq.in_(seqs), jobs.c.state.in_(sources(event)))
            .values(
                state=target(event),
                finished_at=now,
                revision=first_revision(outcome),
                envelope=None,
                **outcome_columns(outcome),
            )
            .returning(jobs.c.seq)
        )
    )
