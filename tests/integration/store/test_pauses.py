"""The kill switch in the tables: one pause at a time for an account, and its history."""

from __future__ import annotations

import datetime as dt

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from worker68.store import pauses
from worker68.store.tables import pauses as pauses_table

LATER = NOW + dt.timedelta(hours=1)


def test_an_account_is_paused_and_resumed(ledger: Ledger) -> None:
    assert pauses.find_pause(ledger.engine, "main") is None
    paused, new = pauses.pause(ledger.engine, "main", "a complaint", "ann", NOW)
    assert new
    assert (paused.account, paused.reason, paused.paused_by, paused.paused_at) == ("main", "a complaint", "ann", NOW)
    assert pauses.find_pause(ledger.engine, "main") == paused
    assert pauses.find_pause(ledger.engine, "other") is None
    assert pauses.list_pauses(ledger.engine) == {"main": paused}

    assert pauses.resume(ledger.engine, "main", "solved", "bob", LATER) == paused
    assert pauses.find_pause(ledger.engine, "main") is None
    assert pauses.resume(ledger.engine, "main", "solved", "bob", LATER) is None


def test_the_first_pause_stays(ledger: Ledger) -> None:
    first, _ = pauses.pause(ledger.engine, "main", "a complaint", "ann", NOW)
    assert pauses.pause(ledger.engine, "main", "another", "bob", LATER) == (first, False)
    assert ledger.count(pauses_table) == 1


def test_a_pause_after_a_resume_is_a_new_one_and_the_old_one_is_kept(ledger: Ledger) -> None:
    pauses.pause(ledger.engine, "main", "a complaint", "ann", NOW)
    pauses.resume(ledger.engine, "main", "solved", "bob", LATER)
    again, new = pauses.pause(ledger.engine, "main", "it came back", "ann", LATER)
    assert new
    assert pauses.list_pauses(ledger.engine) == {"main": again}
    assert ledger.count(pauses_table) == 2


def test_the_owner_takes_note(ledger: Ledger) -> None:
    paused, _ = pauses.pause(ledger.engine, "main", "a \x00 complaint", "ann", NOW)
    assert paused.seen_by is None
    pauses.note_seen(ledger.engine, paused.id, "worker-a")
    seen = pauses.find_pause(ledger.engine, "main")
    assert seen is not None
    assert seen.seen_by == "worker-a"
