"""Threads that meet at one idempotency key: one job, everyone answered, no reply lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.parts.jobs import NOW, message, send_fields
from tests.parts.ledger import Ledger
from worker68.errors import DatabaseAway
from worker68.jobs.outcome import ErrorCode, in_doubt
from worker68.store import waiting
from worker68.store.tables import jobs

ROUNDS = 25


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def meet(pool: ThreadPoolExecutor, *works: Callable[[], Any]) -> list[Any]:
    """Start all works at one moment and return what they returned."""
    gate = threading.Barrier(len(works), timeout=180)

    def run(work: Callable[[], Any]) -> Any:
        gate.wait()
        return work()

    return [future.result(60) for future in [pool.submit(run, work) for work in works]]


def ask(job_id: str, task_id: str, text: str = "hello") -> bytes:
    return message(kwargs=send_fields(job_id=job_id, text=text), task_id=task_id)


def test_one_key_taken_in_twice_at_once_is_one_job_with_two_requesters(
    ledger: Ledger, pool: ThreadPoolExecutor
) -> None:
    for number in range(ROUNDS):
        key = f"job-{number}"
        made = meet(pool, *[partial(ledger.arrive, ask(key, f"{key}-{who}")) for who in "ab"])
        assert sorted(map(len, made)) == [0, 1]
    rows = ledger.rows()
    assert len(rows) == ROUNDS
    assert all(sorted(ledger.requesters(row.seq)) == [f"{row.job_id}-a", f"{row.job_id}-b"] for row in rows)
    assert ledger.in_outbox() == []


def test_one_key_with_two_contents_at_once_is_one_job_and_one_conflict(
    ledger: Ledger, pool: ThreadPoolExecutor
) -> None:
    for number in range(ROUNDS):
        key = f"job-{number}"
        meet(pool, *[partial(ledger.arrive, ask(key, f"{key}-{who}", text=who)) for who in "ab"])
    rows = ledger.rows()
    assert len(rows) == ROUNDS
    told = dict(line.split(": ") for line in ledger.told())
    for row in rows:
        (winner,) = ledger.requesters(row.seq)
        loser = f"{row.job_id}-{'b' if winner.endswith('a') else 'a'}"
        assert told.pop(loser) == "conflict"
    assert told == {}


def test_batches_that_cross_each_other_lose_nothing(ledger: Ledger, pool: ThreadPoolExecutor) -> None:
    """PostgreSQL may end one of them as a deadlock: then it is written again, as the scheduler would."""
    keys = [f"job-{number}" for number in range(ROUNDS)]

    def take_in(who: str, order: list[str]) -> None:
        batch = [ask(key, f"{key}-{who}") for key in order]
        try:
            ledger.arrive(*batch)
        except DatabaseAway:
            ledger.arrive(*batch)

    meet(pool, lambda: take_in("a", keys), lambda: take_in("b", keys[::-1]))
    assert Counter(len(ledger.requesters(row.seq)) for row in ledger.rows()) == {2: ROUNDS}


def test_whoever_joins_while_the_job_is_settled_gets_exactly_one_reply(
    ledger: Ledger, pool: ThreadPoolExecutor
) -> None:
    for number in range(ROUNDS):
        key = f"job-{number}"
        (job,) = ledger.arrive(ask(key, f"{key}-first"))
        attempt = ledger.must_begin(job)
        settle, join = meet(pool, partial(ledger.settle, attempt), partial(ledger.arrive, ask(key, f"{key}-second")))
        assert (settle, join) == (True, [])
    told = Counter(ledger.told())
    assert told == {f"job-{number}-{who}: succeeded": 1 for number in range(ROUNDS) for who in ("first", "second")}


def test_whoever_joins_while_the_job_is_revised_hears_the_last_word(ledger: Ledger, pool: ThreadPoolExecutor) -> None:
    for number in range(ROUNDS):
        key = f"job-{number}"
        (job,) = ledger.arrive(ask(key, f"{key}-first"))
        ledger.settle(ledger.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "?"))
        meet(pool, partial(ledger.revise, job.seq), partial(ledger.arrive, ask(key, f"{key}-second")))
    last = dict(line.split(": ") for line in ledger.told())
    assert last == {f"job-{number}-{who}": "succeeded" for number in range(ROUNDS) for who in ("first", "second")}


def test_a_cancel_that_meets_a_begin_ends_the_job_or_leaves_it_alone(ledger: Ledger, pool: ThreadPoolExecutor) -> None:
    for number in range(ROUNDS):
        key = f"job-{number}"
        (job,) = ledger.arrive(ask(key, key))
        attempt, ended = meet(
            pool, partial(ledger.begin, job), partial(waiting.cancel, ledger.engine, [key], "revoked", NOW)
        )
        assert (attempt is None) == (ended.ended == [job.seq])
    assert ledger.count(jobs) == ROUNDS


def test_a_revoke_that_meets_the_arrival_is_found_by_the_second_look_at_the_latest(
    ledger: Ledger, pool: ThreadPoolExecutor
) -> None:
    for number in range(ROUNDS):
        key = f"job-{number}"
        taken, first = meet(
            pool, partial(ledger.arrive, ask(key, key)), partial(waiting.cancel, ledger.engine, [key], "revoked", NOW)
        )
        again = waiting.cancel(ledger.engine, [key], "revoked", NOW)
        # It arrived revoked, or was cancelled at once, or only now: where neither had seen the other.
        assert len(first.ended) + len(again.ended) == len(taken)
    assert {row.status for row in ledger.rows()} == {"cancelled"}


def test_two_owners_never_begin_one_job(ledger: Ledger, pool: ThreadPoolExecutor) -> None:
    for _ in range(ROUNDS):
        job = ledger.send()
        begun = meet(
            pool, partial(ledger.begin, job, owner="worker-a"), partial(ledger.begin, job, owner="worker-b", fence=8)
        )
        assert sum(attempt is not None for attempt in begun) == 1
        assert ledger.row(job.seq).attempts == 1
