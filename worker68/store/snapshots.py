"""What the snapshots say: their rows, their changes, the net difference between two, who is in a group; and an operator's word.

In: numbers of snapshots. Never: all changes in memory, for there may be a hundred thousand.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Engine, and_, or_, select, update

from worker68.errors import Worker68Error
from worker68.jobs.snapshot import LISTS
from worker68.store.engine import reading, transaction
from worker68.store.statements.batches import look_up
from worker68.store.statements.differences import mark_removed
from worker68.store.statements.snapshots import SnapshotLine, find, line_of, same_list, take_turn
from worker68.store.tables import group_members, snapshot_changes, snapshots

#: Rows that are fetched at once.
ROWS_AT_ONCE: Final = 1000


class NotComparable(Worker68Error):
    """The two snapshots are not of the same list, or in the wrong order; or nothing says what lies between them."""


class NotAcceptable(Worker68Error):
    """There is nothing to accept in this snapshot, or it is not the newest of its list."""


class Change(msgspec.Struct, frozen=True):
    """What happened to one entry. ``old`` and ``new``: the fields that differ; null where it was not, or is no more."""

    subject: int
    group_id: int
    change: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None


def list_snapshots(
    engine: Engine, *, account: str | None, kind: str | None, group_id: int | None, limit: int
) -> list[SnapshotLine]:
    """Return the newest snapshots, newest first."""
    query = select(snapshots).order_by(snapshots.c.id.desc()).limit(limit)
    for column, wanted in (
        (snapshots.c.account, account),
        (snapshots.c.kind, kind),
        (snapshots.c.subject_id, group_id),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    with reading(engine) as connection:
        return [line_of(row) for row in connection.execute(query)]


def find_snapshot(engine: Engine, number: int) -> SnapshotLine:
    """Raises ``NoSuchSnapshot``."""
    with reading(engine) as connection:
        return find(connection, number)


def read_changes(engine: Engine, snapshot: SnapshotLine) -> Iterator[Change]:
    """Yield what the snapshot found changed, by subject."""
    return _read(engine, snapshots.c.id == snapshot.id)


def read_difference(engine: Engine, older: SnapshotLine, newer: SnapshotLine) -> Iterator[Change]:
    """Yield what is different in ``newer`` from how ``older`` left the list, by subject. Raises ``NotComparable``.

    What was undone in between does not show. Of the snapshots in between those count that were applied.
    """
    if _list_of(older) != _list_of(newer):
        raise NotComparable(
            f"snapshots {older.id} and {newer.id} are not of the same list: see `worker68 snapshots list`"
        )
    if older.id > newer.id:
        raise NotComparable(f"give the older snapshot first: {newer.id} {older.id}")
    if not older.applied:
        raise NotComparable(f"snapshot {older.id} was not applied, so what came later does not build on it")
    counts = or_(snapshots.c.applied, snapshots.c.id == newer.id)
    between = and_(same_list(older), snapshots.c.id > older.id, snapshots.c.id <= newer.id, counts)
    for (subject, group_id), steps in groupby(_read(engine, between), lambda step: (step.subject, step.group_id)):
        net = _add_up(subject, group_id, steps)
        if net is not None:
            yield net


def accept(engine: Engine, number: int, now: dt.datetime) -> int:
    """Mark as removed what a snapshot that was not applied did not see any more; return how many rows that were.

    Only the newest of its list can be accepted. What it found added or changed comes with the next sync.
    Raises ``NoSuchSnapshot`` or ``NotAcceptable``.
    """
    with transaction(engine) as connection:
        snapshot = find(connection, number)
        take_turn(connection, snapshot.account, snapshot.kind, snapshot.subject_id)
        if snapshot.applied:
            raise NotAcceptable(f"snapshot {number} was applied: there is nothing to accept")
        newest = connection.scalar(
            select(snapshots.c.id).where(same_list(snapshot)).order_by(snapshots.c.id.desc()).limit(1)
        )
        if newest != number:
            raise NotAcceptable(f"snapshot {number} is not the newest of its list: look at {newest}")
        (kind,) = (kind for kind in LISTS if kind.name == snapshot.kind)
        marked = connection.execute(mark_removed(kind, snapshot.account, snapshot.subject_id, number, now)).rowcount
        if marked == 0:
            raise NotAcceptable(f"snapshot {number}: what it missed is marked as removed already")
        note = f"{snapshot.note}. Accepted: {marked} rows were marked as removed"
        connection.execute(update(snapshots).where(snapshots.c.id == number).values(note=note))
        return marked


def known_members(engine: Engine, account: str, group_id: int) -> list[int]:
    """Return the ids of the members who are there now; none where the group's members were never read."""
    there = (group_members.c.account == account, group_members.c.group_id == group_id)
    query = select(group_members.c.user_id).where(*there, group_members.c.removed_at.is_(None))
    with reading(engine) as connection:
        return list(connection.scalars(query.order_by(group_members.c.user_id)))


def _read(engine: Engine, which: ColumnElement[bool]) -> Iterator[Change]:
    """Yield the changes of the snapshots that ``which`` names, those of one subject together, in their order of time."""
    wanted = select(snapshots.c.id).where(which).subquery("wanted")
    its = snapshot_changes.c.snapshot_id == wanted.c.id
    joined, changes = look_up(engine.dialect.name, wanted, snapshot_changes, its)
    query = select(*(changes[name] for name in Change.__struct_fields__)).select_from(joined)
    query = query.order_by(changes.subject, changes.group_id, changes.snapshot_id)
    with reading(engine) as connection:
        for row in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query):
            yield Change(row.subject, row.group_id, row.change, _decode(row.old), _decode(row.new))


def _decode(text: str | None) -> dict[str, Any] | None:
    return msgspec.json.decode(text, type=dict[str, Any]) if text is not None else None


def _add_up(subject: int, group_id: int, steps: Iterable[Change]) -> Change | None:
    """Return what the steps come to; None where the last undoes the first.

    Each field's first old value is how it was before, its last new one how it is now.
    """
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    for number, step in enumerate(steps):
        if number == 0 and step.old is not None:
            before = {}
        if before is not None and step.old is not None:
            before = step.old | before
        after = {**(after or {}), **step.new} if step.new is not None else None
    if before is None or after is None:
        if before is None and after is None:
            return None
        return Change(subject, group_id, "added" if before is None else "removed", before, after)
    differing = [name for name in after if after[name] != before.get(name)]
    if not differing:
        return None
    old, new = ({name: state.get(name) for name in differing} for state in (before, after))
    return Change(subject, group_id, "changed", old, new)


def _list_of(snapshot: SnapshotLine) -> tuple[str, str, int | None]:
    return snapshot.account, snapshot.kind, snapshot.subject_id
