"""Snapshots: the lists as they are now, and what each sync changed in them. A snapshot never lies.

In: what was read of a list. Out: a row of ``snapshots``, its changes, the list's table brought there. Never: a list in memory.
An incomplete snapshot updates but removes nothing; one that has lost more than half is kept but not applied, and says so.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from sqlalchemy import Connection, Insert, Update, func, insert, select, update

from worker68.jobs.snapshot import ListSeen
from worker68.store.differences import Difference
from worker68.store.staging import stage
from worker68.store.tables import snapshots

#: A snapshot that would remove more than this share of what is there is not applied: more likely a fault than a fact.
SHRINK_LIMIT: Final = 0.5


def apply(connection: Connection, account: str, seen: ListSeen, now: dt.datetime) -> dict[str, Any]:
    """Write a snapshot within the caller's transaction; return what the job's reply says of it.

    That is ``snapshot_id``, ``count``, ``added``, ``removed``, ``changed``; and where it is not as it should be, ``complete`` or
    ``applied`` (false) and ``note``. What was not applied is counted all the same: it is what the snapshot found.
    """
    subject_id = seen.subject_id if seen.kind.by_group else None
    _take_turn(connection, account, seen.kind.name, subject_id)
    staged = stage(connection, seen)
    difference = Difference(seen.kind, account, subject_id, staged.rows, connection.dialect.name)
    note = _say_incomplete(seen, staged.count)
    row: dict[str, Any] = {"complete": note is None, "applied": True, "note": note}
    found = {"added": 0, "removed": 0, "changed": 0}
    about = {
        "account": account,
        "kind": seen.kind.name,
        "subject_id": subject_id,
        "taken_at": now,
        "count": staged.count,
    }
    inserted = connection.execute(insert(snapshots).values(**about, **row, **found)).inserted_primary_key
    assert inserted is not None
    snapshot_id = inserted[0]
    found["added"] = _count(connection, difference.record_added(snapshot_id))
    found["changed"] = _count(connection, difference.record_changed(snapshot_id))
    if row["complete"]:
        found["removed"] = _count(connection, difference.record_removed(snapshot_id))
    if found["removed"] and not seen.kind.pending:
        row |= _guard(found["removed"], connection.scalar(difference.count_present()) or 0, snapshot_id)
    if any(found.values()):
        connection.execute(update(snapshots).where(snapshots.c.id == snapshot_id).values(**row, **found))
    if row["applied"]:
        _bring_there(connection, difference, found, now)
    staged.rows.drop(connection, checkfirst=False)
    abnormal = {name: row[name] for name in ("complete", "applied") if not row[name]}
    return {"snapshot_id": snapshot_id, "count": staged.count, **found, **abnormal} | (
        {"note": row["note"]} if abnormal else {}
    )


def _take_turn(connection: Connection, *what: object) -> None:
    """Let two workers write a snapshot of the same list one after the other; SQLite does so by itself."""
    if connection.dialect.name == "postgresql":
        name = " ".join(map(str, ("worker68 snapshot", *what)))
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def _say_incomplete(seen: ListSeen, count: int) -> str | None:
    if not seen.whole:
        why = seen.note or "the list was not read to its end"
    elif seen.announced is not None and seen.announced != count:
        why = f"the service announced {seen.announced} entries, and {count} were read"
    else:
        return None
    return f"incomplete: {why}; nothing was marked as removed"


def _guard(removed: int, present: int, snapshot_id: int) -> dict[str, Any]:
    """Return what the snapshot's row says of a suspicious shrink, nothing where it is none."""
    if present <= 1 or removed <= SHRINK_LIMIT * present:
        return {}
    note = (
        f"not applied: {removed} of {present} entries would be gone; look into the 68 client, and sync again. "
        f"If they are gone indeed: `worker68 snapshots accept {snapshot_id}`"
    )
    return {"applied": False, "note": note}


def _bring_there(connection: Connection, difference: Difference, found: dict[str, int], now: dt.datetime) -> None:
    returned = 0
    if found["added"]:
        returned = found["added"] - _count(connection, difference.insert_new(now))
    if returned or found["changed"]:
        connection.execute(difference.update_known(now))
    if found["removed"]:
        connection.execute(difference.mark_removed(now))


def _count(connection: Connection, statement: Insert | Update) -> int:
    """Return how many rows the statement wrote."""
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount
