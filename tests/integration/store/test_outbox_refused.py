"""Entries that Redis refuses for good lie beside the outbox until they are due, and no older result follows a newer one."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import insert, select

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from worker68.store.engine import reading
from worker68.store.outbox import count_refused, end_refused, fetch, fetch_due, settle_outbox, settle_refused
from worker68.store.statements.outcomes import OutboxEntry
from worker68.store.tables import outbox, refused

SOON = NOW + dt.timedelta(seconds=5)
LATER = NOW + dt.timedelta(seconds=60)
NOPERM = "NOPERM no right"


def put(ledger: Ledger, *entries: tuple[str, str, str], account: str = "main") -> list[OutboxEntry]:
    """Put entries of kind, address and payload into the outbox."""
    columns = ("kind", "address", "payload")
    rows = [dict(zip(columns, one, strict=True)) | {"account": account, "created_at": NOW} for one in entries]
    ledger.run(lambda connection: connection.execute(insert(outbox), rows))
    return fetch(ledger.engine, [account], None, NOW, 1000)


def refuse(
    ledger: Ledger, entries: Sequence[OutboxEntry], taken: Sequence[OutboxEntry] = (), due_at: dt.datetime = SOON
) -> None:
    settle_outbox(ledger.engine, taken, [(entry, NOPERM) for entry in entries], due_at)


def due(ledger: Ledger, now: dt.datetime = SOON, others: list[str] | None = None) -> list[tuple[str, int]]:
    owned = [] if others is not None else ["main"]
    entries = fetch_due(ledger.engine, owned, others, now, now - dt.timedelta(seconds=10), 100)
    return [(entry.payload, entry.refusals) for entry in entries]


def test_what_is_refused_leaves_the_outbox_and_comes_back_when_due(ledger: Ledger) -> None:
    first, second, third = put(ledger, ("reply", "a", "1"), ("dead", "", "2"), ("reply", "b", "3"))
    refuse(ledger, [first, second], [third])
    assert ledger.count(outbox) == 0
    assert due(ledger, NOW) == []
    assert due(ledger) == [("1", 1), ("2", 1)]
    again = fetch_due(ledger.engine, ["main"], None, SOON, NOW, 100)
    settle_refused(ledger.engine, again[:1], {again[1].id: ("WRONGTYPE", LATER)})
    assert due(ledger) == []
    assert due(ledger, LATER) == [("2", 2)]
    assert [(one.kind, one.number, one.problem) for one in count_refused(ledger.engine)] == [("dead", 1, "WRONGTYPE")]


def test_an_older_result_does_not_wait_behind_a_newer_one(ledger: Ledger) -> None:
    (older,) = put(ledger, ("result", "t", "1"))
    refuse(ledger, [older])
    newer, other = put(ledger, ("result", "t", "2"), ("reply", "t", "3"))
    refuse(ledger, [other], [newer])
    assert due(ledger) == [("3", 1)]


def test_of_two_results_that_are_refused_the_newer_waits(ledger: Ledger) -> None:
    refuse(ledger, put(ledger, ("result", "t", "1"), ("result", "t", "2"), ("result", "other", "3")))
    assert due(ledger) == [("2", 1), ("3", 1)]
    refuse(ledger, put(ledger, ("result", "t", "4")))
    assert due(ledger) == [("3", 1), ("4", 1)]


def test_the_owner_of_the_front_door_tries_what_nobody_else_will(ledger: Ledger) -> None:
    refuse(ledger, put(ledger, ("reply", "a", "1"), account="nobody"))
    refuse(ledger, put(ledger, ("reply", "a", "2")))
    assert due(ledger, others=["main"]) == [("1", 1)]
    assert due(ledger, LATER, others=["main"]) == [("1", 1), ("2", 1)]


def test_no_account_is_held_up_by_what_is_due_of_another(ledger: Ledger) -> None:
    for account in ("main", "other", "third"):
        refuse(ledger, put(ledger, *(("reply", account, f"{number}") for number in range(50)), account=account))
    found = fetch_due(ledger.engine, ["main", "other"], None, LATER, NOW, 60)
    assert Counter(entry.account for entry in found) == {"main": 30, "other": 30}
    assert [entry.payload for entry in found[:30]] == [f"{number}" for number in range(30)]
    assert len(fetch_due(ledger.engine, ["third"], None, LATER, NOW, 60)) == 50
    few = fetch_due(ledger.engine, ["other", *(f"{number}" for number in range(9)), "main"], None, LATER, NOW, 60)
    assert Counter(entry.account for entry in few) == {"main": 20, "other": 20}
    assert fetch_due(ledger.engine, [], None, LATER, NOW, 60) == []


def test_states_end_as_they_would_have_in_redis_and_replies_wait(ledger: Ledger) -> None:
    refuse(ledger, put(ledger, ("reply", "a", "1"), ("result", "b", "2"), ("deferred", "c", "3"), ("dead", "", "4")))
    assert end_refused(ledger.engine, NOW) == 0
    assert end_refused(ledger.engine, LATER) == 2
    with reading(ledger.engine) as connection:
        assert sorted(connection.scalars(select(refused.c.kind))) == ["dead", "reply"]


def test_a_thousand_are_settled_at_once(ledger: Ledger) -> None:
    entries = put(ledger, *(("result", f"{number}", "x") for number in range(1000)))
    refuse(ledger, entries)
    refuse(ledger, [], put(ledger, *(("result", f"{number}", "y") for number in range(999))))
    assert due(ledger) == [("x", 1)]
    assert [one.number for one in count_refused(ledger.engine, ["main"])] == [1]
    assert count_refused(ledger.engine, ["other"]) == []
