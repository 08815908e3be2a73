"""Leases on a real Redis: one owner at a time, growing fencing numbers, and no lease that looks held too long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway
from worker68.fleet import leases as leases_module
from worker68.fleet.leases import FRONT, Lease, Leases, account_lease, fence_key, lease_key

MAIN = account_lease("main")
TTL = 60.0


@pytest.fixture
def ours(client: redis.Redis) -> Leases:
    return Leases(client, "worker-1", TTL)


@pytest.fixture
def theirs(client: redis.Redis) -> Leases:
    return Leases(client, "worker-2", TTL)


class Clock:
    """Stands in for CLOCK_BOOTTIME."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases_module, "boottime", clock)
    return clock


def take(leases: Leases, name: str = MAIN) -> Lease:
    lease = leases.acquire(name)
    assert lease is not None
    return lease


def test_a_lease_names_owner_and_fence_in_redis(client: redis.Redis, ours: Leases) -> None:
    lease = take(ours)
    assert client.get("worker68:lease:account:main") == f"worker-1|{lease.fence}".encode() == lease.value.encode()
    assert 0 < client.pttl(lease_key(MAIN)) <= 60_000
    assert client.get("worker68:fence:account:main") == str(lease.fence).encode()
    assert client.ttl(fence_key(MAIN)) == -1
    assert lease.held
    assert lease.account == "main"


def test_the_front_door_is_no_account(client: redis.Redis, ours: Leases) -> None:
    front, account = take(ours, FRONT), take(ours, account_lease("front"))
    assert (front.account, account.account) == (None, "front")
    assert client.exists("worker68:lease:front", "worker68:lease:account:front") == 2


def test_what_is_held_cannot_be_acquired(ours: Leases, theirs: Leases) -> None:
    lease = take(ours)
    assert theirs.acquire(MAIN) is None
    assert ours.acquire(MAIN) is None
    assert lease.held


def test_of_many_who_ask_at_once_one_gets_it(client: redis.Redis) -> None:
    with ThreadPoolExecutor(8) as workers:
        taken = list(workers.map(lambda number: Leases(client, f"worker-{number}", TTL).acquire(MAIN), range(40)))
    assert sum(lease is not None for lease in taken) == 1


def test_fences_grow_with_every_owner(ours: Leases, theirs: Leases) -> None:
    fences = []
    for leases in (ours, theirs, theirs, ours) * 5:
        lease = take(leases)
        fences.append(lease.fence)
        leases.release(lease)
    assert fences == sorted(set(fences))


def test_fences_grow_over_a_loss_of_redis_data(redis_server: EmbeddedRedis, ours: Leases, theirs: Leases) -> None:
    before = take(ours)
    redis_server.kill()
    redis_server.restart()
    assert take(theirs).fence > before.fence


def test_fences_grow_when_redis_clock_was_set_back(client: redis.Redis, ours: Leases) -> None:
    client.set(fence_key(MAIN), 2**50)
    assert take(ours).fence == 2**50 + 1


def test_a_renewal_puts_off_the_end(client: redis.Redis, ours: Leases, clock: Clock) -> None:
    lease = take(ours)
    client.pexpire(lease_key(MAIN), 30_000)
    clock.now += 59
    assert lease.held
    assert ours.renew(lease)
    assert client.pttl(lease_key(MAIN)) > 30_000
    clock.now += 59
    assert lease.held
    clock.now += 1
    assert not lease.held


@pytest.mark.parametrize("script", ["_acquire", "_renew"])
def test_the_time_is_reckoned_from_before_the_call(
    ours: Leases, clock: Clock, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    run = getattr(ours, script).run

    def run_slowly(*arguments: Any) -> Any:
        answer = run(*arguments)
        clock.now += 25
        return answer

    monkeypatch.setattr(getattr(ours, script), "run", run_slowly)
    lease, sent_at = take(ours), clock.now
    if script == "_renew":
        assert ours.renew(lease)
        assert lease.valid_until == sent_at + TTL
    else:
        assert lease.valid_until == sent_at - 25 + TTL


def test_a_lapsed_lease_is_not_revived(client: redis.Redis, ours: Leases, clock: Clock) -> None:
    lease = take(ours)
    clock.now += TTL
    assert not ours.renew(lease)
    clock.now -= TTL
    assert not lease.held


def test_a_lease_that_went_to_another_is_neither_renewed_nor_released(
    client: redis.Redis, ours: Leases, theirs: Leases
) -> None:
    lost = take(ours)
    client.delete(lease_key(MAIN))
    now_theirs = take(theirs)
    assert not ours.renew(lost)
    assert not lost.held
    ours.release(lost)
    assert client.get(lease_key(MAIN)) == now_theirs.value.encode()
    assert theirs.renew(now_theirs)


def test_an_earlier_lease_of_the_same_worker_is_not_the_present_one(client: redis.Redis, ours: Leases) -> None:
    earlier = take(ours)
    client.delete(lease_key(MAIN))
    present = take(ours)
    assert not ours.renew(earlier)
    ours.release(earlier)
    assert ours.renew(present)


def test_a_released_lease_is_free_at_once(ours: Leases, theirs: Leases) -> None:
    lease = take(ours)
    ours.release(lease)
    assert not lease.held
    assert theirs.acquire(MAIN) is not None


def test_without_redis_nothing_is_said_to_be_held_that_is_not(redis_server: EmbeddedRedis, ours: Leases) -> None:
    kept, released = take(ours), take(ours, FRONT)
    redis_server.kill()
    with pytest.raises(RedisAway):
        ours.acquire(account_lease("other"))
    with pytest.raises(RedisAway):
        ours.renew(kept)
    assert kept.held  # nobody else can have it before its time is over
    with pytest.raises(RedisAway):
        ours.release(released)
    assert not released.held


def test_a_key_of_another_type_is_not_ours(client: redis.Redis, ours: Leases) -> None:
    lease = take(ours)
    client.delete(lease_key(MAIN))
    client.rpush(lease_key(MAIN), "a list")
    assert not ours.renew(lease)
    ours.release(lease)
    assert client.exists(lease_key(MAIN))
