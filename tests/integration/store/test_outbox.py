"""Entries lie in the outbox, oldest first, for the owner of their account."""

from __future__ import annotations

import datetime as dt

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from worker68.store.outbox import fetch
from worker68.store.statements.outcomes import pack_dead, post

LATER = NOW + dt.timedelta(seconds=60)


def put(ledger: Ledger, *accounts: str, at: dt.datetime = NOW) -> None:
    ledger.run(lambda connection: post(connection, [pack_dead(account, account, at) for account in accounts]))


def seen(ledger: Ledger, owned: list[str], others: list[str] | None, stale_before: dt.datetime = NOW) -> list[str]:
    return [entry.payload for entry in fetch(ledger.engine, owned, others, stale_before, 100)]


def test_an_owner_sees_the_entries_of_its_accounts_in_their_order(ledger: Ledger) -> None:
    put(ledger, "main", "other", "main", "third")
    assert seen(ledger, ["main"], None) == ["main", "main"]
    assert seen(ledger, ["main", "third"], None) == ["main", "main", "third"]
    assert seen(ledger, [], None) == []
    assert [entry.payload for entry in fetch(ledger.engine, ["main", "other"], None, NOW, 2)] == ["main", "other"]


def test_the_owner_of_the_front_door_sees_what_nobody_else_will(ledger: Ledger) -> None:
    put(ledger, "main", "nobody", "")
    assert seen(ledger, [], ["main"]) == ["nobody", ""]
    assert seen(ledger, [], ["main"], stale_before=LATER) == ["main", "nobody", ""]
    assert seen(ledger, ["main"], []) == ["main", "nobody", ""]
