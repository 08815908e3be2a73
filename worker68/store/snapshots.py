"""An operator's word for a snapshot that was not applied because too much was missing from it."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Engine, select, update

from worker68.errors import Worker68Error
from worker68.jobs.snapshot import LISTS
from worker68.store.engine import transaction
from worker68.store.statements.differences import mark_removed
from worker68.store.statements.snapshots import find, same_list, take_turn
from worker68.store.tables import snapshots


class NotAcceptable(Worker68Error):
    """There is nothing to accept in this snapshot, or it is not the newest of its list."""


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
