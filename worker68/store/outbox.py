"""What the relay is to publish next, where replies went lately, and what Redis refuses for good.

The latter lies beside the outbox, so that none of it holds up what Redis takes. In: entries of the outbox, and why Redis refuses
them. Out: those that are to be published, or tried again. Never: more than one result for a Celery id: an older one would overwrite
the newer, whenever Redis takes it. How an entry gets into the outbox: ``statements/outcomes.py``.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Delete,
    Engine,
    Insert,
    Select,
    Update,
    and_,
    bindparam,
    delete,
    false,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)

from worker68.store.engine import reading, transaction
from worker68.store.statements.batches import among, batch_of, joined, one_of, pack, pack_texts
from worker68.store.statements.outcomes import OutboxEntry, forget
from worker68.store.tables import UtcDateTime, outbox, refused, requesters

#: Of an entry, as it lies in the outbox and here.
_OF_ENTRY: Final = ("account", "kind", "address", "payload", "created_at")
#: Celery's states: of no use to a producer any more when they would have ended in Redis.
_ENDING_KINDS: Final = ("result", "deferred")
#: Of the refused entries of one account so many at least are tried at a look: a look costs that for each account that has so many.
LEAST_OF_AN_ACCOUNT: Final = 20


@dataclass(frozen=True)
class RefusedCount:
    """How many entries of one account and kind Redis refuses, since when the oldest waits, and the words of one refusal."""

    account: str
    kind: str
    number: int
    since: dt.datetime
    problem: str


def fetch(
    engine: Engine, owned: Iterable[str], others: Iterable[str] | None, stale_before: dt.datetime, limit: int
) -> list[OutboxEntry]:
    """Return the oldest entries that this worker is to publish: those of the accounts that it owns.

    With ``others`` (the accounts that have an owner elsewhere; given to the owner of the front door) also those of accounts that
    the settings do not have, and any that were left lying since before ``stale_before``.
    """
    given: dict[str, Any] = {"owned": pack_texts(owned), "limit": limit}
    if others is not None:
        given |= {"others": pack_texts(others), "stale_before": stale_before}
    with reading(engine) as connection:
        return [OutboxEntry(*row) for row in connection.execute(_fetch(engine.dialect.name, others is not None), given)]


@functools.cache
def _fetch(dialect: str, owns_front: bool) -> Select[Any]:
    """Asked for each few jobs, and each account is named in it: so they are one parameter."""
    left_lying = outbox.c.created_at < bindparam("stale_before", type_=outbox.c.created_at.type)
    ours = _is_ours(dialect, outbox.c.account, left_lying, owns_front)
    query = select(outbox.c.id, outbox.c.account, outbox.c.kind, outbox.c.address, outbox.c.payload)
    return query.where(ours).order_by(outbox.c.id).limit(bindparam("limit"))


def find_latest_addresses(engine: Engine, limit: int) -> list[str]:
    """Return the addresses of so many of the newest requesters, each once, the newest last."""
    newest = select(requesters.c.reply_to).order_by(requesters.c.id.desc()).limit(limit)
    with reading(engine) as connection:
        return [address for address in dict.fromkeys(connection.execute(newest).scalars()) if address][::-1]


def _is_ours(
    dialect: str, account: Column[Any], left_lying: ColumnElement[bool], owns_front: bool
) -> ColumnElement[bool]:
    """Return whether this worker publishes an entry of the account: it is among ``owned``, or no other worker does.

    PostgreSQL takes what COALESCE gives to be true of every second row, and so walks along the index until it has enough. Left to
    its statistics, or to the lack of them, it would read and sort the whole table for a few rows of a large backlog.
    """
    owned: ColumnElement[bool] = one_of(dialect, account, "owned")
    ours = or_(owned, not_(one_of(dialect, account, "others")), left_lying) if owns_front else owned
    return func.coalesce(ours, false())


def settle_outbox(
    engine: Engine, taken: Sequence[OutboxEntry], problems: Sequence[tuple[OutboxEntry, str]], due_at: dt.datetime
) -> None:
    """Delete entries of the outbox that Redis has; move those that it refuses, with its words, until they are due again."""
    with transaction(engine) as connection:
        dialect = connection.dialect.name
        entries = [*taken, *(entry for entry, _ in problems)]
        results = [{"address": entry.address} for entry in entries if entry.kind == "result"]
        if results:
            connection.execute(_forget_results(dialect), pack(dialect, results))
        if problems:
            moved = {_place(entry): {"id": entry.id, "problem": problem} for entry, problem in problems}
            connection.execute(_move(dialect), {**pack(dialect, moved.values()), "due_at": due_at})
        forget(connection, [entry.id for entry in entries])


def settle_refused(
    engine: Engine, taken: Sequence[OutboxEntry], problems: Mapping[int, tuple[str, dt.datetime]]
) -> None:
    """Delete entries of this table that Redis has now; put off those that it still refuses: its words, and when they are due."""
    with transaction(engine) as connection:
        dialect = connection.dialect.name
        connection.execute(_forget(dialect), pack(dialect, ({"id": entry.id} for entry in taken)))
        if problems:
            rows = [{"id": id_, "problem": problem, "due_at": due} for id_, (problem, due) in problems.items()]
            connection.execute(_put_off(dialect), pack(dialect, rows))


def fetch_due(
    engine: Engine,
    owned: Iterable[str],
    others: Iterable[str] | None,
    now: dt.datetime,
    stale_before: dt.datetime,
    limit: int,
) -> list[OutboxEntry]:
    """Return refused entries that are due, the longest due first; whose they are is as in ``fetch``.

    Without ``others`` no more of one account than its share of ``limit``, or ``LEAST_OF_AN_ACCOUNT``.
    """
    dialect, owned = engine.dialect.name, list(owned)
    given = {"owned": pack_texts(owned), "others": pack_texts(others or ())}
    columns = (refused.c.id, refused.c.account, refused.c.kind, refused.c.address, refused.c.payload)
    query = select(*columns, refused.c.refusals)
    if others is None:
        of_each = max(LEAST_OF_AN_ACCOUNT, limit // max(1, len(owned)))
        is_due = func.coalesce(refused.c.due_at <= now, false())
        query = query.where(among(dialect, refused.c.id, _first_of_each(dialect, of_each, limit)), is_due)
        given |= pack(dialect, ({"account": account} for account in owned))
    else:
        left_lying = refused.c.due_at < stale_before
        query = query.where(refused.c.due_at <= now, _is_ours(dialect, refused.c.account, left_lying, owns_front=True))
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(refused.c.due_at, refused.c.id).limit(limit), given)
        return [OutboxEntry(*row) for row in rows]


def _first_of_each(dialect: str, of_each: int, limit: int) -> Select[Any]:
    """Select the numbers of the entries of a batch of accounts that are due first.

    Each account is looked at by itself: a walk along all that is due would pass what other workers own, however much that is. The
    walk begins at the account, and what it meets behind that is left out: of a condition on the account or the time PostgreSQL may
    believe that hardly a row meets it, and then it reads all that do, and sorts them.
    """
    own, each, one = batch_of(dialect, refused.c.account), refused.alias("each"), refused.alias("one")
    first = select(one.c.id).where(one.c.account >= own.c.account)
    first = first.order_by(one.c.account, one.c.due_at, one.c.id).limit(of_each)
    its_own = func.coalesce(each.c.account == own.c.account, false())
    found = select(each.c.id).select_from(own.join(each, true())).where(among(dialect, each.c.id, first), its_own)
    return found.order_by(each.c.due_at, each.c.id).limit(limit)


def end_refused(engine: Engine, created_before: dt.datetime) -> int:
    """Delete Celery's states that would have ended in Redis by now; return how many. Replies wait for ever."""
    old = and_(refused.c.kind.in_(_ENDING_KINDS), refused.c.created_at < created_before)
    with transaction(engine) as connection:
        return connection.execute(delete(refused).where(old)).rowcount


def count_refused(engine: Engine, accounts: Sequence[str] | None = None) -> list[RefusedCount]:
    """Return what Redis refuses, by account and kind; of all accounts without ``accounts``."""
    query = select(
        refused.c.account,
        refused.c.kind,
        func.count(),
        func.min(refused.c.created_at, type_=UtcDateTime()),
        func.max(refused.c.problem),
    )
    if accounts is not None:
        query = query.where(refused.c.account.in_(accounts))
    query = query.group_by(refused.c.account, refused.c.kind).order_by(refused.c.account, refused.c.kind)
    with reading(engine) as connection:
        return [RefusedCount(*row) for row in connection.execute(query)]


def _place(entry: OutboxEntry) -> tuple[str, str, int]:
    """Return what identifies an entry; of two results for one Celery id the later one alone counts."""
    return (entry.kind, entry.address, 0 if entry.kind == "result" else entry.id)


@functools.cache
def _forget_results(dialect: str) -> Delete:
    batch = select(batch_of(dialect, refused.c.address).c.address)
    return delete(refused).where(refused.c.kind == "result", among(dialect, refused.c.address, batch))


@functools.cache
def _move(dialect: str) -> Insert:
    batch = batch_of(dialect, outbox.c.id, refused.c.problem)
    given = [outbox.c[name] for name in _OF_ENTRY]
    due_at = bindparam("due_at", type_=UtcDateTime())
    rows = select(*given, batch.c.problem, literal(1), due_at).select_from(batch)
    rows = rows.join(outbox, joined(dialect, outbox.c.id, batch.c)).order_by(outbox.c.id)
    return insert(refused).from_select([*_OF_ENTRY, "problem", "refusals", "due_at"], rows)


@functools.cache
def _forget(dialect: str) -> Delete:
    return delete(refused).where(among(dialect, refused.c.id, select(batch_of(dialect, refused.c.id).c.id)))


@functools.cache
def _put_off(dialect: str) -> Update:
    batch = batch_of(dialect, refused.c.id, refused.c.problem, refused.c.due_at).c
    values = {"refusals": refused.c.refusals + 1, "problem": batch.problem, "due_at": batch.due_at}
    return update(refused).where(joined(dialect, refused.c.id, batch)).values(values)
