"""How a job ended, as columns of its row; and the end of jobs that wait."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from worker68.jobs.outcome import Outcome, first_revision, whole_outcome
from worker68.jobs.states import Event, sources, target
from worker68.store.statements.outbox import post_outcomes
from worker68.store.tables import BRIDGE_CODE_LENGTH, jobs, plain


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

    One that is being sent is not touched. What earlier steps of a job have done stands in its result.
    """
    seqs = set(seqs)
    begun = select(jobs.c.seq, jobs.c.done).where(jobs.c.seq.in_(seqs), jobs.c.done.is_not(None))
    done = {row.seq: decode_done(row.done) for row in connection.execute(begun)}
    ended = _end(connection, seqs - done.keys(), event, outcome, now)
    for seq, result in done.items():
        ended += _end(connection, {seq}, event, whole_outcome(outcome, result), now)
    post_outcomes(connection, ended, now)
    return ended


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
