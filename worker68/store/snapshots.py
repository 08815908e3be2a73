"""Snapshots: the current state of groups, and what each sync changed in it. A snapshot never lies.

An incomplete one updates but removes nothing; one that has lost more than half is kept but not applied, and says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from worker68.jobs.snapshot import GroupRow, GroupsSeen
from worker68.store.tables import groups, plain, snapshot_changes, snapshots

#: A snapshot that would remove more than this share of what is there is not applied: more likely a fault than a fact.
SHRINK_LIMIT = 0.5


def apply_groups(connection: Connection, account: str, seen: GroupsSeen, now: dt.datetime) -> dict[str, int]:
    """Write a snapshot of the account's groups; return ``snapshot_id``, ``count``, ``added``, ``removed``, ``changed``."""
    current = {row.group_id: row for row in connection.execute(select(groups).where(groups.c.account == account))}
    present = {group_id for group_id, row in current.items() if row.removed_at is None}
    new = {row.group_id: _plain(row) for row in seen.rows}
    gone = present - new.keys() if seen.complete else set()
    suspicious = len(gone) > SHRINK_LIMIT * len(present) and len(present) > 1
    changes: list[dict[str, Any]] = []
    for group_id, row in new.items():
        before = _as_dict(current[group_id]) if group_id in present else None
        after = asdict(row)
        if before is None:
            changes.append(_change(group_id, "added", None, after))
        elif before != after:
            old = {name: before[name] for name in after if before[name] != after[name]}
            changes.append(_change(group_id, "changed", old, {name: after[name] for name in old}))
    changes += [_change(group_id, "removed", _as_dict(current[group_id]), None) for group_id in gone]
    counts = {kind: sum(change["change"] == kind for change in changes) for kind in ("added", "removed", "changed")}
    note = None
    if suspicious:
        note = f"not applied: {len(gone)} of {len(present)} groups would be gone; sync again, and look at the bridge"
    elif not seen.complete:
        note = "incomplete: nothing was marked as removed"
    result = connection.execute(
        insert(snapshots).values(
            account=account,
            kind="groups",
            subject_id=None,
            taken_at=now,
            count=len(new),
            complete=seen.complete,
            applied=not suspicious,
            note=note,
            **counts,
        )
    )
    assert result.inserted_primary_key is not None
    snapshot_id = result.inserted_primary_key[0]
    if changes:
        connection.execute(insert(snapshot_changes), [{"snapshot_id": snapshot_id, **change} for change in changes])
    if not suspicious:
        _write(connection, account, changes, current, new, now)
    return {"snapshot_id": snapshot_id, "count": len(new), **counts}


def _write(
    connection: Connection,
    account: str,
    changes: Sequence[dict[str, Any]],
    current: dict[int, Any],
    new: dict[int, GroupRow],
    now: dt.datetime,
) -> None:
    fresh = []
    for change in changes:
        group_id = change["subject"]
        if change["change"] == "removed":
            values: dict[str, Any] = {"removed_at": now}
        else:
            values = {**asdict(new[group_id]), "updated_at": now, "removed_at": None}
            if group_id not in current:
                fresh.append({"account": account, **values})
                continue
        connection.execute(
            update(groups).where(groups.c.account == account, groups.c.group_id == group_id).values(**values)
        )
    if fresh:
        connection.execute(insert(groups), fresh)


def _plain(row: GroupRow) -> GroupRow:
    return replace(row, name=plain(row.name), notice=plain(row.notice) if row.notice is not None else None)


def _as_dict(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in GroupRow.__dataclass_fields__}


def _change(subject: int, change: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    encoded = [msgspec.json.encode(value).decode() if value is not None else None for value in (old, new)]
    return {"subject": subject, "change": change, "old": encoded[0], "new": encoded[1]}
