"""A popped batch becomes rows: one transaction, in pop order, idempotent.

In: what intake made of each message. Out: the new jobs that may run. What repeats a known idempotency key runs nothing: with the
same content its requester joins the job, with other content it gets a conflict. Taking the same batch in twice changes nothing.
"""

from __future__ import annotations

import datetime as dt
import functools
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import structs
from sqlalchemy import (
    Boolean,
    Connection,
    Engine,
    Integer,
    Row,
    Select,
    and_,
    column,
    delete,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.exc import StatementError
from sqlalchemy.sql.dml import ReturningInsert

from worker68.errors import DatabaseAway, DatabaseRefused
from worker68.jobs.outcome import (
    MADE_NO_JOB,
    ErrorCode,
    Outcome,
    Reply,
    answer_id,
    cancelled,
    error_dict,
    expired,
    failed,
    first_revision,
)
from worker68.jobs.states import State
from worker68.store.endings import Ending, note
from worker68.store.engine import first_line, transaction
from worker68.store.statements.batches import batch_of, look_up, pack, same
from worker68.store.statements.outcomes import (
    Requester,
    outcome_columns,
    pack_dead,
    pack_deferred,
    pack_reply,
    post,
    post_outcomes,
    reply_of,
)
from worker68.store.statements.suppressions import find_suppressed, is_suppressed, suppressed_outcome
from worker68.store.tables import (
    IN_LANE,
    INSERT,
    PARKED_LANE,
    cancellations,
    jobs,
    requesters,
)

#: Two workers may take in the same idempotency key at once (front door and account's queue); the loser looks again. So does who has
#: drawn a ``custom_msg_id`` that its account has already: with a million jobs one of a hundred thousand.
TRIES = 5


@dataclass(frozen=True)
class Entry:
    """A message that has an envelope, as its row will be. ``outcome``: it ends at once. ``row``: the columns of ``jobs``.

    ``is_job`` is False for a message that is no valid job: it is answered by itself, and gets a row where the key is free, but
    does not hold the key. ``most_ahead``: with more jobs before it in its lane than these it would be late, and ends at once.
    ``dependents``: Celery ids of tasks that were to follow a message that is no valid job; they get its answer as their result.
    """

    row: dict[str, Any]
    requester: Requester
    outcome: Outcome | None = None
    is_job: bool = True
    sends: bool = False
    most_ahead: int | None = None
    dependents: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.row["account"], self.row["job_id"]

    @property
    def is_parked(self) -> bool:
        """Whether its task is unknown, if it does not end at once."""
        return bool(self.row["lane"] == PARKED_LANE)

    @property
    def is_plain(self) -> bool:
        """Whether it is a job that waits for its turn, as far as the message itself says."""
        return self.is_job and self.outcome is None and self.most_ahead is None and not self.is_parked


@dataclass(frozen=True)
class Dead:
    """A message to set aside on ``worker68:dead``: the entry there as JSON, with the reason."""

    account: str
    payload: str


@dataclass(frozen=True)
class Taken:
    """A new, unfinished job. ``custom_msg_id`` is what its send will be called at the bridge."""

    seq: int
    custom_msg_id: int | None


def take_in(engine: Engine, entries: Sequence[Entry], dead: Sequence[Dead], now: dt.datetime) -> list[Taken | None]:
    """Write a batch in its order; return for each entry its new, unfinished job, or None if it runs nothing.

    Most batches hold new jobs alone. They are inserted unseen; only where one of them is not new after all, or was revoked, or goes
    to a chat on the do-not-contact list, all is taken back, and what is known of each message is looked up before.

    Raises ``DatabaseAway`` (nothing was written, or all was: repeat it), ``DatabaseRefused`` (a message holds unfit data). Anything
    else that it raises is a message's fault too, and nothing was written.
    """
    plain = not dead and all(entry.is_plain for entry in entries)
    for attempt in range(TRIES):
        try:
            with transaction(engine) as connection:
                batch = _Batch(connection, now)
                return [*batch.insert(entries)] if plain and attempt == 0 else batch.write(entries, dead)
        except _NotNew:
            continue
        except StatementError as error:
            if str(getattr(error.orig, "sqlstate", "")).startswith("42"):  # the statement is wrong, whatever it holds
                raise DatabaseAway(first_line(error)) from error
            raise DatabaseRefused(first_line(error)) from None
    raise DatabaseRefused("another worker takes in the same job_id again and again")


class _NotNew(Exception):
    """The database has a row with a key that was to be inserted, or the job must not wait for its turn."""


class _Batch:
    """One transaction of intake."""

    def __init__(self, connection: Connection, now: dt.datetime) -> None:
        self._connection = connection
        self._now = now
        self._outgoing: list[dict[str, Any]] = []

    def write(self, entries: Sequence[Entry], dead: Sequence[Dead]) -> list[Taken | None]:
        self._outgoing += [pack_dead(item.account, item.payload, self._now) for item in dead]
        known = self._find([entry.key for entry in entries])
        barred = find_suppressed(self._connection, {_chat(entry) for entry in entries if entry.sends})
        revoked = self._find_revoked(entries)
        fresh: dict[tuple[str, str], tuple[int, Entry]] = {}
        joining: list[tuple[Entry, tuple[str, str]]] = []
        for index, entry in enumerate(entries):
            row = known.get(entry.key)
            if not entry.is_job:
                self._answer(entry, entry.outcome)
                if row is None:
                    fresh.setdefault(
                        entry.key, (index, self._decide(entry, barred, revoked, [one for _, one in fresh.values()]))
                    )
                continue
            if row is not None and row.error_code in MADE_NO_JOB:
                self._connection.execute(delete(jobs).where(jobs.c.seq == row.seq))
                del known[entry.key]
                row = None
            first = fresh.get(entry.key)
            if row is None and (first is None or not first[1].is_job):
                fresh.pop(entry.key, None)
                fresh[entry.key] = (index, self._decide(entry, barred, revoked, [one for _, one in fresh.values()]))
                continue
            content = row.content_hash if row is not None else fresh[entry.key][1].row["content_hash"]
            if content != entry.row["content_hash"]:
                self._answer(entry, _conflict(entry))
                continue
            joining.append((entry, entry.key))
            if row is not None and row.state == State.ENDED:
                self._outgoing += pack_reply(reply_of(row, entry.requester), entry.requester, self._now)
        jobs_made = self.insert([entry for _, entry in fresh.values()])
        by_key = {key: row.seq for key, row in known.items()}
        by_key |= {key: job.seq for key, job in zip(fresh, jobs_made, strict=True)}
        joined = self._join([(entry, by_key[key]) for entry, key in joining])
        waits = [entry for entry in joined if known.get(entry.key) is None or known[entry.key].state != State.ENDED]
        self._defer([*waits, *(entry for _, entry in fresh.values() if entry.outcome is None and entry.is_parked)])
        post(self._connection, self._outgoing)
        made = list(zip(jobs_made, fresh.values(), strict=True))
        post_outcomes(self._connection, [job.seq for job, (_, entry) in made if entry.outcome is not None], self._now)
        taken: list[Taken | None] = [None] * len(entries)
        for job, (index, entry) in made:
            taken[index] = job if entry.outcome is None else None
        return taken

    def _find(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row[Any]]:
        rows = self._select(_find_jobs, ({"account": account, "job_id": job_id} for account, job_id in keys))
        return {(row.account, row.job_id): row for row in rows}

    def _find_revoked(self, entries: Sequence[Entry]) -> set[str]:
        rows = self._select(_find_cancelled, ({"task_id": entry.requester.task_id} for entry in entries))
        return {row.task_id for row in rows}

    def _select(self, query: Callable[[str], Any], rows: Iterable[dict[str, Any]]) -> Sequence[Row[Any]]:
        """Execute a statement on a batch of rows."""
        dialect = self._connection.dialect.name
        return self._connection.execute(query(dialect), pack(dialect, rows)).all()

    def _decide(
        self, entry: Entry, barred: set[tuple[str, str, int]], revoked: set[str], fresh: Iterable[Entry]
    ) -> Entry:
        outcome = entry.outcome
        if outcome is None and entry.requester.task_id in revoked:
            outcome = cancelled("revoked before it arrived")
        if outcome is None and entry.sends and _chat(entry) in barred:
            outcome = suppressed_outcome()
        if outcome is None and entry.most_ahead is not None and self._is_late(entry, entry.most_ahead, fresh):
            words = f"more than {entry.most_ahead} jobs of its chat are before it"
            outcome = expired(f"{words}, so that within the account's limits it would be late")
        if outcome is None:
            return entry
        return Entry(_ended(entry.row, outcome, self._now), entry.requester, outcome, entry.is_job, entry.sends)

    def _is_late(self, entry: Entry, most: int, fresh: Iterable[Entry]) -> bool:
        """Whether more jobs than ``most`` have their turn before this one in its lane, those of the same batch included."""
        row = entry.row
        arriving = [one.row for one in fresh if one.outcome is None and one.row["state"] == State.READY]
        same_lane = [one for one in arriving if (one["account"], one["lane"]) == (row["account"], row["lane"])]
        most -= sum(1 for one in same_lane if one["priority"] <= row["priority"])
        # Not counted, however long the lane is: a look at the first that would be one too many is enough.
        before = or_(jobs.c.step > 0, jobs.c.priority <= row["priority"])
        lane = select(before).where(jobs.c.account == row["account"], jobs.c.lane == row["lane"], IN_LANE)
        lane = lane.order_by(jobs.c.step.desc(), jobs.c.priority, jobs.c.seq)
        return most < 0 or bool(self._connection.scalar(lane.offset(most).limit(1)))

    def insert(self, entries: Sequence[Entry]) -> list[Taken]:
        """Insert new jobs in their order, with those who asked for them. Raises ``_NotNew``: then nothing may be committed."""
        if not entries:
            return []
        names = [draw_custom_msg_id() if entry.sends and entry.outcome is None else None for entry in entries]
        rows = [
            _UNFINISHED
            | entry.row
            | {"custom_msg_id": name, "place": place, "sends": entry.sends, "task_id": entry.requester.task_id}
            for place, (entry, name) in enumerate(zip(entries, names, strict=True))
        ]
        made = {(row.account, row.job_id): row.seq for row in self._select(_insert_jobs, rows)}
        if len(made) < len(entries):
            raise _NotNew
        seqs = [made[entry.key] for entry in entries]
        asking = [
            {"seq": seq, **vars(entry.requester)} for entry, seq in zip(entries, seqs, strict=True) if entry.is_job
        ]
        if asking:  # in one statement as well: PostgreSQL ends no session that is idle after a pipeline, as of many
            self._select(_join_jobs, asking)
        return [Taken(seq, name) for seq, name in zip(seqs, names, strict=True)]

    def _defer(self, entries: Iterable[Entry]) -> None:
        """Let Celery's results say that these wait; of other new jobs the worker that takes them in does so."""
        for entry in entries:
            if not entry.requester.ignore_result:
                why = entry.row["reason"] if entry.is_parked else None
                self._outgoing.append(pack_deferred(entry.row["account"], entry.requester.task_id, self._now, why))

    def _join(self, joining: Sequence[tuple[Entry, int]]) -> list[Entry]:
        """Add requesters to their jobs; return those that were not there already (a batch taken in twice)."""
        wanted = {(seq, e.requester.task_id, e.requester.reply_to): e for e, seq in joining}
        if not wanted:
            return []
        rows = [{"seq": seq, **vars(entry.requester)} for (seq, _, _), entry in wanted.items()]
        added = {(row.seq, row.task_id, row.reply_to) for row in self._select(_join_jobs, rows)}
        return [entry for key, entry in wanted.items() if key in added]

    def _answer(self, entry: Entry, outcome: Outcome | None) -> None:
        """Answer a message that is no job of its own: invalid, or in conflict with the job that holds its key."""
        assert outcome is not None
        code = str(outcome.error.code) if outcome.error else ""
        ending = Ending(entry.row["account"], entry.row["task"], str(outcome.status), code, revised=False)
        note(self._connection, ending)
        reply = Reply(
            job_id=entry.row["job_id"],
            task_id=entry.requester.task_id,
            task=entry.row["task"],
            account=entry.row["account"],
            status=outcome.status,
            result=None,
            error=error_dict(outcome),
            attempts=0,
            received_at=self._now,
            finished_at=self._now,
            metadata=msgspec.json.decode(entry.requester.metadata) if entry.requester.metadata else None,
            revision=first_revision(outcome),
            reply_id=answer_id(entry.row["account"], entry.row["job_id"], entry.requester.task_id),
            reason=None,
        )
        self._outgoing += pack_reply(reply, entry.requester, self._now)
        for task_id in entry.dependents:
            self._outgoing += pack_reply(structs.replace(reply, task_id=task_id), Requester(task_id), self._now)


@functools.cache
def _find_jobs(dialect: str) -> Select[Any]:
    """Locked, so that a job that is just being settled either answers the new requester or is seen here as ended."""
    batch = batch_of(dialect, jobs.c.account, jobs.c.job_id).c
    query = select(jobs).join_from(batch.account.table, jobs, same(batch, jobs.c.account, jobs.c.job_id))
    return query.order_by(jobs.c.seq).with_for_update(of=jobs)


@functools.cache
def _find_cancelled(dialect: str) -> Select[Any]:
    batch = batch_of(dialect, cancellations.c.task_id)
    found, revoked = look_up(dialect, batch, cancellations, same(batch.c, cancellations.c.task_id))
    return select(revoked.task_id).select_from(found)


@functools.cache
def _insert_jobs(dialect: str) -> ReturningInsert[Any]:
    """The numbers are drawn in the order of the rows: ``place``. What is not new, or must not wait for its turn, is left out."""
    columns = [jobs.c[name] for name in _NEW]
    further = (column("place", Integer), column("sends", Boolean), cancellations.c.task_id)
    batch = batch_of(dialect, *columns, *further).c
    # A scalar, which is looked up for each row by the key: PostgreSQL may read through all of a table for what merely exists.
    revoked = select(cancellations.c.task_id).where(cancellations.c.task_id == batch.task_id).scalar_subquery()
    barred = and_(batch.sends, is_suppressed(batch.account, batch.chat_type, batch.chat_id))
    fit = or_(batch.state == State.ENDED, and_(revoked.is_(None), not_(barred)))
    rows = select(*(batch[name] for name in _NEW)).where(fit).order_by(batch.place)
    inserting = INSERT[dialect](jobs).from_select(_NEW, rows).on_conflict_do_nothing()
    inserted: ReturningInsert[Any] = inserting.returning(jobs.c.seq, jobs.c.account, jobs.c.job_id)
    return inserted


@functools.cache
def _join_jobs(dialect: str) -> ReturningInsert[Any]:
    """Those who are there already stay as they are."""
    columns = [requesters.c[name] for name in ("seq", "task_id", "reply_to", "metadata", "ignore_result")]
    # SQLite needs the WHERE to tell ON CONFLICT from the ON of a join.
    given = select(*batch_of(dialect, *columns).c).where(true())
    joining = INSERT[dialect](requesters).from_select([each.name for each in columns], given).on_conflict_do_nothing()
    added: ReturningInsert[Any] = joining.returning(requesters.c.seq, requesters.c.task_id, requesters.c.reply_to)
    return added


#: The columns that only ended jobs fill: every row of one insertion has the same columns.
_UNFINISHED: dict[str, Any] = {
    "status": None,
    "result": None,
    "error_code": None,
    "error_message": None,
    "bridge_code": None,
    "reason": None,
    "finished_at": None,
    "revision": 0,
}


#: The columns of a new job.
_NEW: Final = (
    *("job_id", "account", "task", "chat_type", "chat_id", "lane", "job_class", "priority", "ordered", "state"),
    *("custom_msg_id", "received_at", "due_at", "expires_at", "content_hash", "fields", "envelope"),
    *_UNFINISHED,
)


def draw_custom_msg_id() -> int:
    """Return 11 random decimal digits, the first not 0 ([doc], PROTOCOL.md, Sending)."""
    return 10**10 + secrets.randbelow(9 * 10**10)


def _ended(row: dict[str, Any], outcome: Outcome, now: dt.datetime) -> dict[str, Any]:
    ended = {"state": State.ENDED, "finished_at": now, "revision": first_revision(outcome), "envelope": None}
    return row | outcome_columns(outcome) | ended


def _conflict(entry: Entry) -> Outcome:
    return failed(
        ErrorCode.CONFLICT,
        f"the job_id {entry.row['job_id']!r} belongs to a job with other content; that job is untouched. "
        "Use one job_id for one thing to do",
    )


def _chat(entry: Entry) -> tuple[str, str, int]:
    return entry.row["account"], entry.row["chat_type"], entry.row["chat_id"]
