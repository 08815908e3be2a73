"""No statement of ours reads far more rows than it is about, whatever PostgreSQL believes of its tables.

Each statement is executed by the code that owns it, and its plan counted, four times: where the tables were never analysed, where
they were analysed before they grew, after it, and by a planner that prefers nested loops. The last one stands for the versions of
PostgreSQL that choose otherwise than the one at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest

from tests.parts.ledger import Ledger, open_ledger
from tests.parts.lists import GROUP, Lists, contact, group_request, member
from tests.parts.plans import Plan, explained
from worker68.clock import utc_now
from worker68.jobs.snapshot import CONTACTS, GROUP_MEMBERS, GROUP_REQUESTS, ListKind, Row
from worker68.store import history, snapshots
from worker68.store.engine import Engine

#: Entries of one list.
ENTRIES: Final = 800
#: A statement about a list looks at each of its rows a few times: read, joined, sorted, written.
TIMES: Final = 9

KNOWLEDGE: Final = ("never", "stale", "fresh", "nested loops")


@pytest.fixture(params=KNOWLEDGE)
def knowledge(request: pytest.FixtureRequest) -> str:
    """What PostgreSQL believes of its tables."""
    known: str = request.param
    return known


@pytest.fixture
def ledger(postgres_url: str, knowledge: str) -> Iterator[Ledger]:
    """Tables that are analysed when the test says so."""
    with open_ledger(postgres_url) as ledger:
        for table in ("jobs", "requesters", "attempts", "outbox", "group_members", "contacts", "snapshot_changes"):
            administer(ledger.engine, f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        if knowledge == "nested loops":
            name = ledger.engine.url.database
            for method in ("hashjoin", "mergejoin"):
                administer(ledger.engine, f"ALTER DATABASE {name} SET enable_{method} = off")
            ledger.engine.dispose()
        yield ledger


def administer(engine: Engine, words: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(words)


def bounded(plans: list[Plan], most: int) -> None:
    assert plans
    worst = max(plans, key=lambda plan: plan.looked_at)
    assert worst.looked_at <= most, str(worst)


# Lists


def rows_of(kind: ListKind, number: int) -> list[Row]:
    make: Any = {CONTACTS: contact, GROUP_MEMBERS: member}.get(kind, lambda id_: group_request(id_, id_ % 3))
    # Not in the order of their ids.
    return [make(1 + place * 7919 % 1_000_003) for place in range(number)]


@pytest.mark.parametrize("kind", [CONTACTS, GROUP_MEMBERS, GROUP_REQUESTS], ids=lambda kind: kind.name)
def test_a_sync_looks_at_each_row_of_its_list_a_few_times(ledger: Ledger, knowledge: str, kind: ListKind) -> None:
    lists, group = Lists(ledger), GROUP if kind.by_group else None
    if knowledge == "stale":
        lists.see(rows_of(kind, 10), kind, account="other", group=group)
        administer(ledger.engine, "ANALYZE")
    with explained(ledger.engine) as first:
        lists.see(rows_of(kind, ENTRIES), kind, group=group)
    bounded(first, TIMES * ENTRIES)
    if knowledge == "fresh":
        administer(ledger.engine, "ANALYZE")
    moved = rows_of(kind, ENTRIES + 5)[5:]
    moved[:9] = [msgspec.structs.replace(row, name="new") for row in moved[:9]]
    with explained(ledger.engine) as second:
        told = lists.see([*moved, *moved[-1:]], kind, group=group)
    assert (told["added"], told["removed"], told["changed"]) == (5, 5, 9)
    bounded(second, TIMES * ENTRIES)


def test_a_new_group_costs_what_it_holds_beside_many_known_ones(ledger: Ledger, knowledge: str) -> None:
    lists = Lists(ledger)
    for group in range(1, 11):
        lists.see(rows_of(GROUP_MEMBERS, ENTRIES), GROUP_MEMBERS, group=group)
        if (group == 1 and knowledge == "stale") or (group == 10 and knowledge == "fresh"):
            administer(ledger.engine, "ANALYZE")
    for _ in range(2):
        with explained(ledger.engine) as plans:
            lists.see(rows_of(GROUP_MEMBERS, ENTRIES), GROUP_MEMBERS, group=GROUP)
        bounded(plans, TIMES * ENTRIES)


def test_accepting_a_shrink_and_looking_back_read_the_changes_of_that_list(ledger: Ledger, knowledge: str) -> None:
    lists = Lists(ledger)
    for group in range(1, 6):
        lists.see(rows_of(GROUP_MEMBERS, ENTRIES), GROUP_MEMBERS, group=group)
        if (group == 1 and knowledge == "stale") or (group == 5 and knowledge == "fresh"):
            administer(ledger.engine, "ANALYZE")
    first = lists.see(rows_of(GROUP_MEMBERS, ENTRIES), GROUP_MEMBERS, group=GROUP)["snapshot_id"]
    number = lists.see(rows_of(GROUP_MEMBERS, 10), GROUP_MEMBERS, group=GROUP)["snapshot_id"]
    with explained(ledger.engine) as plans:
        assert snapshots.accept(ledger.engine, number, utc_now()) == ENTRIES - 10
        older, newer = (history.find_snapshot(ledger.engine, each) for each in (first, number))
        assert len(list(history.read_difference(ledger.engine, older, newer))) == ENTRIES - 10
    bounded(plans, TIMES * ENTRIES)
