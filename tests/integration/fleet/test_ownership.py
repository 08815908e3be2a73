"""Ownership on a real Redis: what is gained, kept, lost and given back, whatever Redis and the callbacks do."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from tests.integration.fleet.owners import LONG_TTL, MAIN, OTHER, Start, count, wait_until
from tests.parts.onloop import stop_service
from worker68.clock import Deadline, boottime
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway
from worker68.fleet import leases as leases_module
from worker68.fleet import ownership as ownership_module
from worker68.fleet.leases import FRONT, Lease, Leases, account_lease, lease_key
from worker68.fleet.members import WORDS_KEY
from worker68.loop import LoopThread

#: How often long leases are renewed with ``renewed_often``.
RENEWAL_SECONDS = 0.5


@pytest.fixture
def renewed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that do not lapse however slow the machine is, and are renewed before a test has waited for long."""
    for name in ("_RENEWALS_PER_TTL", "_TRIES_PER_TTL"):
        monkeypatch.setattr(ownership_module, name, LONG_TTL / RENEWAL_SECONDS)


def test_everything_free_is_taken_and_given_back(client: redis.Redis, start: Start, loop: LoopThread) -> None:
    in_redis_when_lost: list[bool] = []
    held_when_lost: list[bool] = []

    def on_lost(lease: Lease) -> None:
        in_redis_when_lost.append(client.get(lease_key(lease.name)) == lease.value.encode())
        held_when_lost.append(lease.held)

    ownership, diary = start(MAIN, OTHER, FRONT, on_lost=on_lost)
    for name in (MAIN, OTHER, FRONT):
        gained = diary.wait_for(f"gained {name}")
        assert ownership.lease(name) is gained
    stop_service(loop, ownership)
    assert sorted(diary.words[3:]) == [f"lost {MAIN}", f"lost {OTHER}", f"lost {FRONT}"]
    assert in_redis_when_lost == held_when_lost == [True] * 3
    assert [ownership.lease(name) for name in (MAIN, OTHER, FRONT)] == [None] * 3
    assert not client.exists(*map(lease_key, (MAIN, OTHER, FRONT)))


def test_the_next_worker_gets_what_the_first_gives_back(start: Start, loop: LoopThread) -> None:
    first, of_first = start(MAIN)
    before = of_first.wait_for(f"gained {MAIN}")
    _, of_second = start(MAIN, FRONT, ttl=1.0)
    of_second.wait_for(f"gained {FRONT}")
    assert of_second.of(f"gained {MAIN}") == []
    stop_service(loop, first)
    assert of_second.wait_for(f"gained {MAIN}").fence > before.fence


def test_two_workers_share_without_overlap(start: Start) -> None:
    names = [account_lease(f"account-{number}") for number in range(30)]
    one, _ = start(*names)
    two, _ = start(*reversed(names))
    wait_until(lambda: all(one.lease(name) or two.lease(name) for name in names))
    assert not any(one.lease(name) and two.lease(name) for name in names)


@pytest.mark.usefixtures("renewed_often")
def test_leases_are_renewed(start: Start) -> None:
    ownership, diary = start(MAIN)
    lease = diary.wait_for(f"gained {MAIN}")
    first_end = lease.valid_until
    wait_until(lambda: lease.valid_until > first_end)
    assert ownership.lease(MAIN) is lease


@pytest.mark.usefixtures("renewed_often")
def test_a_lease_that_was_taken_away_is_lost_and_gained_again_when_free(client: redis.Redis, start: Start) -> None:
    ownership, diary = start(MAIN)
    before = diary.wait_for(f"gained {MAIN}")
    client.set(lease_key(MAIN), "worker-9|9")
    assert diary.wait_for(f"lost {MAIN}") is before
    assert not before.held
    assert ownership.lease(MAIN) is None
    client.delete(lease_key(MAIN))
    assert diary.wait_for(f"gained {MAIN}", times=2).fence > before.fence


@pytest.mark.usefixtures("renewed_often")
def test_a_renewal_whose_answer_comes_after_the_lapse_is_released(
    client: redis.Redis, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key would keep the account without an owner for another TTL."""
    renew = Leases.renew

    def answer_late(leases: Leases, asked: Any) -> Any:
        renewed = renew(leases, asked)
        monkeypatch.setattr(Leases, "renew", renew)
        monkeypatch.setattr(leases_module, "boottime", lambda: boottime() + LONG_TTL)
        assert not any(lease.held for lease in asked)
        return renewed

    monkeypatch.setattr(Leases, "renew", answer_late)
    with capture_logs() as logs:
        _, diary = start(MAIN)
        before = diary.wait_for(f"lost {MAIN}")
        wait_until(lambda: count(logs, "lease_released") == 1)
    assert [line["fence"] for line in logs if line["event"] == "lease_released"] == [before.fence]
    assert diary.wait_for(f"gained {MAIN}", times=2).fence > before.fence


def test_a_long_absence_of_redis_loses_the_lease_and_ends_by_itself(redis_server: EmbeddedRedis, start: Start) -> None:
    with capture_logs() as logs:
        ownership, diary = start(MAIN, ttl=5.0)
        before = diary.wait_for(f"gained {MAIN}")
        redis_server.kill()
        assert diary.wait_for(f"lost {MAIN}") is before
        assert ownership.lease(MAIN) is None
        redis_server.restart()
        assert diary.wait_for(f"gained {MAIN}", times=2).fence > before.fence
    assert count(logs, "leases_wait_for_redis") == 1
    assert count(logs, "lease_lost") == 1
    wait_until(lambda: ownership.lease(MAIN) is not None)


@pytest.mark.usefixtures("renewed_often")
def test_a_short_absence_of_redis_costs_nothing(client: redis.Redis, redis_server: EmbeddedRedis, start: Start) -> None:
    client.connection_pool.connection_kwargs["socket_timeout"] = 1.0  # much shorter than the lease: it is to be noticed
    with capture_logs() as logs:
        ownership, diary = start(MAIN)
        lease = diary.wait_for(f"gained {MAIN}")
        first_end = lease.valid_until
        redis_server.pause()
        wait_until(lambda: count(logs, "leases_wait_for_redis") > 0)
        redis_server.resume()
        wait_until(lambda: count(logs, "redis_answers_again") > 0)
        wait_until(lambda: lease.valid_until > first_end)
    assert diary.words == [f"gained {MAIN}"]
    assert ownership.lease(MAIN) is lease


def test_a_worker_may_start_before_redis(redis_server: EmbeddedRedis, start: Start) -> None:
    redis_server.kill()
    with capture_logs() as logs:
        _, diary = start(MAIN, ttl=2.0)
        wait_until(lambda: count(logs, "leases_wait_for_redis") == 1)
        redis_server.restart()
        diary.wait_for(f"gained {MAIN}")


@pytest.mark.parametrize("error", [ValueError("no bridge"), SystemExit(1)])
def test_what_cannot_be_taken_over_is_released_and_tried_again(
    client: redis.Redis, start: Start, error: BaseException
) -> None:
    failures = [error]

    def fail_once(lease: Lease) -> None:
        if lease.name == MAIN and failures:
            raise failures.pop()

    with capture_logs() as logs:
        ownership, diary = start(MAIN, OTHER, on_gained=fail_once)
        diary.wait_for(f"gained {OTHER}")
        first = diary.wait_for(f"gained {MAIN}")
        second = diary.wait_for(f"gained {MAIN}", times=2)
        wait_until(lambda: ownership.lease(MAIN) is second)
    assert not first.held
    assert second.fence > first.fence
    assert diary.of(f"lost {MAIN}") == []
    [failure] = [entry for entry in logs if entry["event"] == "lease_callback_failed"]
    assert (failure["callback"], failure["lease"], failure["exc_info"]) == ("on_gained", MAIN, True)


def test_a_failure_while_giving_up_one_lease_does_not_keep_the_others(
    client: redis.Redis, start: Start, loop: LoopThread
) -> None:
    def fail(lease: Lease) -> None:
        raise RuntimeError("cannot close")

    with capture_logs() as logs:
        ownership, diary = start(MAIN, FRONT, on_lost=fail)
        diary.wait_for(f"gained {FRONT}")
        diary.wait_for(f"gained {MAIN}")
        stop_service(loop, ownership)
    assert sorted(diary.words[2:]) == [f"lost {MAIN}", f"lost {FRONT}"]
    assert count(logs, "lease_callback_failed") == 2
    assert not client.exists(lease_key(MAIN), lease_key(FRONT))


@pytest.mark.usefixtures("renewed_often")
def test_a_fault_in_one_round_does_not_end_the_thread(client: redis.Redis, start: Start) -> None:
    client.rpush("worker68:fence:account:main", "not a number")
    with capture_logs() as logs:
        ownership, diary = start(FRONT, MAIN)
        wait_until(lambda: count(logs, "ownership_round_failed") > 0)
        before = ownership.looked_at
        wait_until(lambda: ownership.looked_at > before)
        client.delete("worker68:fence:account:main")
        diary.wait_for(f"gained {MAIN}")
        wait_until(lambda: count(logs, "ownership_works_again") > 0)
    assert count(logs, "ownership_round_failed") == 1
    assert diary.words == [f"gained {FRONT}", f"gained {MAIN}"]
    assert ownership.lease(FRONT)


def test_stopping_without_redis_ends_all_the_same(redis_server: EmbeddedRedis, start: Start, loop: LoopThread) -> None:
    ownership, diary = start(MAIN, FRONT)
    diary.wait_for(f"gained {FRONT}")
    diary.wait_for(f"gained {MAIN}")
    redis_server.kill()
    with capture_logs() as logs:
        stop_service(loop, ownership)
    assert sorted(diary.words[2:]) == [f"lost {MAIN}", f"lost {FRONT}"]
    [left] = [entry for entry in logs if entry["event"] == "leases_left_to_lapse"]
    assert sorted(left["leases"]) == [MAIN, FRONT]


@pytest.mark.usefixtures("renewed_often")
def test_more_leases_than_one_call_takes_are_all_taken_kept_and_given_back(
    client: redis.Redis, start: Start, loop: LoopThread
) -> None:
    names = [account_lease(f"account-{number}") for number in range(250)]
    ownership, diary = start(*names)
    wait_until(lambda: len(ownership.held()) == len(names))
    first_ends = {lease.name: lease.valid_until for lease in ownership.held()}
    wait_until(lambda: all(lease.valid_until > first_ends[lease.name] for lease in ownership.held()))
    stop_service(loop, ownership)
    assert len(diary.entries) == 2 * len(names)
    assert client.keys("worker68:lease:*") == []


@pytest.mark.usefixtures("renewed_often")
def test_renewals_do_not_wait_for_what_takes_free_leases(
    client: redis.Redis, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, may_end, acquire = threading.Event(), threading.Event(), Leases.acquire

    def hang(leases: Leases, names: Any, most: int) -> Any:
        if MAIN in names:
            return acquire(leases, names, most)
        hangs.set()
        may_end.wait(60)
        raise RedisAway("it hung")

    monkeypatch.setattr(ownership_module, "_ASKED_AT_ONCE", 1)
    monkeypatch.setattr(Leases, "acquire", hang)
    ownership, diary = start(MAIN, OTHER)
    try:
        lease = diary.wait_for(f"gained {MAIN}")
        assert hangs.wait(60)
        for _ in range(2):
            end = lease.valid_until
            wait_until(lambda end=end: lease.valid_until > end)  # type: ignore[misc]
        assert ownership.lease(MAIN) is lease
    finally:
        may_end.set()


def test_a_loop_that_stands_still_loses_its_leases(start: Start, loop: LoopThread, client: redis.Redis) -> None:
    ownership, diary = start(MAIN, ttl=1.0)
    lease = diary.wait_for(f"gained {MAIN}")
    may_go_on = threading.Event()

    def stand_still() -> None:
        may_go_on.wait(60)

    loop.loop.tell(stand_still)
    try:
        wait_until(lambda: not lease.held)
        wait_until(lambda: not client.exists(lease_key(MAIN)))
        assert ownership.lease(MAIN) is None
    finally:
        may_go_on.set()
    assert diary.wait_for(f"lost {MAIN}") is lease
    assert diary.wait_for(f"gained {MAIN}", times=2).fence > lease.fence


def test_a_worker_that_drains_keeps_what_it_has_and_takes_nothing_more(
    client: redis.Redis, start: Start, loop: LoopThread
) -> None:
    """What another one gives back meanwhile is for a worker that takes jobs in."""
    first, of_first = start(MAIN)
    of_first.wait_for(f"gained {MAIN}")
    draining, of_draining = start(MAIN, OTHER)
    kept = of_draining.wait_for(f"gained {OTHER}")
    loop.loop.tell(draining.drain)
    wait_until(lambda: not client.hexists(WORDS_KEY, draining.worker_id))
    stop_service(loop, first)
    round_over = Deadline.after(2.0)
    wait_until(lambda: round_over.passed)
    assert of_draining.of(f"gained {MAIN}") == []
    assert draining.lease(OTHER) is kept
    assert not client.hexists(WORDS_KEY, draining.worker_id)
    _, of_next = start(MAIN)
    of_next.wait_for(f"gained {MAIN}")
