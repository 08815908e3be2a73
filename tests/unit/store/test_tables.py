"""The tables hold a time as its moment in UTC, a text without NUL, and the fields of each list's rows."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import Dialect, make_url

from worker68.jobs.snapshot import LISTS, ListKind
from worker68.store.tables import UtcDateTime, metadata, plain

SHANGHAI = dt.timezone(dt.timedelta(hours=8))
NOON = dt.datetime(2026, 11, 23, 12, 0, 0, 1, tzinfo=dt.UTC)
DIALECTS = pytest.mark.parametrize(
    "dialect",
    [make_url(url).get_dialect()() for url in ("sqlite://", "postgresql+psycopg://")],
    ids=lambda dialect: dialect.name,
)


@pytest.mark.parametrize("kind", LISTS, ids=lambda kind: kind.name)
def test_a_row_has_the_columns_of_its_table(kind: ListKind) -> None:
    table = metadata.tables[kind.name]
    scope = ["account", *(["group_id"] if kind.by_group else [])]
    assert [column.name for column in table.columns] == [
        *scope,
        *kind.row.__struct_fields__,
        "updated_at",
        "removed_at",
    ]
    assert [column.name for column in table.primary_key.columns] == [*scope, *kind.key]


@DIALECTS
def test_a_time_is_written_in_utc(dialect: Dialect) -> None:
    written = UtcDateTime().process_bind_param(NOON.astimezone(SHANGHAI), dialect)
    expected = NOON.replace(tzinfo=None) if dialect.name == "sqlite" else NOON
    assert written is not None
    assert (written, written.utcoffset()) == (expected, expected.utcoffset())


@DIALECTS
def test_a_time_is_read_in_utc(dialect: Dialect) -> None:
    for stored in (NOON.replace(tzinfo=None), NOON.astimezone(SHANGHAI)):
        read = UtcDateTime().process_result_value(stored, dialect)
        assert read is not None
        assert (read, read.utcoffset()) == (NOON, dt.timedelta(0))


@DIALECTS
def test_no_time_stays_none(dialect: Dialect) -> None:
    assert UtcDateTime().process_bind_param(None, dialect) is None
    assert UtcDateTime().process_result_value(None, dialect) is None


@DIALECTS
def test_a_time_of_no_known_moment_is_refused(dialect: Dialect) -> None:
    with pytest.raises(ValueError, match="a time without an offset"):
        UtcDateTime().process_bind_param(NOON.replace(tzinfo=None), dialect)


def test_a_text_loses_only_its_nul() -> None:
    assert plain("\x00a\x00\x01小\n") == "\N{REPLACEMENT CHARACTER}a\N{REPLACEMENT CHARACTER}\x01小\n"


def test_half_a_surrogate_pair_is_no_text() -> None:
    assert plain("a\ud800小") == "a?小"
