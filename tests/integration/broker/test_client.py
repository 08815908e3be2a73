"""Connections to Redis follow the master: by a real sentinel, and where a server turns out to be a replica."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
from redis.connection import SSLConnection

from tests.parts.sentinel import Pair, watched
from tests.parts.worker import wait_until
from worker68.broker.client import Sentinels, make_client, make_pool
from worker68.broker.doorbell import Doorbell
from worker68.broker.url import read_redis_url
from worker68.broker.wire import Wire
from worker68.cli import health
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway
from worker68.redis_calls import redis_errors

KEY = "worker68:x"


@pytest.fixture
def pair() -> Iterator[Pair]:
    with EmbeddedRedis(append_only=True) as master, watched(master) as pair:
        yield pair


def test_clients_wires_doorbell_and_health_follow_a_failover(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SENTINEL_SECONDS", "REDIS_SECONDS"):
        monkeypatch.setattr(health, name, 60.0)
    with make_client(pair.url, protocol=2) as client, closing(Wire(pair.url, "test")) as wire:
        bell = Doorbell(wire, Wire(pair.url, "test-bell"))
        client.set(KEY, "1")
        client.wait(1, 10_000)
        bell.arm()
        assert bell.armed
        assert wire.call("GET", KEY) == health.ask(read_redis_url(pair.url), b"GET", KEY.encode()) == b"1"
        pair.fail_over()
        assert wait_until(lambda: _get(client)) == b"1"
        assert health.ask(read_redis_url(pair.url), b"GET", KEY.encode()) == b"1"
        wait_until(lambda: _arms(bell))
        bell.take_changed()
        assert wire.call("GET", KEY) == b"1"
        client.set(KEY, "2")
        wait_until(lambda: KEY.encode() in bell.take_changed().keys)
        bell.close()


def test_what_is_wrong_is_said_of_each_sentinel(pair: Pair) -> None:
    address = read_redis_url(pair.url.replace("mymaster", "other"))
    with pytest.raises(redis.ConnectionError) as raised:
        Sentinels(address).discover_master("other")
    words = str(raised.value)
    assert words.startswith("the sentinels name no master other: 127.0.0.1:1: ")
    assert words.endswith(f"127.0.0.1:{pair.sentinel_port}: no master of this name")


def test_a_redis_in_the_place_of_a_sentinel_is_named() -> None:
    with EmbeddedRedis() as server:
        address = read_redis_url(f"{server.url.replace('redis:', 'sentinel:').removesuffix('/0')}/mymaster/0")
        with pytest.raises(redis.ConnectionError, match=r"mymaster: 127\.0\.0\.1:[0-9]+: it is no sentinel$"):
            Sentinels(address).discover_master("mymaster")


def test_tls_is_for_the_sentinels_and_for_the_master() -> None:
    url = "sentinels://u:p@h/m/3?ssl_ca_certs=%2Fca.pem&ssl_cert_reqs=none&sentinel_password=s"
    pool = make_pool(url, socket_timeout=5)
    assert issubclass(pool.connection_class, SSLConnection)
    master = pool.connection_kwargs
    assert (master["ssl_ca_certs"], master["ssl_cert_reqs"]) == ("/ca.pem", "none")
    assert (master["username"], master["password"], master["db"]) == ("u", "p", 3)
    (sentinel,) = Sentinels(read_redis_url(url)).sentinels
    assert issubclass(sentinel.connection_pool.connection_class, SSLConnection)
    asked = sentinel.connection_pool.connection_kwargs
    assert (asked["ssl_ca_certs"], asked["ssl_cert_reqs"], asked["password"]) == ("/ca.pem", "none", "s")


@pytest.mark.parametrize("write", ["SET", "EVAL"])
def test_a_connection_to_a_server_that_became_a_replica_is_given_up(write: str) -> None:
    command = ("SET", KEY, "1") if write == "SET" else ("EVAL", f"return redis.call('SET', '{KEY}', 1)", 0)
    with EmbeddedRedis() as server, make_client(server.url, protocol=2) as client:
        before = client.client_id()
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(RedisAway), redis_errors():
            client.execute_command(*command)
        client.replicaof("NO", "ONE")
        assert client.client_id() != before
        client.execute_command(*command)


def _get(client: redis.Redis) -> object:
    try:
        return client.get(KEY)
    except redis.ConnectionError:
        return None


def _arms(bell: Doorbell) -> bool:
    try:
        bell.arm()
    except RedisAway:
        return False
    return bell.armed
