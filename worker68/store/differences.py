"""Differences: a list as it was seen beside the same list as its table has it, compared within the database.

In: the staged rows, the table, the part of it that the snapshot is about. Out: statements that record what differs as rows of
``snapshot_changes``, and statements that bring the table there. Never: a row in Python, a write of a row that is as it was.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Insert,
    Integer,
    Select,
    String,
    Table,
    Text,
    Update,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    type_coerce,
)

from worker68.jobs.snapshot import ListKind
from worker68.store.tables import UtcDateTime, metadata, snapshot_changes

Json = ColumnElement[str]

#: How PostgreSQL is to write a time, so that both databases say the same: RFC 3339 to the microsecond, in UTC.
_RFC_3339: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'


@dataclass(frozen=True)
class Difference:
    """Between ``seen`` and what the account's list holds; ``subject_id``: the group whose list it is."""

    kind: ListKind
    account: str
    subject_id: int | None
    seen: Table
    #: ``sqlite`` or ``postgresql``.
    dialect: str

    @property
    def table(self) -> Table:
        return metadata.tables[self.kind.name]

    def count_present(self) -> Select[int]:
        """Return the query for the number of rows that are there now."""
        return select(func.count()).select_from(self.table).where(self._scope(), self._present())

    # What differs

    def record_added(self, snapshot_id: int) -> Insert:
        """Record what was seen and is not there now: it has never been there, or had been removed."""
        beside = self.seen.outerjoin(self.table, and_(self._scope(), self._same_key(), self._present()))
        query = self._change(self.seen, snapshot_id, "added", null(), self._json(self.seen))
        return _into_changes(
            query.select_from(beside).where(self._absent_in(self.table)).order_by(*self._keys(self.seen))
        )

    def record_changed(self, snapshot_id: int) -> Insert:
        """Record the fields that are not as they were, with their old and new values."""
        beside = self.seen.join(self.table, and_(self._scope(), self._same_key(), self._present()))
        old, new = (self._json_of_differing(table) for table in (self.table, self.seen))
        query = self._change(self.seen, snapshot_id, "changed", old, new)
        return _into_changes(query.select_from(beside).where(self._differs()).order_by(*self._keys(self.seen)))

    def record_removed(self, snapshot_id: int) -> Insert:
        """Record what is there now and was not seen."""
        beside = self.table.outerjoin(self.seen, self._same_key())
        query = self._change(self.table, snapshot_id, "removed", self._json(self.table), null())
        query = query.select_from(beside).where(self._scope(), self._present(), self._absent_in(self.seen))
        return _into_changes(query.order_by(*self._keys(self.table)))

    # What brings the table there

    def insert_new(self, now: dt.datetime) -> Insert:
        """Insert the rows that have never been there."""
        names = self.kind.row.__struct_fields__
        scope: dict[str, ColumnElement[Any]] = {"account": literal(self.account)}
        if self.kind.by_group:
            scope["group_id"] = literal(self.subject_id, self.table.c.group_id.type)
        updated_at = literal(now, UtcDateTime())
        beside = self.seen.outerjoin(self.table, and_(self._scope(), self._same_key()))
        query = select(*scope.values(), *(self.seen.c[name] for name in names), updated_at).select_from(beside)
        query = query.where(self._absent_in(self.table)).order_by(*self._keys(self.seen))
        return self.table.insert().from_select([*scope, *names, "updated_at"], query)

    def update_known(self, now: dt.datetime) -> Update:
        """Bring the rows that differ, or that have returned, to what was seen."""
        values = {name: self.seen.c[name] for name in self._fields()}
        stale = or_(self.table.c.removed_at.is_not(None), self._differs())
        update = self.table.update().where(self._scope(), self._same_key(), stale)
        return update.values(**values, updated_at=literal(now, UtcDateTime()), removed_at=null())

    def mark_removed(self, now: dt.datetime) -> Update:
        """Mark the rows that were not seen."""
        was_seen = exists().where(self._same_key()).correlate(self.table)
        update = self.table.update().where(self._scope(), self._present(), ~was_seen)
        return update.values(removed_at=literal(now, UtcDateTime()))

    # Parts

    def _fields(self) -> list[str]:
        return [name for name in self.kind.row.__struct_fields__ if name not in self.kind.key]

    def _keys(self, table: Table) -> list[ColumnElement[Any]]:
        return [table.c[name] for name in self.kind.key]

    def _scope(self) -> ColumnElement[bool]:
        scope = self.table.c.account == self.account
        return and_(scope, self.table.c.group_id == self.subject_id) if self.kind.by_group else scope

    def _present(self) -> ColumnElement[bool]:
        return self.table.c.removed_at.is_(None)

    def _absent_in(self, table: Table) -> ColumnElement[bool]:
        return self._keys(table)[0].is_(None)

    def _same_key(self) -> ColumnElement[bool]:
        return and_(*(self.table.c[name] == self.seen.c[name] for name in self.kind.key))

    def _differs(self, name: str | None = None) -> ColumnElement[bool]:
        names = self._fields() if name is None else [name]
        return or_(false(), *(self.table.c[each].is_distinct_from(self.seen.c[each]) for each in names))

    def _change(
        self, of: Table, snapshot_id: int, change: str, old: ColumnElement[Any], new: ColumnElement[Any]
    ) -> Select[Any]:
        subject, *rest = self._keys(of)
        group_id = rest[0] if rest else literal_column("0", Integer)
        return select(literal(snapshot_id), subject, group_id, literal_column(f"'{change}'", String), old, new)

    def _json(self, table: Table) -> Json:
        """Return all fields but the key as a JSON object."""
        pieces: list[Json] = []
        for name in self._fields():
            pieces += [_words(f'{"," if pieces else "{"}"{name}":'), self._value(table.c[name])]
        return _concatenate([*pieces, _words("}")])

    def _json_of_differing(self, table: Table) -> Json:
        """Return the fields that differ as a JSON object."""
        pieces = [
            case((self._differs(name), _words(f',"{name}":') + self._value(table.c[name])), else_=_words(""))
            for name in self._fields()
        ]
        return _concatenate([_words("{"), func.substr(_concatenate(pieces), 2, type_=Text), _words("}")])

    def _value(self, column: Column[Any]) -> Json:
        """Return one value as JSON."""
        kind, in_sqlite = column.type, self.dialect == "sqlite"
        value: Json
        if isinstance(kind, String):
            if in_sqlite:
                return func.json_quote(column, type_=Text)  # which also knows null
            value = cast(func.to_json(column), Text)
        elif isinstance(kind, Boolean):
            value = case((column, _words("true")), (~column, _words("false")))
        elif isinstance(kind, UtcDateTime):
            if in_sqlite:
                time = func.replace(type_coerce(column, Text), " ", "T", type_=Text) + _words("Z")
            else:
                time = func.to_char(func.timezone("UTC", column), _RFC_3339, type_=Text)
            value = _words('"') + time + _words('"')
        else:
            value = cast(column, Text)
        return func.coalesce(value, _words("null"), type_=Text) if column.nullable else value


def _into_changes(query: Select[Any]) -> Insert:
    names = ("snapshot_id", "subject", "group_id", "change", "old", "new")
    return snapshot_changes.insert().from_select(names, query)


def _words(text: str) -> Json:
    """Return text of our own as it stands in the statement: a parameter for each comma would have to be named and sent."""
    return literal_column(f"'{text}'", Text)


def _concatenate(pieces: Iterable[Json]) -> Json:
    return reduce(add, pieces)
