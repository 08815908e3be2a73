"""How a job ended: the columns of its row, and what is to leave for Redis, written in the transaction that decided it.

In: outcomes; numbers of jobs that have ended, or are to end while they wait. Out: rows of ``jobs`` and of the outbox, which are
deleted once Redis has them. Never: a change of an attempt.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Delete, Insert, Row, Select, delete, func, insert, or_, select, update

from worker68.jobs.outcome import (
    ErrorCode,
    Outcome,
    Reply,
    Status,
    celery_deferred,
    celery_result,
    encode_reply,
    first_revision,
    perhaps_made,
    reply_id,
    whole_outcome,
)
from worker68.jobs.states import Event, sources, target
from worker68.jobs.task import Nature
from worker68.store.endings import Ending, note
from worker68.store.statements.batches import among, batch_of, look_up, pack
from worker68.store.tables import BRIDGE_CODE_LENGTH, attempts, jobs, outbox, plain, requesters
from worker68.tasks import find_step


@dataclass(frozen=True)
class OutboxEntry:
    """A row of the outbox: ``kind`` is ``reply``, ``result``, ``deferred`` or ``dead``.

    ``refusals``: how often Redis has refused it for good; above 0 it is a row of ``refused``.
    """

    id: int
    account: str
    kind: str
    address: str
    payload: str
    refusals: int = 0


@dataclass(frozen=True)
class Requester:
    """A Celery message that asked for a job. ``reply_to`` is empty where no reply is wanted; ``metadata`` is JSON."""

    task_id: str
    reply_to: str = ""
    metadata: str | None = None
    ignore_result: bool = False


def pack_reply(reply: Reply, to: Requester, now: dt.datetime) -> list[dict[str, Any]]:
    """Return the outbox rows by which one requester learns of ``reply``."""
    encoded = encode_reply(reply)
    rows = []
    if to.reply_to:
        rows.append(_row(reply.account, "reply", to.reply_to, encoded, now))
    if not to.ignore_result:
        rows.append(_row(reply.account, "result", to.task_id, celery_result(reply, encoded), now))
    return rows


def pack_dead(account: str, payload: str, now: dt.datetime) -> dict[str, Any]:
    """Return the outbox row of a message that is set aside on ``worker68:dead``."""
    return _row(account, "dead", "", payload, now)


def pack_deferred(account: str, task_id: str, now: dt.datetime, reason: str | None = None) -> dict[str, Any]:
    """Return the outbox row by which Celery's result says that the job waits, and why, where it says nothing yet."""
    return _row(account, "deferred", task_id, celery_deferred(task_id, reason), now)


def post(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows to the outbox within the caller's transaction."""
    if rows:
        dialect = connection.dialect.name
        connection.execute(_post(dialect), pack(dialect, rows))


#: What is given of an entry.
_OF_ENTRY: Final = tuple(outbox.c[name] for name in ("account", "kind", "address", "payload", "created_at"))


@functools.cache
def _post(dialect: str) -> Insert:
    return insert(outbox).from_select(_OF_ENTRY, select(*batch_of(dialect, *_OF_ENTRY).c))


def post_outcomes(connection: Connection, seqs: Iterable[int], now: dt.datetime) -> None:
    """Add to the outbox, for each of these ended jobs, a reply to everyone who asked for it."""
    asked = [{"seq": seq} for seq in seqs]
    if not asked:
        return
    rows: list[dict[str, Any]] = []
    noted: set[tuple[str, str]] = set()
    dialect = connection.dialect.name
    for row in connection.execute(_who_asked(dialect), pack(dialect, asked)):
        if (row.account, row.job_id) not in noted:
            noted.add((row.account, row.job_id))
            note(connection, Ending(row.account, row.task, row.status, row.error_code or "", row.revision > 1))
        to = Requester(row.task_id, row.reply_to, row.metadata, row.ignore_result)
        rows += pack_reply(reply_of(row, to), to, now)
    post(connection, rows)


#: A code of the bridge that was a number: 64 bit, so what is longer was a text.
_INTEGER: Final = re.compile("-?[0-9]{1,19}")

#: What ``reply_of`` needs of a job's row.
_OF_REPLY: Final = (
    *("job_id", "task", "account", "status", "result", "error_code", "error_message", "bridge_code", "attempts"),
    *("received_at", "finished_at", "revision", "reason"),
)


@functools.cache
def _who_asked(dialect: str) -> Select[Any]:
    batch = batch_of(dialect, jobs.c.seq)
    ended, job = look_up(dialect, batch, jobs, jobs.c.seq == batch.c.seq)
    asked, who = look_up(dialect, ended, requesters, requesters.c.seq == batch.c.seq)
    columns = (*(job[name] for name in _OF_REPLY), who.task_id, who.reply_to, who.metadata, who.ignore_result)
    return select(*columns).select_from(asked).order_by(who.id)


def reply_of(row: Row[Any], to: Requester) -> Reply:
    """Return the reply to ``to`` that the row of an ended job gives."""
    error = None
    if row.error_code is not None:
        error = {"code": row.error_code, "message": row.error_message}
        if row.bridge_code is not None:
            error["bridge_code"] = int(row.bridge_code) if _INTEGER.fullmatch(row.bridge_code) else row.bridge_code
    return Reply(
        job_id=row.job_id,
        task_id=to.task_id,
        task=row.task,
        account=row.account,
        status=row.status,
        result=msgspec.json.decode(row.result) if row.result else None,
        error=error,
        attempts=row.attempts,
        received_at=row.received_at,
        finished_at=row.finished_at,
        metadata=msgspec.json.decode(to.metadata) if to.metadata else None,
        revision=row.revision,
        reply_id=reply_id(row.account, row.job_id, row.received_at, row.revision),
        reason=row.reason if row.status in (Status.EXPIRED, Status.CANCELLED) else None,
    )


def forget(connection: Connection, ids: Iterable[int]) -> None:
    """Delete entries that need not be published any more."""
    dialect = connection.dialect.name
    connection.execute(_forget(dialect), pack(dialect, ({"id": id_} for id_ in ids)))


@functools.cache
def _forget(dialect: str) -> Delete:
    return delete(outbox).where(among(dialect, outbox.c.id, select(batch_of(dialect, outbox.c.id).c.id)))


def _row(account: str, kind: str, address: str, payload: str, now: dt.datetime) -> dict[str, Any]:
    return {"account": account, "kind": kind, "address": address, "payload": payload, "created_at": now}


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


def find_done(connection: Connection, seq: int) -> dict[str, Any] | None:
    """Return what the steps of a job have to show so far; None where that is nothing."""
    return decode_done(connection.scalar(select(jobs.c.done).where(jobs.c.seq == seq)))


def end_waiting(
    connection: Connection, seqs: Iterable[int], event: Event, outcome: Outcome, now: dt.datetime
) -> list[int]:
    """End jobs that wait (EXPIRE, CANCEL, REFUSE) and post the replies; return those that did.

    One that is being sent is not touched. What earlier steps of a job have done stands in its result. A change that was written
    and not answered may have been made: it does not end as expired or cancelled, which would say that it was not.
    """
    seqs = set(seqs)
    # None of them is begun from here on: a step that is done in between would be missing in the result.
    waits = (jobs.c.seq.in_(seqs), jobs.c.state.in_(sources(event)))
    connection.execute(select(jobs.c.seq).where(*waits).order_by(jobs.c.seq).with_for_update())
    tried = connection.execute(_TRIED.where(jobs.c.seq.in_(seqs))).all()
    ended = _end(connection, seqs - {row.seq for row in tried}, event, outcome, now)
    for row in tried:
        last = perhaps_made(outcome) if outcome.error is None and row.unanswered and _is_change(row) else outcome
        ended += _end(connection, {row.seq}, event, whole_outcome(last, decode_done(row.done)), now)
    post_outcomes(connection, ended, now)
    return ended


#: How many attempts at the job's present step there are of which nothing says that they were not carried out. Counted, which is a
#: look into an index for each job: PostgreSQL may read through all of a table for what merely exists.
_UNANSWERED: Final = (
    select(func.count())
    .where(
        attempts.c.seq == jobs.c.seq,
        attempts.c.step == jobs.c.step,
        attempts.c.ending.in_([ErrorCode.UNAVAILABLE, ErrorCode.WORKER_LOST]),
    )
    .scalar_subquery()
)
_TRIED: Final = select(
    jobs.c.seq, jobs.c.task, jobs.c.fields, jobs.c.step, jobs.c.done, _UNANSWERED.label("unanswered")
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
