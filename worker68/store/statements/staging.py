"""Staging: what was read of a list becomes a temporary table, each key once, by the driver's fastest way.

In: rows, of which no more than a page is held in memory. Out: a temporary table with the row's fields, and how many rows it holds.
Never: a change of a table that lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, cast

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    any_,
    func,
    select,
)
from sqlalchemy.exc import DBAPIError

from worker68.jobs.snapshot import ListKind, ListSeen
from worker68.store.tables import UtcDateTime, metadata, plain

#: Rows that are held in memory: as many as the service's largest page has.
PAGE_ROWS: Final = 1000

#: What PostgreSQL calls the types of the lists' columns in a binary COPY, which converts nothing.
_BINARY_TYPES: Final = {
    BigInteger: "int8",
    Integer: "int4",
    Boolean: "bool",
    Text: "text",
    String: "varchar",
    UtcDateTime: "timestamptz",
}


@dataclass(frozen=True)
class Staged:
    """The temporary table ``rows`` holds ``count`` rows. Drop it before the same kind of list is staged again."""

    rows: Table
    count: int


def stage(connection: Connection, seen: ListSeen) -> Staged:
    """Write what was seen into a temporary table; of several rows with the same key the last one stays."""
    if connection.dialect.name == "postgresql":
        return _stage_in_postgresql(connection, seen)
    return _stage_in_sqlite(connection, seen)


def _stage_in_postgresql(connection: Connection, seen: ListSeen) -> Staged:
    rows = _temporary_table("seen", seen.kind, postgresql_on_commit="DROP")
    rows.create(connection, checkfirst=False)
    _copy(connection, rows, _values(seen.kind, rows, seen.rows))
    keys = [rows.c[name] for name in seen.kind.key]
    distinct = select(*keys).distinct().subquery()
    written = connection.scalar(select(func.count()).select_from(rows)) or 0
    count = connection.scalar(select(func.count()).select_from(distinct)) or 0
    if count != written:
        # A row's place in the table, which only grows here. By their places the doubles are found without a join.
        place = rows.c.ctid
        newest = func.last_value(place).over(partition_by=keys, order_by=place, range_=(None, None))
        numbered = select(place.label("place"), newest.label("newest")).subquery()
        doubles = select(numbered.c.place).where(numbered.c.place != numbered.c.newest).scalar_subquery()
        connection.execute(rows.delete().where(place == any_(func.array(doubles))))
    return Staged(rows, count)


def _copy(connection: Connection, rows: Table, values: Iterable[tuple[Any, ...]]) -> None:
    """Write with COPY, past SQLAlchemy, and raise what the driver raises as SQLAlchemy would."""
    # Only here: with SQLite no driver of PostgreSQL is needed, which takes a while to import.
    import psycopg
    from psycopg import sql

    columns = [column for column in rows.columns if not column.system]
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(rows.name), sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    )
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types([_BINARY_TYPES[type(column.type)] for column in columns])
            write = copy.write_row
            for value in values:
                write(value)
    except psycopg.Error as error:
        broken = connection.dialect.is_disconnect(cast(Any, error), driver, None)
        if broken:
            connection.invalidate(error)
        raise DBAPIError.instance(
            "COPY", None, error, psycopg.Error, hide_parameters=True, connection_invalidated=broken
        ) from error


def _stage_in_sqlite(connection: Connection, seen: ListSeen) -> Staged:
    """Append first and sort then: rows that come in any order cost a sorted table several times as much."""
    lines = _temporary_table("lines", seen.kind)
    rows = _temporary_table("seen", seen.kind, sqlite_with_rowid=False, keyed=True)
    for table in (lines, rows):
        table.create(connection, checkfirst=False)
    insert = f"INSERT INTO temp.{lines.name} VALUES ({', '.join('?' * len(lines.columns))})"
    for page in _pages(_values(seen.kind, lines, seen.rows, connection)):
        connection.exec_driver_sql(insert, page)
    order = ", ".join([*seen.kind.key, "rowid"])
    connection.exec_driver_sql(
        f"INSERT OR REPLACE INTO temp.{rows.name} SELECT * FROM temp.{lines.name} ORDER BY {order}"
    )
    lines.drop(connection, checkfirst=False)
    return Staged(rows, connection.scalar(select(func.count()).select_from(rows)) or 0)


def _temporary_table(prefix: str, kind: ListKind, *, keyed: bool = False, **options: Any) -> Table:
    """Describe a temporary table with the columns of the kind's row, as its list's table has them."""
    listed = metadata.tables[kind.name]
    columns: list[Column[Any]] = []
    for name in kind.row.__struct_fields__:
        column = listed.c[name]
        key = keyed and name in kind.key
        columns.append(
            Column(name, column.type, primary_key=key, nullable=column.nullable, autoincrement=False),
        )
    if options.get("postgresql_on_commit"):
        columns.append(Column("ctid", String, system=True))
    return Table(f"{prefix}_{kind.name}", MetaData(), *columns, prefixes=["TEMPORARY"], **options)


def _values(
    kind: ListKind, rows: Table, seen: Iterable[msgspec.Struct], sqlite: Connection | None = None
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as the driver takes them: text without NUL, for SQLite times as it keeps them."""
    columns = [rows.c[name] for name in kind.row.__struct_fields__]
    texts = [place for place, column in enumerate(columns) if isinstance(column.type, String)]
    times = [place for place, column in enumerate(columns) if isinstance(column.type, UtcDateTime)]
    keep_time = UtcDateTime().bind_processor(sqlite.dialect) if sqlite is not None else None
    as_tuple = msgspec.structs.astuple
    for row in seen:
        values = as_tuple(row)
        for place in texts:
            text = values[place]
            if text is not None and "\x00" in text:
                values = _replace(values, texts, plain)
                break
        if times and keep_time is not None:
            values = _replace(values, times, keep_time)
        yield values


def _replace(values: tuple[Any, ...], places: Sequence[int], change: Callable[[Any], Any]) -> tuple[Any, ...]:
    changed = list(values)
    for place in places:
        if changed[place] is not None:
            changed[place] = change(changed[place])
    return tuple(changed)


def _pages(values: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    while page := list(islice(values, PAGE_ROWS)):
        yield page
