"""Differences: a list as it was seen beside the same list as its table has it, compared within the database.

In: the staged rows, the table, the part of it that the snapshot is about. Out: statements that record what differs as rows of
``snapshot_changes``, and statements that bring the table there. Never: a row in Python, a write of a row that is as it was; a
statement whose cost depends on what the database believes of its tables (docs/database.md, Plans).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    ColumnElement,
    FromClause,
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
    false,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    type_coerce,
)

from worker68.jobs.snapshot import ListKind
from worker68.store.tables import INSERT, UtcDateTime, metadata, snapshot_changes

Json = ColumnElement[str]

#: How PostgreSQL is to write a time, so that both databases say the same: RFC 3339 to the microsecond, in UTC.
_RFC_3339: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'


#: The columns of one of two rows that stand beside each other, by their names.
Side = Mapping[str, ColumnElement[Any]]


@dataclass(frozen=True)
class _Beside:
    """What was seen beside what is known, as rows of a query."""

    rows: FromClause
    seen: Side
    known: Side
    removed_at: ColumnElement[Any]
    key: str

    @property
    def was_seen(self) -> ColumnElement[bool]:
        return self.seen[self.key].is_not(None)

    @property
    def was_known(self) -> ColumnElement[bool]:
        return self.known[self.key].is_not(None)

    @property
    def is_present(self) -> ColumnElement[bool]:
        return and_(self.was_known, self.removed_at.is_(None))


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
        present = self.table.c.removed_at.is_(None)
        return select(func.count()).select_from(self.table).where(self._scope(), present)

    # What differs

    def record_added(self, snapshot_id: int) -> Insert:
        """Record what was seen and is not there now: it has never been there, or had been removed."""
        beside = self._beside()
        query = self._change(beside.seen, snapshot_id, "added", null(), self._json(beside.seen))
        query = query.select_from(beside.rows).where(beside.was_seen, not_(beside.is_present))
        return _into_changes(query.order_by(*self._keys(beside.seen)))

    def record_changed(self, snapshot_id: int) -> Insert:
        """Record the fields that are not as they were, with their old and new values."""
        beside = self._beside()
        old, new = (self._json_of_differing(beside, side) for side in (beside.known, beside.seen))
        query = self._change(beside.seen, snapshot_id, "changed", old, new).select_from(beside.rows)
        query = query.where(beside.was_seen, beside.is_present, self._differs(beside))
        return _into_changes(query.order_by(*self._keys(beside.seen)))

    def record_removed(self, snapshot_id: int) -> Insert:
        """Record what is there now and was not seen."""
        beside = self._beside(from_known=True)
        query = self._change(beside.known, snapshot_id, "removed", self._json(beside.known), null())
        query = query.select_from(beside.rows).where(beside.is_present, not_(beside.was_seen))
        return _into_changes(query.order_by(*self._keys(beside.known)))

    # What brings the table there

    def insert_new(self, now: dt.datetime) -> Insert:
        """Insert the rows that have never been there."""
        beside = self._beside()
        insert: Insert = self._insert(beside, now, not_(beside.was_known))
        return insert

    def update_known(self, now: dt.datetime) -> Insert:
        """Bring the rows that differ, or that have returned, to what was seen: each is looked up by its key."""
        beside = self._beside()
        insert = self._insert(beside, now, and_(beside.was_known, or_(not_(beside.is_present), self._differs(beside))))
        values = {name: insert.excluded[name] for name in (*self._fields(), "updated_at")}
        updating: Insert = insert.on_conflict_do_update(
            index_elements=list(self.table.primary_key.columns), set_=values | {"removed_at": null()}
        )
        return updating

    def mark_removed(self, snapshot_id: int, now: dt.datetime) -> Update:
        """Mark the rows that the snapshot has recorded as removed."""
        return mark_removed(self.kind, self.account, self.subject_id, snapshot_id, now)

    # Parts

    def _beside(self, *, from_known: bool = False) -> _Beside:
        """Return each row that was seen beside the row of its key, each at most once.

        PostgreSQL also gives the rows that were not seen, SQLite does with ``from_known`` only. PostgreSQL makes a FULL JOIN by
        hashing or merging alone, while of any other join it makes nested loops where it takes one side to be a single row; the
        OFFSET keeps the conditions of the query around it from turning the FULL JOIN into another one. SQLite looks each row up
        by its key: both sides have one.
        """
        columns = [self.seen.c[name].label(f"seen_{name}") for name in self.kind.row.__struct_fields__]
        names = (*self.kind.row.__struct_fields__, "removed_at")
        if self.dialect == "sqlite":
            columns += [self.table.c[name].label(f"known_{name}") for name in names]
            if from_known:
                query = select(*columns).select_from(self.table.outerjoin(self.seen, self._same_key(self.table)))
                query = query.where(self._scope())
            else:
                same = and_(self._scope(), self._same_key(self.table))
                query = select(*columns).select_from(self.seen.outerjoin(self.table, same))
        else:
            known = select(*(self.table.c[name] for name in names)).where(self._scope()).subquery("known")
            columns += [known.c[name].label(f"known_{name}") for name in names]
            query = select(*columns).select_from(self.seen.outerjoin(known, self._same_key(known), full=True))
            query = query.offset(literal_column("0", Integer))
        rows = query.subquery("beside")
        seen, known_ = (
            {name: rows.c[f"{side}_{name}"] for name in self.kind.row.__struct_fields__} for side in ("seen", "known")
        )
        return _Beside(rows, seen, known_, rows.c.known_removed_at, self.kind.key[0])

    def _insert(self, beside: _Beside, now: dt.datetime, which: ColumnElement[bool]) -> Any:
        names = self.kind.row.__struct_fields__
        scope: dict[str, ColumnElement[Any]] = {"account": literal(self.account)}
        if self.kind.by_group:
            scope["group_id"] = literal(self.subject_id, self.table.c.group_id.type)
        updated_at = literal(now, UtcDateTime())
        query = select(*scope.values(), *(beside.seen[name] for name in names), updated_at).select_from(beside.rows)
        query = query.where(beside.was_seen, which).order_by(*self._keys(beside.seen))
        return INSERT[self.dialect](self.table).from_select([*scope, *names, "updated_at"], query)

    def _fields(self) -> list[str]:
        return [name for name in self.kind.row.__struct_fields__ if name not in self.kind.key]

    def _keys(self, side: Side) -> list[ColumnElement[Any]]:
        return [side[name] for name in self.kind.key]

    def _scope(self) -> ColumnElement[bool]:
        return in_scope(self.kind, self.account, self.subject_id)

    def _same_key(self, known: FromClause) -> ColumnElement[bool]:
        return and_(*(known.c[name] == self.seen.c[name] for name in self.kind.key))

    def _differs(self, beside: _Beside, name: str | None = None) -> ColumnElement[bool]:
        names = self._fields() if name is None else [name]
        return or_(false(), *(beside.known[each].is_distinct_from(beside.seen[each]) for each in names))

    def _change(
        self, of: Side, snapshot_id: int, change: str, old: ColumnElement[Any], new: ColumnElement[Any]
    ) -> Select[Any]:
        subject, *rest = self._keys(of)
        group_id = rest[0] if rest else literal_column("0", Integer)
        return select(literal(snapshot_id), subject, group_id, literal_column(f"'{change}'", String), old, new)

    def _json(self, side: Side) -> Json:
        """Return all fields but the key as a JSON object."""
        pieces: list[Json] = []
        for name in self._fields():
            pieces += [_words(f'{"," if pieces else "{"}"{name}":'), self._value(name, side)]
        return _concatenate([*pieces, _words("}")])

    def _json_of_differing(self, beside: _Beside, side: Side) -> Json:
        """Return the fields that differ as a JSON object."""
        pieces = [
            case((self._differs(beside, name), _words(f',"{name}":') + self._value(name, side)), else_=_words(""))
            for name in self._fields()
        ]
        return _concatenate([_words("{"), func.substr(_concatenate(pieces), 2, type_=Text), _words("}")])

    def _value(self, name: str, side: Side) -> Json:
        """Return one value as JSON."""
        column, kind, in_sqlite = side[name], self.table.c[name].type, self.dialect == "sqlite"
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
        return func.coalesce(value, _words("null"), type_=Text) if self.table.c[name].nullable else value


def in_scope(kind: ListKind, account: str, subject_id: int | None) -> ColumnElement[bool]:
    """Return the condition for the rows of one list in its table."""
    columns = metadata.tables[kind.name].c
    scope = columns.account == account
    return and_(scope, columns.group_id == subject_id) if kind.by_group else scope


def mark_removed(kind: ListKind, account: str, subject_id: int | None, snapshot_id: int, now: dt.datetime) -> Update:
    """Mark the rows of a list that a snapshot has recorded as removed: each row's change is looked up by its key."""
    table = metadata.tables[kind.name]
    subject, *rest = (table.c[name] for name in kind.key)
    change = select(snapshot_changes.c.change).where(
        snapshot_changes.c.snapshot_id == snapshot_id,
        snapshot_changes.c.subject == subject,
        snapshot_changes.c.group_id == (rest[0] if rest else literal_column("0", Integer)),
    )
    gone = change.correlate(table).scalar_subquery() == "removed"
    present = table.c.removed_at.is_(None)
    update = table.update().where(in_scope(kind, account, subject_id), present, gone)
    return update.values(removed_at=literal(now, UtcDateTime()))


def _into_changes(query: Select[Any]) -> Insert:
    names = ("snapshot_id", "subject", "group_id", "change", "old", "new")
    return snapshot_changes.insert().from_select(names, query)


def _words(text: str) -> Json:
    """Return text of our own as it stands in the statement: a parameter for each comma would have to be named and sent."""
    return literal_column(f"'{text}'", Text)


def _concatenate(pieces: Iterable[Json]) -> Json:
    return reduce(add, pieces)
