"""The rows of a list are those of its table: the same columns in the same order, the same key, null where nothing may be known."""

from __future__ import annotations

from typing import get_args, get_type_hints

import msgspec
import pytest

from worker68.jobs.snapshot import LISTS, ListKind, ListName, MemberRow
from worker68.store.tables import metadata

#: What a table has beside the fields of a row: whose the list is, and since when the row is so.
AROUND = {"account", "updated_at", "removed_at"}

EACH = pytest.mark.parametrize("kind", LISTS, ids=lambda kind: kind.name)


def around(kind: ListKind) -> set[str]:
    return AROUND | ({"group_id"} if kind.by_group else set())


@EACH
def test_a_row_has_the_columns_of_its_table_in_their_order(kind: ListKind) -> None:
    columns = [column.name for column in metadata.tables[kind.name].columns if column.name not in around(kind)]
    assert list(kind.row.__struct_fields__) == columns


@EACH
def test_an_entry_is_identified_by_the_key_of_its_table(kind: ListKind) -> None:
    key = [column.name for column in metadata.tables[kind.name].primary_key if column.name not in around(kind)]
    assert list(kind.key) == key


@EACH
def test_what_may_be_unknown_of_an_entry_may_be_null(kind: ListKind) -> None:
    unknown = {name for name, hint in get_type_hints(kind.row).items() if type(None) in get_args(hint)}
    assert unknown == {column.name for column in metadata.tables[kind.name].columns if column.nullable} - AROUND


def test_each_list_is_there_once() -> None:
    assert sorted(kind.name for kind in LISTS) == sorted(get_args(ListName))
    assert len({kind.row for kind in LISTS}) == len(LISTS)


def test_a_row_is_written_as_its_values_alone() -> None:
    """A hundred thousand of them are kept outside of memory while a list is read."""
    row = MemberRow(7, "夜雨", None, "admin", True)
    written = msgspec.json.encode(row)
    assert msgspec.json.decode(written) == [7, "夜雨", None, "admin", True]
    assert msgspec.json.decode(written, type=MemberRow) == row
