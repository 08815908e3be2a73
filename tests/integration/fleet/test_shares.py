"""Shares on a real Redis: what each worker says, whom it counts, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pytest
import redis

from tests.parts.clock import Clock
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway
from worker68.fleet.catalogues import PATIENCE_SECONDS, Catalogues, catalogue_key
from worker68.fleet.leases import FRONT, account_lease
from worker68.fleet.members import WORDS_KEY, Members
from worker68.fleet.shares import Shares, Standing
from worker68.fleet.spread import UNLABELLED

TTL = 60.0
PLAIN = Standing()


class Worker:
    """One that says what it holds, and asks what it should. ``labels``: the accounts that it knows."""

    def __init__(
        self, client: redis.Redis, name: str, labels: Mapping[str, str], ttl: float, standing: Standing
    ) -> None:
        self.shares = Shares(Members(client, name, ttl), Catalogues(client, ttl), standing)
        self.know(labels)

    def know(self, labels: Mapping[str, str]) -> None:
        """Know these accounts from now on."""
        own: dict[str, str | None] = {account_lease(name): label for name, label in labels.items()}
        self.labels = own | {FRONT: None}

    def look(self, *held: str) -> list[int]:
        """Return how many it should hold of each class, those that all know first."""
        shares = self.shares.look(self.labels, [account_lease(name) for name in held])
        return [share.most for share in sorted(shares, key=lambda share: min(share.names))]

    def share(self, held: int) -> int:
        """Return how many it should hold; it holds so many of its first accounts."""
        return sum(self.look(*[name.partition(":")[2] for name in self.labels][:held]))


class Make(Protocol):
    def __call__(
        self, worker: str, accounts: int | Mapping[str, str] = 12, *, ttl: float = TTL, standing: Standing = PLAIN
    ) -> Worker: ...


def named(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, UNLABELLED)


@pytest.fixture
def make(client: redis.Redis) -> Make:
    def make(
        worker: str, accounts: int | Mapping[str, str] = 12, *, ttl: float = TTL, standing: Standing = PLAIN
    ) -> Worker:
        labels = named(*(f"a{number:02}" for number in range(accounts))) if isinstance(accounts, int) else accounts
        return Worker(client, worker, labels, ttl, standing)

    return make


def share(worker: Worker, held: int) -> int:
    return worker.share(held)


def test_each_counts_those_that_have_looked(make: Make) -> None:
    first, second = make("first"), make("second")
    assert share(first, 0) == 12
    assert share(second, 0) == 6
    assert share(first, 12) == 6


def test_weights_and_labels_are_known_to_the_others(make: Make) -> None:
    labels = dict.fromkeys("xy", "berlin") | dict.fromkeys("abcdefg", UNLABELLED)
    heavy = make("heavy", labels, standing=Standing(weight=2, labels=frozenset({"berlin"})))
    light = make("light", labels)
    heavy.look()
    assert light.look() == [3], "those without a label alone"
    assert heavy.look() == [4, 2]


def test_one_that_leaves_is_counted_no_more(make: Make, client: redis.Redis) -> None:
    first, second = make("first"), make("second")
    share(first, 0)
    share(second, 0)
    first.shares.leave()
    first.shares.leave()
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


def test_a_deploy_that_adds_an_account_does_not_split_the_fleet(make: Make) -> None:
    old, older = make("old", named(*"abcdef")), make("older", named(*"abcdef"))
    looks = [(old.look("a", "b", "c"), older.look("d", "e", "f")) for _ in range(2)]
    assert looks[-1] == ([3], [3])
    new = make("new", named(*"abcdefz"))
    assert new.look() == [1, 1], "one of those that all know, and the one that it knows alone"
    assert (old.look("a", "b", "c"), older.look("d", "e", "f")) == ([2], [3])
    assert new.look("z") == [1, 1]
    assert (old.look("a", "b"), older.look("d", "e", "f")) == ([2], [3])
    assert new.look("c", "z") == [1, 1]


def test_workers_that_know_nothing_in_common_share_with_their_own(make: Make) -> None:
    west, east, far_east = make("west", named(*"abcd")), make("east", named(*"xyz")), make("far east", named(*"xyz"))
    looks = [(west.look(*"abcd"), east.look(*"xyz"), far_east.look()) for _ in range(2)]
    assert looks[-1] == ([4], [2], [1])


def test_a_worker_that_learns_of_an_account_first_is_waited_for(
    make: Make, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read it from the database, at different moments: no list is read, and no account moves for it."""
    clock = Clock()
    clock.drive(monkeypatch, "worker68.fleet.shares", "worker68.fleet.catalogues")
    quick, slow = make("quick", named(*"abcd")), make("slow", named(*"abcd"))
    looks = [(quick.look("a", "b"), slow.look("c", "d")) for _ in range(2)]
    assert looks[-1] == ([2], [2])
    monkeypatch.setattr(client, "mget", lambda keys: pytest.fail(f"{keys} were read"))
    quick.know(named(*"abcde"))
    assert quick.look("a", "b") == [2, 1]
    assert slow.look("c", "d") == [2]
    slow.know(named(*"abcde"))
    assert slow.look("c", "d") == [2]
    assert quick.look("a", "b", "e") == [3]
    assert slow.look("c", "d") == [2]


def test_a_worker_that_goes_on_with_other_accounts_is_asked_for_its_list(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.fleet.shares", "worker68.fleet.catalogues")
    one, other = make("one", named(*"abcd")), make("other", named(*"abcd"))
    looks = [(one.look(*"ab"), other.look(*"cd")) for _ in range(2)]
    assert looks[-1] == ([2], [2])
    other.know(named(*"cd"))
    other.look(*"cd")
    assert one.look(*"ab") == [2], "as if it knew what it knew before"
    clock.pass_by(PATIENCE_SECONDS)
    assert one.look(*"ab") == [2, 0]


def test_a_list_that_redis_has_lost_is_published_again(
    make: Make, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.fleet.shares", "worker68.fleet.catalogues")
    one = make("one", named(*"ab"))
    one.look(*"ab")
    client.delete(*client.keys(catalogue_key("*")))
    other = make("other", named(*"abc"))
    assert other.look() == [3], "as long as the list is not there, that worker is left out"
    clock.pass_by(TTL)
    one.look(*"ab")
    assert other.look() == [0, 1]


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
            shares.shares.leave()
    finally:
        redis_server.restart()
