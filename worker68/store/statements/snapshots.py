"""Snapshots: the lists as they are now, and what each sync changed in them. A snapshot never lies.

In: what was read of a list, or an operator's word for it. Out: a row of ``snapshots``, its changes, the list's table brought
there. Never: a list in memory.
An incomplete snapshot updates but removes nothing; one that has lost more than half is kept but not applied, and says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Insert, Row, Update, and_, func, insert, select, update

from worker68.errors import Worker68Error
from worker68.jobs.snapshot import ListSeen
from worker68.store.statements.differences import Difference
from worker68.store.statements.staging import stage
from worker68.store.tables import plain, snapshots

#: A snapshot that would remove more than this share of what is there is not applied: more likely a fault than a fact.
SHRINK_LIMIT: Final = 0.5


class NoSuchSnapshot(Worker68Error):
    """No snapshot has this number: look with `worker68 snapshots list`."""


class SnapshotLine(msgspec.Struct, frozen=True):
    """A row of ``snapshots``."""

    id: int
    account: str
    kind: str
    subject_id: int | None
    taken_at: dt.datetime
    count: int
    complete: bool
    applied: bool
    note: str | None
    added: int
    removed: int
    changed: int


def apply(
    connection: Connection,
    account: str,
    seen: ListSeen,
    now: dt.datetime,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Write a snapshot within the caller's transaction; return what the job's reply says of it.

    ``check`` may raise, and may take locks: it is called when the rows are staged. Until then no lock is held, so a worker that is
    frozen while it copies rows holds up no other. PostgreSQL does not end such a session by itself.

    That is ``snapshot_id``, ``count``, ``added``, ``removed``, ``changed``; and where it is not as it should be, ``complete`` or
    ``applied`` (false) and ``note``. What was not applied is counted all the same: it is what the snapshot found.
    """
    assert (seen.subject_id is not None) == seen.kind.by_group, f"{seen.kind.name} of {seen.subject_id}"
    staged = stage(connection, seen)
    check()
    take_turn(connection, account, seen.kind.name, seen.subject_id)
    difference = Difference(seen.kind, account, seen.subject_id, staged.rows, connection.dialect.name)
    incomplete = _say_incomplete(seen, staged.count)
    state: dict[str, Any] = {"complete": incomplete is None, "applied": True, "note": incomplete}
    about = {"account": account, "kind": seen.kind.name, "subject_id": seen.subject_id}
    row = about | state | {"taken_at": now, "count": staged.count}
    nothing = {"added": 0, "removed": 0, "changed": 0}
    inserted = connection.execute(insert(snapshots).values(**row, **nothing)).inserted_primary_key
    assert inserted is not None
    snapshot_id = inserted[0]
    found = _record(connection, difference, snapshot_id, complete=state["complete"])
    if found["removed"] and not seen.kind.pending:
        state |= _guard(found["removed"], connection.scalar(difference.count_present()) or 0, snapshot_id)
    if found != nothing:
        connection.execute(update(snapshots).where(snapshots.c.id == snapshot_id).values(**state, **found))
    if state["applied"]:
        _bring_there(connection, difference, found, snapshot_id, now)
    staged.rows.drop(connection, checkfirst=False)
    answer = {"snapshot_id": snapshot_id, "count": staged.count} | found
    abnormal = {name: False for name in ("complete", "applied") if not state[name]}
    return answer | abnormal | ({"note": state["note"]} if abnormal else {})


def take_turn(connection: Connection, *what: object) -> None:
    """Let two workers write a snapshot of the same list one after the other; SQLite does so by itself."""
    if connection.dialect.name == "postgresql":
        name = " ".join(map(str, ("worker68 snapshot", *what)))
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def _say_incomplete(seen: ListSeen, count: int) -> str | None:
    if not seen.whole:
        why = plain(seen.note) if seen.note else "the list was not read to its end"
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


def _record(connection: Connection, difference: Difference, snapshot_id: int, *, complete: bool) -> dict[str, int]:
    """Record the changes; return how many there are of each kind. From what was not read to its end nothing is missing."""
    return {
        "added": _count(connection, difference.record_added(snapshot_id)),
        "removed": _count(connection, difference.record_removed(snapshot_id)) if complete else 0,
        "changed": _count(connection, difference.record_changed(snapshot_id)),
    }


def _bring_there(
    connection: Connection, difference: Difference, found: dict[str, int], snapshot_id: int, now: dt.datetime
) -> None:
    returned = 0
    if found["added"]:
        returned = found["added"] - _count(connection, difference.insert_new(now))
    if returned or found["changed"]:
        connection.execute(difference.update_known(now))
    if found["removed"]:
        connection.execute(difference.mark_removed(snapshot_id, now))


def _count(connection: Connection, statement: Insert | Update) -> int:
    """Return how many rows the statement wrote."""
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount


def find(connection: Connection, number: int) -> SnapshotLine:
    """Return the row of a snapshot. Raises ``NoSuchSnapshot``."""
    row = connection.execute(select(snapshots).where(snapshots.c.id == number)).one_or_none()
    if row is None:
        raise NoSuchSnapshot(f"no snapshot {number}: see `worker68 snapshots list`")
    return line_of(row)


def line_of(row: Row[Any]) -> SnapshotLine:
    return SnapshotLine(*(getattr(row, name) for name in SnapshotLine.__struct_fields__))


def same_list(snapshot: SnapshotLine) -> ColumnElement[bool]:
    """Return the condition for the snapshots of the same list."""
    return and_(
        snapshots.c.account == snapshot.account,
        snapshots.c.kind == snapshot.kind,
        snapshots.c.subject_id == snapshot.subject_id,  # null: IS NULL
    )
