"""A batch of rows as a table within a statement, so that one statement serves many jobs and its text is always the same.

In: the columns, once; the rows, with each execution, as one parameter of JSON. Out: what stands in the FROM of an UPDATE or an
INSERT. A list of values in the statement itself would be another statement for each length: built, compiled and parsed anew.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Column,
    ColumnClause,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.sql.base import ReadOnlyColumnCollection

#: The name of the parameter that holds the rows.
ROWS: Final = "rows"


def batch_of(dialect: str, *columns: ColumnClause[Any]) -> FromClause:
    """Return the table ``batch`` with these columns' names and types, for a statement that is executed with ``pack``ed rows."""
    given = bindparam(ROWS, type_=Text)
    if dialect == "postgresql":
        fields = [column(each.name, each.type) for each in columns]
        return (
            func.jsonb_to_recordset(cast(given, JSONB))
            .table_valued(*fields, name="batch")
            .render_derived(with_types=True)
        )
    each_row = func.json_each(given).table_valued("value", name="each_row")
    values = [
        func.json_extract(each_row.c.value, f"$.{each.name}", type_=each.type).label(each.name) for each in columns
    ]
    return select(*values).select_from(each_row).subquery("batch")


def same(batch: Any, *columns: Column[Any]) -> ColumnElement[bool]:
    """Return the condition that a batch (its columns) has in each of these columns what the column's own table has."""
    return and_(*(batch[each.name] == each for each in columns))


def joined(dialect: str, key: Column[Any], batch: Any) -> ColumnElement[bool]:
    """Return the condition that joins a table to a batch (its columns) by a key of both names.

    PostgreSQL takes every batch to be of a hundred rows, and would rather read through a table of ten thousand. With an array of
    the keys it looks into the index.
    """
    pairs: ColumnElement[bool] = key == batch[key.name]
    if dialect != "postgresql":
        return pairs
    keys = func.array(select(batch[key.name]).scalar_subquery(), type_=ARRAY(key.type))
    return and_(pairs, key == any_(keys))


def look_up(
    dialect: str, rows: FromClause, table: FromClause, condition: ColumnElement[bool]
) -> tuple[FromClause, ReadOnlyColumnCollection[str, Any]]:
    """Return ``rows`` joined to the rows that its rows have in ``table`` by this condition, and the columns of those rows.

    They are looked up for each row by itself, by the index that the condition has. PostgreSQL would choose otherwise where it
    knows little of the table, and read through all of it; the OFFSET keeps it from that.
    """
    if dialect != "postgresql":
        return rows.join(table, condition), table.c
    found = select(table).where(condition).offset(literal_column("0", Integer)).lateral()
    return rows.join(found, true()), found.c


def among(dialect: str, key: Column[Any], query: Select[Any]) -> ColumnElement[bool]:
    """Return the condition that a column with an index is among what a query finds: each is looked up there."""
    if dialect != "postgresql":
        return key.in_(query)
    found: ColumnElement[bool] = key == any_(func.array(query.scalar_subquery(), type_=ARRAY(key.type)))
    return found


def one_of(dialect: str, key: Column[Any], parameter: str) -> ColumnElement[bool]:
    """Return the condition that a text is one of those in this parameter, which ``pack_texts`` gives: however many they are.

    For PostgreSQL an array: joined to a set, a table would be read through and sorted for the few rows that are asked for.
    """
    given = bindparam(parameter, type_=Text)
    if dialect == "postgresql":
        each = func.jsonb_array_elements_text(cast(given, JSONB)).column_valued("each_text")
        found: ColumnElement[bool] = key == any_(func.array(select(each).scalar_subquery(), type_=ARRAY(Text)))
        return found
    return key.in_(select(func.json_each(given).table_valued("value", name="each_text").c.value))


def pack_texts(texts: Iterable[str]) -> str:
    return msgspec.json.encode(list(texts)).decode()


def pack(dialect: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the parameter for the rows. Text may hold no NUL: PostgreSQL refuses it in JSON as it does in text."""
    given: Iterable[Mapping[str, Any]] = rows
    if dialect == "sqlite":
        given = ({name: _kept(value) for name, value in row.items()} for row in rows)
    return {ROWS: msgspec.json.encode(list(given)).decode()}


def _kept(value: Any) -> Any:
    """Return a time as SQLite keeps it: text that sorts, always to the microsecond, in UTC without an offset."""
    return f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S.%f}" if isinstance(value, dt.datetime) else value
