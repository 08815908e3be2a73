"""A batch of rows is a table within a statement: its values keep their types, and conditions meet the rows of a real table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, ColumnClause, Integer, Row, Select, String, Text, column, insert, select
from sqlalchemy.sql.base import Executable

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from worker68.store.statements.batches import among, batch_of, joined, look_up, one_of, pack, pack_texts, same
from worker68.store.tables import UtcDateTime, cancellations, outbox

#: Not in their order.
IDS = (7, 3, 5)
#: Texts that a wrong quotation would change, or that JSON itself could be mistaken for.
ODD = (
    "",
    " ",
    "'; --",
    '"quoted"',
    '{"a": 1}',
    "null",
    "[]",
    "\\u0041",
    "%s :b",
    "小鱼儿 👩‍👩‍👧‍👦",
    "a\nb\tc",
    "x" * 100_000,
)


def execute(ledger: Ledger, query: Executable, parameters: dict[str, Any]) -> Sequence[Row[Any]]:
    return ledger.run(lambda connection: connection.execute(query, parameters).all())


def rows_of(ledger: Ledger, columns: Sequence[ColumnClause[Any]], *rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Return these rows as a statement sees them."""
    dialect = ledger.engine.dialect.name
    query: Select[Any] = select(*batch_of(dialect, *columns).c)
    return [dict(row._mapping) for row in execute(ledger, query, pack(dialect, rows))]


def put(ledger: Ledger, *entries: tuple[int, str]) -> None:
    """Write entries of the outbox, each with its number and its account."""
    rows = [
        {"id": id_, "account": account, "kind": "dead", "address": f"to-{id_}", "payload": "", "created_at": NOW}
        for id_, account in entries
    ]
    ledger.run(lambda connection: connection.execute(insert(outbox), rows))


def test_values_of_every_type_come_back_as_they_went_in(ledger: Ledger) -> None:
    columns: list[ColumnClause[Any]] = [
        *(column("whole", BigInteger), column("small", Integer), column("truth", Boolean)),
        *(column("words", Text), column("name", String(20)), column("moment", UtcDateTime())),
    ]
    rows = [
        {"whole": 2**63 - 1, "small": -1, "truth": True, "words": "a", "name": "小鱼儿", "moment": NOW},
        {"whole": -(2**63), "small": 0, "truth": False, "words": "", "name": "", "moment": NOW},
        dict.fromkeys(("whole", "small", "truth", "words", "name", "moment")),
    ]
    found = rows_of(ledger, columns, *rows)
    assert sorted(found, key=str) == sorted(rows, key=str)
    assert {type(row["truth"]) for row in found} == {bool, type(None)}


def test_a_text_is_a_value_and_never_part_of_the_statement(ledger: Ledger) -> None:
    rows = [{"words": text} for text in ODD]
    assert rows_of(ledger, [column("words", Text)], *rows) == rows


def test_a_time_keeps_its_moment_whatever_its_offset(ledger: Ledger) -> None:
    moments = [
        NOW,
        NOW + dt.timedelta(microseconds=1),
        NOW.astimezone(dt.timezone(dt.timedelta(hours=8))),
        dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
    ]
    found = rows_of(ledger, [column("moment", UtcDateTime())], *({"moment": moment} for moment in moments))
    assert [row["moment"] for row in found] == moments
    assert {row["moment"].utcoffset() for row in found} == {dt.timedelta(0)}


@pytest.mark.parametrize("moment", [NOW, NOW + dt.timedelta(microseconds=500)])
def test_a_time_equals_the_same_time_in_a_table(ledger: Ledger, moment: dt.datetime) -> None:
    """On SQLite both are text, which must be written in one way."""
    rows = [{"task_id": "a", "cancelled_at": moment}, {"task_id": "b", "cancelled_at": NOW - dt.timedelta(seconds=1)}]
    ledger.run(lambda connection: connection.execute(insert(cancellations), rows))
    dialect = ledger.engine.dialect.name
    batch = batch_of(dialect, cancellations.c.cancelled_at)
    query = select(cancellations.c.task_id).join_from(batch, cancellations, same(batch.c, cancellations.c.cancelled_at))
    shown = moment.astimezone(dt.timezone(dt.timedelta(hours=-3)))
    assert [row.task_id for row in execute(ledger, query, pack(dialect, [{"cancelled_at": shown}]))] == ["a"]


def test_what_is_written_from_a_batch_is_what_was_given(ledger: Ledger) -> None:
    columns = [cancellations.c.task_id, cancellations.c.cancelled_at]
    rows = [{"task_id": text[:255], "cancelled_at": NOW + dt.timedelta(microseconds=at)} for at, text in enumerate(ODD)]
    dialect = ledger.engine.dialect.name
    writing = insert(cancellations).from_select(columns, select(*batch_of(dialect, *columns).c))
    ledger.run(lambda connection: connection.execute(writing, pack(dialect, rows)))
    found = execute(ledger, select(*columns).order_by(cancellations.c.cancelled_at), {})
    assert [dict(row._mapping) for row in found] == rows


def test_a_batch_of_none_is_a_table_without_rows(ledger: Ledger) -> None:
    assert rows_of(ledger, [column("whole", BigInteger)]) == []


def test_rows_are_the_same_where_every_column_is(ledger: Ledger) -> None:
    put(ledger, (1, "main"), (2, "other"), (3, "main"))
    dialect = ledger.engine.dialect.name
    batch = batch_of(dialect, outbox.c.account, outbox.c.address)
    query = select(outbox.c.id).join_from(batch, outbox, same(batch.c, outbox.c.account, outbox.c.address))
    asked = [{"account": "main", "address": "to-1"}, {"account": "main", "address": "to-2"}]
    assert [row.id for row in execute(ledger, query, pack(dialect, asked))] == [1]


def test_a_row_is_joined_to_that_of_its_key(ledger: Ledger) -> None:
    put(ledger, *((id_, f"account-{id_}") for id_ in range(1, 9)))
    dialect = ledger.engine.dialect.name
    batch = batch_of(dialect, outbox.c.id, column("word", Text))
    query = select(outbox.c.account, batch.c.word).join_from(batch, outbox, joined(dialect, outbox.c.id, batch.c))
    asked = [{"id": id_, "word": f"word-{id_}"} for id_ in (*IDS, 99)]
    assert {tuple(row) for row in execute(ledger, query, pack(dialect, asked))} == {
        (f"account-{id_}", f"word-{id_}") for id_ in IDS
    }


def test_each_row_is_looked_up_with_all_that_belong_to_it(ledger: Ledger) -> None:
    put(ledger, (1, "main"), (2, "other"), (3, "main"), (4, "third"))
    dialect = ledger.engine.dialect.name
    batch = batch_of(dialect, outbox.c.account)
    rows, found = look_up(dialect, batch, outbox, outbox.c.account == batch.c.account)
    query = select(batch.c.account, found.id, found.created_at).select_from(rows)
    asked = [{"account": account} for account in ("main", "third", "nobody")]
    assert sorted(tuple(row) for row in execute(ledger, query, pack(dialect, asked))) == [
        ("main", 1, NOW),
        ("main", 3, NOW),
        ("third", 4, NOW),
    ]


def test_only_rows_among_those_of_a_query_are_meant(ledger: Ledger) -> None:
    put(ledger, *((id_, "main") for id_ in range(1, 9)))
    dialect = ledger.engine.dialect.name
    query = select(outbox.c.id).where(among(dialect, outbox.c.id, select(batch_of(dialect, outbox.c.id).c.id)))
    found = execute(ledger, query, pack(dialect, [{"id": id_} for id_ in (*IDS, 3, 99)]))
    assert sorted(row.id for row in found) == sorted(IDS)
    assert execute(ledger, query, pack(dialect, [])) == []


def test_a_text_is_one_of_those_given_however_odd_or_many_they_are(ledger: Ledger) -> None:
    odd = [text[:64] for text in ODD]
    put(ledger, *enumerate(odd, start=1), (100, "main"))
    query = select(outbox.c.id).where(one_of(ledger.engine.dialect.name, outbox.c.account, "accounts"))

    def find(texts: Sequence[str]) -> list[int]:
        return sorted(row.id for row in execute(ledger, query, {"accounts": pack_texts(texts)}))

    assert find(odd) == list(range(1, len(odd) + 1))
    assert find(["main", *(f"nobody-{number}" for number in range(2000))]) == [100]
    assert find([]) == []


def test_what_is_none_of_those_given_can_be_asked_for(ledger: Ledger) -> None:
    put(ledger, (1, "main"), (2, "other"))
    query = select(outbox.c.id).where(~one_of(ledger.engine.dialect.name, outbox.c.account, "accounts"))
    assert [row.id for row in execute(ledger, query, {"accounts": pack_texts(["main"])})] == [2]
    assert len(execute(ledger, query, {"accounts": pack_texts([])})) == 2
