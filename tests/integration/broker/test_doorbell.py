"""The bell rings for foreign pushes to our queues, for nothing else, and again after every loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis

from tests.integration.broker.connections import client_id, kill
from worker68.broker import doorbell
from worker68.broker.place import Place
from worker68.broker.source import Source
from worker68.broker.wire import Wire
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway

# Far beyond the 0.2 ms that a ring takes: how long a bell that must ring is waited for.
RINGS_WITHIN = 60.0

# A bell that must not ring is watched this long after the answer to a later command has come back.
STAYS_SILENT = 0.1

Readable = Callable[[int, float], bool]


def pop_all(source: Source, place: Place) -> list[bytes]:
    popped = source.pop([place], 100).popped
    source.ack(popped)
    return [p.raw for p in popped]


@pytest.mark.parametrize("key", ["worker68.main", "worker68.main:6", "worker68.main\x06\x169"])
def test_a_push_to_any_list_rings(
    source: Source, client: redis.Redis, main: Place, readable: Readable, key: str
) -> None:
    pop_all(source, main)
    assert source.doorbell.armed

    client.lpush(key, b"1")

    assert readable(source.doorbell.fileno(), RINGS_WITHIN)
    assert source.doorbell.take_changed()
    assert pop_all(source, main) == [b"1"]


def test_the_bell_rings_again_after_each_batch(
    source: Source, client: redis.Redis, main: Place, readable: Readable
) -> None:
    pop_all(source, main)
    for message in (b"1", b"2", b"3"):
        client.lpush("worker68.main", message)
        assert readable(source.doorbell.fileno(), RINGS_WITHIN)
        assert source.doorbell.take_changed()
        assert pop_all(source, main) == [message]


def test_what_is_left_in_the_list_after_a_full_batch_does_not_silence_the_bell(
    source: Source, client: redis.Redis, main: Place, readable: Readable
) -> None:
    client.lpush("worker68.main", b"1", b"2")
    source.ack(source.pop([main], 1).popped)

    client.lpush("worker68.main", b"3")

    assert readable(source.doorbell.fileno(), RINGS_WITHIN)


def test_a_drained_bell_is_silent(source: Source, client: redis.Redis, main: Place, readable: Readable) -> None:
    pop_all(source, main)
    client.lpush("worker68.main", b"1")
    assert readable(source.doorbell.fileno(), RINGS_WITHIN)

    source.doorbell.take_changed()

    assert not readable(source.doorbell.fileno(), STAYS_SILENT)
    assert not source.doorbell.take_changed()


def test_what_another_program_publishes_there_rings_for_no_key(
    source: Source, client: redis.Redis, main: Place, readable: Readable
) -> None:
    pop_all(source, main)
    source.doorbell.take_changed()

    client.publish("__redis__:invalidate", "worker68.main")

    assert readable(source.doorbell.fileno(), RINGS_WITHIN)
    assert not source.doorbell.take_changed()
    client.lpush("worker68.main", b"1")
    assert readable(source.doorbell.fileno(), RINGS_WITHIN)
    assert source.doorbell.take_changed().keys == {b"worker68.main"}


def test_own_work_does_not_ring(source: Source, client: redis.Redis, main: Place, readable: Readable) -> None:
    client.lpush("worker68.main", b"1", b"2", b"3")
    pop_all(source, main)
    source.give_back([])

    assert not readable(source.doorbell.fileno(), STAYS_SILENT)


def test_foreign_queues_and_renewed_leases_do_not_ring(
    source: Source, client: redis.Redis, main: Place, readable: Readable
) -> None:
    pop_all(source, main)

    client.lpush("worker68.other", b"1")
    client.lpush("worker68", b"1")
    client.set(main.lease_key, main.lease_value, ex=10)

    assert not readable(source.doorbell.fileno(), STAYS_SILENT)


def test_a_place_without_room_rings_too_because_moderation_needs_none(
    source: Source, client: redis.Redis, main: Place, readable: Readable
) -> None:
    full = replace(main, room=0)
    client.lpush("worker68.main", b"1")
    for message in (b"2", b"3"):
        assert pop_all(source, full) == []
        client.lpush("worker68.main", message)
        assert readable(source.doorbell.fileno(), RINGS_WITHIN)


@pytest.mark.parametrize("name", ["worker68-intake", "worker68-intake-bell"])
def test_a_killed_connection_is_noticed_and_the_bell_hung_up_again(
    source: Source, client: redis.Redis, main: Place, readable: Readable, name: str
) -> None:
    pop_all(source, main)

    kill(client, name)

    assert readable(source.doorbell.fileno(), RINGS_WITHIN)
    assert source.doorbell.take_changed()
    assert pop_all(source, main) == []
    client.lpush("worker68.main", b"1")
    assert readable(source.doorbell.fileno(), RINGS_WITHIN)
    assert pop_all(source, main) == [b"1"]


def test_both_connections_killed_again_and_again(
    source: Source, client: redis.Redis, main: Place, readable: Readable
) -> None:
    descriptor = source.doorbell.fileno()
    for n in range(5):
        pop_all(source, main)
        kill(client, "worker68-intake-bell")
        kill(client, "worker68-intake")
        assert readable(descriptor, RINGS_WITHIN)
        pop_all(source, main)
        client.lpush("worker68.main", b"%d" % n)
        assert readable(descriptor, RINGS_WITHIN)
        assert pop_all(source, main) == [b"%d" % n]
    assert source.doorbell.fileno() == descriptor


def test_a_connection_lost_while_its_bell_is_hung_up_does_not_pop_without_one(
    source: Source, client: redis.Redis, main: Place, readable: Readable, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Wire.call

    def cut_first(wire: Wire, *command: str | bytes | int) -> Any:
        if command[:2] == ("CLIENT", "TRACKING"):
            monkeypatch.undo()
            kill(client, "worker68-intake")
        return call(wire, *command)

    monkeypatch.setattr(Wire, "call", cut_first)
    with pytest.raises(RedisAway):
        source.pop([main], 1)

    assert pop_all(source, main) == []
    client.lpush("worker68.main", b"1")
    assert readable(source.doorbell.fileno(), RINGS_WITHIN)


def test_the_bell_rings_after_a_restart_of_redis(
    source: Source, client: redis.Redis, main: Place, redis_server: EmbeddedRedis, readable: Readable
) -> None:
    pop_all(source, main)

    redis_server.restart()

    assert readable(source.doorbell.fileno(), RINGS_WITHIN)
    assert source.doorbell.take_changed()
    assert pop_all(source, main) == []
    client.lpush("worker68.main", b"1")
    assert readable(source.doorbell.fileno(), RINGS_WITHIN)
    assert pop_all(source, main) == [b"1"]


@pytest.mark.parametrize(
    "rules",
    [
        "-client +client|setname +client|id",
        "-client",
        "-@dangerous -client",
        "-subscribe",
        "-client +client|id +client|tracking",
    ],
)
def test_a_server_that_refuses_the_bell_is_polled(
    client: redis.Redis, main: Place, redis_url: str, rules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "_CHECK_SECONDS", 0.0)
    commands = ["+@all", *rules.split()]
    client.acl_setuser("plain", enabled=True, passwords=["+secret"], keys=["*"], channels=["*"], commands=commands)
    source = Source(redis_url.replace("redis://", "redis://plain:secret@"))
    try:
        for message in (b"1", b"2"):
            client.lpush("worker68.main", message)
            assert pop_all(source, main) == [message]
        assert not source.doorbell.armed
    finally:
        source.close()
        client.acl_deluser("plain")


def test_a_bell_that_answers_its_checks_stays(
    source: Source, client: redis.Redis, main: Place, readable: Readable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "_CHECK_SECONDS", 0.0)
    pop_all(source, main)
    bell = client_id(client, "worker68-intake-bell")
    assert source.doorbell.take_changed().missed, "no key was watched before this pop"
    for _ in range(3):
        pop_all(source, main)
        assert readable(source.doorbell.fileno(), RINGS_WITHIN)  # the answer is there
        assert not source.doorbell.take_changed()
        assert not source.doorbell.take_changed()

    assert client_id(client, "worker68-intake-bell") == bell


def test_a_half_open_bell_is_replaced(
    source: Source, client: redis.Redis, main: Place, readable: Readable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(doorbell, "_PING", "PUNSUBSCRIBE")  # is answered, but not by a pong: as good as none
    pop_all(source, main)
    pop_all(source, main)
    bell = client_id(client, "worker68-intake-bell")

    pop_all(source, main)
    pop_all(source, main)

    assert client_id(client, "worker68-intake-bell") != bell
    client.lpush("worker68.main", b"1")
    assert readable(source.doorbell.fileno(), RINGS_WITHIN)


def test_the_bell_follows_to_the_server_to_which_a_failover_leads(redis_url: str, readable: Readable) -> None:
    """The old server still answers the bell's connection, whose number is that of another client of the new one."""
    pops, bell = Wire(redis_url, "pops"), Wire(redis_url, "bell")
    door = doorbell.Doorbell(pops, bell)
    door.arm()
    number = door._bell_id
    with EmbeddedRedis() as other, redis.Redis.from_url(other.url, protocol=2) as client:
        while client.client_id() < number:
            client.connection_pool.disconnect()
        port = client.connection_pool.connection_kwargs["port"]
        for wire in (pops, bell):
            wire._connection.port = port
        pops.close()
        door.arm()
        door.take_changed()
        pops.call("GET", "key")
        client.set("key", "1")
        assert readable(door.fileno(), RINGS_WITHIN)
        assert door.take_changed().keys == {b"key"}
    door.close()
    pops.close()
