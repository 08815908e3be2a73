"""Leases on a real Redis: one owner at a time, growing fencing numbers, and no lease that looks held too long."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from worker68.clock import boottime
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway
from worker68.fleet import leases as leases_module
from worker68.fleet.leases import FRONT, PROMOTION_KEY, Lease, Leases, account_lease, fence_key, lease_key

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


def try_to_take(leases: Leases, name: str = MAIN) -> Lease | None:
    acquired = leases.acquire([name])
    assert not acquired.problems
    return acquired.leases[0] if acquired.leases else None


def take(leases: Leases, name: str = MAIN) -> Lease:
    lease = try_to_take(leases, name)
    assert lease is not None
    return lease


def renew(leases: Leases, lease: Lease) -> bool:
    return leases.renew([lease]).apply(lease)


def release(leases: Leases, lease: Lease) -> None:
    lease.end()
    leases.release([lease])


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
    assert try_to_take(theirs, MAIN) is None
    assert try_to_take(ours, MAIN) is None
    assert lease.held


def test_no_more_are_taken_than_wanted(client: redis.Redis, ours: Leases, theirs: Leases) -> None:
    names = [account_lease(f"account-{number}") for number in range(5)]
    take(theirs, names[0])
    acquired = ours.acquire(names, 2)
    assert [lease.name for lease in acquired.leases] == names[1:3]
    assert client.exists(*map(lease_key, names), *map(fence_key, names)) == 6


def test_of_many_who_ask_at_once_one_gets_it(client: redis.Redis) -> None:
    with ThreadPoolExecutor(8) as workers:
        taken = list(workers.map(lambda number: try_to_take(Leases(client, f"worker-{number}", TTL)), range(40)))
    assert sum(lease is not None for lease in taken) == 1


def test_fences_grow_with_every_owner(ours: Leases, theirs: Leases) -> None:
    fences = []
    for leases in (ours, theirs, theirs, ours) * 5:
        lease = take(leases)
        fences.append(lease.fence)
        release(leases, lease)
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
    assert renew(ours, lease)
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
        assert renew(ours, lease)
        assert lease.valid_until == sent_at + TTL
    else:
        assert lease.valid_until == sent_at - 25 + TTL


def test_a_lapsed_lease_is_not_revived(client: redis.Redis, ours: Leases, clock: Clock) -> None:
    lease = take(ours)
    clock.now += TTL
    assert not renew(ours, lease)
    clock.now -= TTL
    assert not lease.held


def test_a_lease_that_went_to_another_is_neither_renewed_nor_released(
    client: redis.Redis, ours: Leases, theirs: Leases
) -> None:
    lost = take(ours)
    client.delete(lease_key(MAIN))
    now_theirs = take(theirs)
    assert not renew(ours, lost)
    assert not lost.held
    release(ours, lost)
    assert client.get(lease_key(MAIN)) == now_theirs.value.encode()
    assert renew(theirs, now_theirs)


def test_an_earlier_lease_of_the_same_worker_is_not_the_present_one(client: redis.Redis, ours: Leases) -> None:
    earlier = take(ours)
    client.delete(lease_key(MAIN))
    present = take(ours)
    assert not renew(ours, earlier)
    release(ours, earlier)
    assert renew(ours, present)


def test_a_released_lease_is_free_at_once(ours: Leases, theirs: Leases) -> None:
    lease = take(ours)
    release(ours, lease)
    assert not lease.held
    assert try_to_take(theirs, MAIN) is not None


def test_without_redis_nothing_is_said_to_be_held_that_is_not(redis_server: EmbeddedRedis, ours: Leases) -> None:
    kept, released = take(ours), take(ours, FRONT)
    redis_server.kill()
    with pytest.raises(RedisAway):
        ours.acquire([account_lease("other")])
    with pytest.raises(RedisAway):
        renew(ours, kept)
    assert kept.held  # nobody else can have it before its time is over
    with pytest.raises(RedisAway):
        release(ours, released)
    assert not released.held


def test_a_key_of_another_type_is_not_ours(client: redis.Redis, ours: Leases) -> None:
    lease = take(ours)
    client.delete(lease_key(MAIN))
    client.rpush(lease_key(MAIN), "a list")
    assert not renew(ours, lease)
    release(ours, lease)
    assert client.exists(lease_key(MAIN))


def test_many_are_one_step_each_with_an_answer_of_its_own(client: redis.Redis, ours: Leases, theirs: Leases) -> None:
    names = [account_lease(f"account-{number}") for number in range(10)]
    taken = try_to_take(theirs, names[3])
    client.rpush(fence_key(names[5]), "not a number")
    acquired = ours.acquire(names)
    assert [lease.name for lease in acquired.leases] == [*names[:3], names[4], *names[6:]]
    assert list(acquired.problems) == [names[5]]

    lost, lapsed, *kept = acquired.leases
    client.set(lease_key(lost.name), "worker-9|9")
    lapsed.end()
    renewed = ours.renew(acquired.leases)
    assert [lease for lease in acquired.leases if renewed.apply(lease)] == kept

    for lease in kept:
        lease.end()
    ours.release([lost, *kept])
    assert taken is not None
    assert sorted(client.keys("worker68:lease:*")) == sorted(
        lease_key(one.name).encode() for one in (lost, lapsed, taken)
    )


def test_a_renewal_that_comes_too_late_revives_nothing(ours: Leases, clock: Clock) -> None:
    lease = take(ours)
    renewed = ours.renew([lease])
    clock.now += TTL
    assert not renewed.apply(lease)
    clock.now -= TTL
    assert not lease.held


class TestFailover:
    """A replica that becomes the master may not know of the last leases, which their owners trust until they end."""

    @pytest.fixture
    def promoted(self) -> Iterator[redis.Redis]:
        """A Redis that was a master, a replica, and is a master again."""
        with EmbeddedRedis() as server, redis.Redis.from_url(server.url, protocol=2) as client:
            take(Leases(client, "worker-1", TTL))
            client.replicaof("127.0.0.1", "1")
            client.replicaof("NO", "ONE")
            yield client

    def test_nothing_is_taken_before_the_leases_of_the_old_master_have_ended(self, promoted: redis.Redis) -> None:
        ours, theirs = Leases(promoted, "worker-2", TTL), Leases(promoted, "worker-3", TTL)
        free = account_lease("free")
        assert try_to_take(ours, free) is None
        assert try_to_take(theirs, free) is None
        kept: Any = promoted.get(PROMOTION_KEY)
        replica, since = kept.decode().split("|")
        promoted.set(PROMOTION_KEY, f"{replica}|{int(since) - round(TTL * 1000) + 50_000}")
        assert try_to_take(ours, free) is None
        promoted.set(PROMOTION_KEY, f"{replica}|{int(since) - round(TTL * 1000)}")
        assert take(theirs, free).held

    def test_what_is_held_is_renewed_all_the_same(self, promoted: redis.Redis) -> None:
        ours = Leases(promoted, "worker-1", TTL)
        value: Any = promoted.get(lease_key(MAIN))
        lease = Lease(MAIN, "worker-1", int(value.decode().split("|")[1]), boottime() + TTL)
        assert try_to_take(ours, account_lease("free")) is None
        assert renew(ours, lease)

    def test_a_key_of_another_type_holds_nothing_up_for_longer(self, promoted: redis.Redis) -> None:
        promoted.rpush(PROMOTION_KEY, "no promotion")
        assert try_to_take(Leases(promoted, "worker-2", TTL), account_lease("free")) is None
        assert promoted.type(PROMOTION_KEY) == b"string"

    def test_without_the_right_to_ask_leases_are_given_out_at_once(self, promoted: redis.Redis) -> None:
        promoted.execute_command("ACL", "SETUSER", "default", "-info")  # type: ignore[no-untyped-call]
        assert take(Leases(promoted, "worker-2", TTL), account_lease("free")).held
