"""Lists as a sync sees them, and what the tables hold of them afterwards.

In: only what a test is about. Out: rows filled in so that they are valid; a list's table as a mapping. Never: a bridge.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from sqlalchemy import Row, select

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from worker68.jobs.snapshot import CONTACTS, ContactRow, GroupRequestRow, ListKind, ListSeen, MemberRow
from worker68.jobs.snapshot import Row as SeenRow
from worker68.store.engine import reading
from worker68.store.statements import snapshots
from worker68.store.tables import metadata, snapshot_changes
from worker68.store.tables import snapshots as snapshots_table

GROUP: Final = 389284
#: What ``contact(1)`` holds beside its key, as a change says it.
CONTACT_1: Final = {"name": "小鱼儿", "handle": "h1", "icon": None, "friend": True}


def contact(user_id: int, name: str = "小鱼儿", **fields: Any) -> ContactRow:
    return msgspec.structs.replace(ContactRow(user_id, name, f"h{user_id}", None, True), **fields)


def contacts(*numbers: int) -> list[ContactRow]:
    return [contact(number) for number in numbers]


def member(user_id: int, name: str = "夜雨", **fields: Any) -> MemberRow:
    return msgspec.structs.replace(MemberRow(user_id, name, None, "member", False), **fields)


def group_request(user_id: int, group_id: int, message: str = "我想加入") -> GroupRequestRow:
    """``user_id``: of the applicant, and of the request."""
    return GroupRequestRow(
        user_id, group_id, user_id, "阳光", user_id, "阳光", None, None, "qr_code", "open", message, NOW, NOW
    )


class Lists:
    """The lists of one database."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def see(
        self,
        rows: Iterable[SeenRow],
        kind: ListKind = CONTACTS,
        *,
        account: str = "main",
        group: int | None = None,
        whole: bool = True,
        announced: int | None = None,
        note: str | None = None,
    ) -> dict[str, Any]:
        """Apply a snapshot in a transaction of its own; return what the reply would say."""
        seen = ListSeen(kind, group, rows, whole, announced, note)
        return self.ledger.run(lambda connection: snapshots.apply(connection, account, seen, NOW))

    def rows(self, kind: ListKind = CONTACTS, account: str = "main") -> list[Row[Any]]:
        """Return every row of the account's list, also the removed ones."""
        table = metadata.tables[kind.name]
        query = select(table).where(table.c.account == account).order_by(*table.primary_key.columns)
        with reading(self.ledger.engine) as connection:
            return list(connection.execute(query))

    def present(self, kind: ListKind = CONTACTS, account: str = "main") -> list[int]:
        """Return the ids of those who are there now."""
        return [getattr(row, kind.key[0]) for row in self.rows(kind, account) if row.removed_at is None]

    def changes(self, number: int) -> dict[int, tuple[str, Any, Any]]:
        """Return change, old and new of each subject of a snapshot."""
        query = select(snapshot_changes).where(snapshot_changes.c.snapshot_id == number)
        with reading(self.ledger.engine) as connection:
            return {row.subject: (row.change, _read(row.old), _read(row.new)) for row in connection.execute(query)}

    def snapshot(self, number: int) -> Row[Any]:
        with reading(self.ledger.engine) as connection:
            return connection.execute(select(snapshots_table).where(snapshots_table.c.id == number)).one()


def counts(told: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return count, added, removed, changed."""
    return told["count"], told["added"], told["removed"], told["changed"]


def _read(text: str | None) -> Any:
    return json.loads(text) if text is not None else None
