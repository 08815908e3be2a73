"""Lists of accounts on a real Redis: what one worker publishes the others read, once, and only where they do not know it."""

from __future__ import annotations

import math

import pytest
import redis

from tests.parts.clock import Clock
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway
from worker68.fleet.catalogues import PATIENCE_SECONDS, Catalogues, catalogue_key
from worker68.fleet.cohorts import Catalogue, catalogue_of
from worker68.fleet.spread import UNLABELLED

TTL = 60.0


def catalogue(*names: str) -> Catalogue:
    return catalogue_of(dict.fromkeys(names, UNLABELLED))


OLD, NEW = catalogue("a", "b"), catalogue("a", "b", "c")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.fleet.catalogues")
    return clock


@pytest.fixture
def mine(client: redis.Redis) -> Catalogues:
    return Catalogues(client, TTL)


@pytest.fixture
def theirs(client: redis.Redis) -> Catalogues:
    return Catalogues(client, TTL)


def read_no_more(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "mget", lambda keys: pytest.fail(f"{keys} were read"))


def test_what_one_publishes_another_finds_with_its_labels(mine: Catalogues, theirs: Catalogues) -> None:
    labelled = catalogue_of({"account:a": UNLABELLED, "account:b": "berlin"})
    theirs.publish(labelled)
    found = mine.find({"them": labelled.digest})
    assert found.known_by == {"them": labelled.digest}
    assert found.lists == {labelled.digest: labelled}


def test_a_fleet_that_knows_one_list_reads_nothing(
    mine: Catalogues, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_no_more(client, monkeypatch)
    mine.publish(OLD)
    found = mine.find({"me": OLD.digest, "them": OLD.digest})
    assert found.known_by == {"me": OLD.digest, "them": OLD.digest}
    assert (found.lists, found.again_at) == ({OLD.digest: OLD}, math.inf)


def test_a_list_is_read_once(
    mine: Catalogues, theirs: Catalogues, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs.publish(NEW)
    first = mine.find({"them": NEW.digest})
    read_no_more(client, monkeypatch)
    again = mine.find({"them": NEW.digest, "another": NEW.digest})
    assert again.lists == first.lists
    assert (set(again.known_by), again.again_at) == ({"them", "another"}, math.inf)


def test_a_worker_whose_list_is_not_there_is_left_out_until_it_is(
    mine: Catalogues, theirs: Catalogues, clock: Clock
) -> None:
    mine.publish(OLD)
    named = {"me": OLD.digest, "them": NEW.digest}
    found = mine.find(named)
    assert (found.known_by, found.lists) == ({"me": OLD.digest}, {OLD.digest: OLD})
    assert found.again_at == clock.now + PATIENCE_SECONDS
    theirs.publish(NEW)
    assert mine.find(named).known_by == named


def test_a_worker_that_names_another_list_counts_for_a_while_as_one_that_knows_what_it_knew(
    mine: Catalogues, theirs: Catalogues, clock: Clock, client: redis.Redis
) -> None:
    for one in (OLD, NEW):
        theirs.publish(one)
    assert mine.find({"them": OLD.digest}).known_by == {"them": OLD.digest}
    for seconds in (0.0, PATIENCE_SECONDS - 1.0):
        clock.pass_by(seconds)
        found = mine.find({"them": NEW.digest})
        assert (found.known_by, found.lists) == ({"them": OLD.digest}, {OLD.digest: OLD})
    clock.pass_by(1.0)
    found = mine.find({"them": NEW.digest})
    assert (found.known_by, found.lists) == ({"them": NEW.digest}, {NEW.digest: NEW})


def test_a_list_that_this_worker_has_learned_itself_is_waited_for_no_longer(
    mine: Catalogues, clock: Clock, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.publish(OLD)
    mine.find({"me": OLD.digest, "them": OLD.digest})
    read_no_more(client, monkeypatch)
    assert mine.find({"me": OLD.digest, "them": NEW.digest}).known_by["them"] == OLD.digest
    mine.publish(NEW)
    found = mine.find({"me": NEW.digest, "them": NEW.digest})
    assert (found.known_by["them"], found.again_at) == (NEW.digest, math.inf)


def test_a_list_that_no_worker_names_is_forgotten(mine: Catalogues, theirs: Catalogues, client: redis.Redis) -> None:
    theirs.publish(NEW)
    assert mine.find({"them": NEW.digest}).lists.keys() == {NEW.digest}
    assert mine.find({}).lists == {}
    client.delete(catalogue_key(NEW.digest))
    assert mine.find({"them": NEW.digest}).known_by == {}, "it is read anew"


def test_a_list_is_published_again_once_in_a_ttl_and_outlives_it(
    mine: Catalogues, clock: Clock, client: redis.Redis
) -> None:
    key = catalogue_key(OLD.digest)
    mine.publish(OLD)
    assert client.pttl(key) > 2 * TTL * 1000
    client.pexpire(key, 1000)
    mine.publish(OLD)
    assert client.pttl(key) <= 1000, "not yet"
    clock.pass_by(TTL)
    mine.publish(OLD)
    assert client.pttl(key) > 2 * TTL * 1000
    client.delete(key)
    clock.pass_by(TTL)
    mine.publish(OLD)
    assert client.exists(key), "also where Redis had lost it"


def test_another_list_is_published_at_once(mine: Catalogues, clock: Clock, client: redis.Redis) -> None:
    for one in (OLD, NEW, OLD):
        client.flushall()
        mine.publish(one)
        assert client.keys(catalogue_key("*")) == [catalogue_key(one.digest).encode()]


@pytest.mark.parametrize("written", [b'{"a": 1}', b"no JSON", b"[[1, 2]]", b'[["\xff", ""]]'])
def test_a_list_that_another_version_has_written_counts_as_none(
    mine: Catalogues, theirs: Catalogues, client: redis.Redis, written: bytes
) -> None:
    theirs.publish(OLD)
    client.set(catalogue_key(NEW.digest), written)
    found = mine.find({"them": OLD.digest, "other version": NEW.digest})
    assert found.known_by == {"them": OLD.digest}


def test_without_redis_it_is_away(mine: Catalogues, redis_server: EmbeddedRedis) -> None:
    redis_server.kill()
    try:
        with pytest.raises(RedisAway):
            mine.publish(OLD)
        with pytest.raises(RedisAway):
            mine.find({"them": NEW.digest})
    finally:
        redis_server.restart()
