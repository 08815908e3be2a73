"""Shares on a real Redis: what each worker says, whom it counts, and for how long."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from tests.parts.clock import Clock
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway
from worker68.fleet.leases import FRONT, account_lease
from worker68.fleet.members import WORDS_KEY, Members
from worker68.fleet.shares import Shares, Standing
from worker68.fleet.spread import UNLABELLED

Make = Callable[..., Shares]

TTL = 60.0


@pytest.fixture
def make(client: redis.Redis) -> Make:
    def make(worker: str, accounts: int = 12, *, ttl: float = TTL, standing: Standing | None = None) -> Shares:
        labels: dict[str, str | None] = {account_lease(f"a{number}"): UNLABELLED for number in range(accounts)}
        return Shares(Members(client, worker, ttl), labels | {FRONT: None}, standing)

    return make


def share(shares: Shares, held: int) -> int:
    return shares.look({UNLABELLED: held})[UNLABELLED]


def test_each_counts_those_that_have_looked(make: Make) -> None:
    first, second = make("first"), make("second")
    assert share(first, 0) == 12
    assert share(second, 0) == 6
    assert share(first, 12) == 6


def test_weights_and_labels_are_known_to_the_others(client: redis.Redis) -> None:
    labels = dict.fromkeys("xy", "berlin") | dict.fromkeys("abcdefg", UNLABELLED)
    heavy = Shares(Members(client, "heavy", TTL), labels, Standing(weight=2, labels=frozenset({"berlin"})))
    light = Shares(Members(client, "light", TTL), labels)
    heavy.look({})
    assert light.look({}) == {UNLABELLED: 3}
    assert heavy.look({}) == {"berlin": 2, UNLABELLED: 4}


def test_one_that_leaves_is_counted_no_more(make: Make, client: redis.Redis) -> None:
    first, second = make("first"), make("second")
    share(first, 0)
    share(second, 0)
    first.leave()
    first.leave()
    assert share(second, 6) == 12
    assert client.hkeys(WORDS_KEY) == [b"second"]


def test_one_that_has_not_looked_for_its_ttl_is_counted_no_more(make: Make, client: redis.Redis) -> None:
    share(make("dead", ttl=0.001), 6)
    while client.time() == client.time():
        pass
    second = make("second")
    while share(second, 6) != 12:
        pass
    assert client.hkeys(WORDS_KEY) == [b"second"]


def test_workers_that_know_other_accounts_are_left_out(make: Make) -> None:
    old, new = make("old"), make("new", 13)
    assert share(old, 12) == 12
    assert share(new, 0) == 13
    assert share(old, 12) == 12


def test_what_stays_free_for_the_ttl_any_worker_may_take_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.fleet.shares")
    one, other = make("one"), make("other")
    share(other, 5)
    assert share(one, 6) == 6
    for _ in range(2):
        assert share(one, 6) == 6
        clock.pass_by(TTL / 2)
    assert share(one, 6) == 7
    assert share(one, 6) == 6


def test_the_first_look_after_a_long_absence_takes_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.fleet.shares")
    one = make("one")
    assert share(one, 0) == 12
    clock.pass_by(TTL + 1)
    assert share(one, 0) == 0
    clock.pass_by(1)
    assert share(one, 0) == 12


def test_without_redis_it_is_away(make: Make, redis_server: EmbeddedRedis) -> None:
    shares = make("one")
    redis_server.kill()
    try:
        with pytest.raises(RedisAway):
            share(shares, 0)
        with pytest.raises(RedisAway):
            shares.leave()
    finally:
        redis_server.restart()
