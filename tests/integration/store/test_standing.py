"""What is before a waiting job in its lane."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.parts.jobs import MUTE, NOW, SYNC, message, mute_fields, send_fields
from tests.parts.ledger import Ledger
from worker68.store import standing, waiting
from worker68.store.standing import Ahead, find_ahead, find_reasons_beside
from worker68.store.statements import attempts


def test_the_first_of_a_lane_waits_for_nobody(ledger: Ledger) -> None:
    first, mute, sync = ledger.arrive(message(), message(MUTE, mute_fields()), message(SYNC, {}))
    assert find_ahead(ledger.engine, [first.seq, mute.seq, sync.seq]) == {}


def test_the_others_wait_for_the_first_whatever_their_numbers(ledger: Ledger) -> None:
    later, first, between = ledger.arrive(message(priority=9), message(priority=0), message(priority=5))
    assert find_ahead(ledger.engine, [later.seq, first.seq, between.seq]) == {
        between.seq: Ahead(first.seq, first.job_id, False, None, 1),
        later.seq: Ahead(first.seq, first.job_id, False, None, 2),
    }


def test_what_is_under_way_comes_before_all_that_waits(ledger: Ledger) -> None:
    begun, first, second = ledger.arrive(message(priority=9), message(priority=0), message(priority=0))
    ledger.must_begin(begun)
    ahead = find_ahead(ledger.engine, [first.seq, second.seq])
    assert ahead[first.seq] == Ahead(begun.seq, begun.job_id, True, None, 1)
    assert ahead[second.seq] == Ahead(begun.seq, begun.job_id, True, None, 2)


def test_the_reason_of_the_first_is_told(ledger: Ledger) -> None:
    first, second = ledger.arrive(message(), message())
    waiting.write_reasons(ledger.engine, {first.seq: "the bridge is away"}, NOW)
    assert find_ahead(ledger.engine, [second.seq])[second.seq].reason == "the bridge is away"


def test_what_backs_off_keeps_its_place(ledger: Ledger) -> None:
    tired, second = ledger.arrive(message(), message())
    attempt = ledger.must_begin(tired)
    until = NOW + dt.timedelta(seconds=60)
    ledger.run(lambda connection: attempts.back_off(connection, attempt, until, "busy", "the service is busy", NOW))
    assert find_ahead(ledger.engine, [second.seq])[second.seq] == Ahead(
        tired.seq, tired.job_id, False, "the service is busy", 1
    )


def test_who_opted_out_of_order_or_is_not_due_waits_for_nobody(ledger: Ledger) -> None:
    unordered = [message(kwargs=send_fields(ordered=False)) for _ in range(2)]
    deferred = message(kwargs=send_fields(send_at=(NOW + dt.timedelta(hours=1)).timestamp()))
    jobs = ledger.arrive(message(), *unordered, deferred)
    assert find_ahead(ledger.engine, [job.seq for job in jobs]) == {}


def test_who_opted_out_of_order_shares_the_reason_of_the_first(ledger: Ledger) -> None:
    first, second = ledger.arrive(*[message(kwargs=send_fields(ordered=False)) for _ in range(2)])
    ordered, behind = ledger.arrive(message(), message())
    waiting.write_reasons(ledger.engine, {first.seq: "the bridge is away", ordered.seq: "the bridge is away"}, NOW)
    asked = [first.seq, second.seq, ordered.seq, behind.seq]
    assert find_reasons_beside(ledger.engine, asked) == dict.fromkeys(asked[:2], "the bridge is away")


def test_a_count_has_an_end(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "COUNTED_AHEAD", 3)
    jobs = ledger.arrive(*[message() for _ in range(9)])
    ahead = find_ahead(ledger.engine, [job.seq for job in jobs])
    assert [ahead[job.seq].count for job in jobs[1:]] == [1, 2, 3, 4, 4, 4, 4, 4]
