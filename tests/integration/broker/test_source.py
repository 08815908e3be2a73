"""Messages come out of Redis in order, none is lost, and none is taken by somebody who does not own the place."""

from __future__ import annotations

import dataclasses
import os

import pytest
import redis

from tests.integration.broker.places import own, pop_and_ack, push, raws
from worker68.broker.place import FRONT_NAME, Place
from worker68.broker.source import MAX_BATCH_BYTES, Source
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway

Client = redis.Redis


def test_messages_of_a_list_come_in_the_order_in_which_they_were_pushed(
    source: Source, client: redis.Redis, main: Place
) -> None:
    push(client, "worker68.main", b"1", b"2", b"3")

    assert raws(source, main) == [b"1", b"2", b"3"]


def test_lists_are_emptied_by_priority_whatever_the_separator(source: Source, client: redis.Redis, main: Place) -> None:
    for key in ("\x06\x169", ":9", "\x06\x166", ":6", "\x06\x163", ":3", ""):
        push(client, f"worker68.main{key}", key.encode())

    assert raws(source, main) == [b"", b"\x06\x163", b":3", b"\x06\x166", b":6", b"\x06\x169", b":9"]


def test_the_front_door_is_a_place_like_any_other(source: Source, client: redis.Redis) -> None:
    client.set("lease:front", "w")
    front = Place(FRONT_NAME, "lease:front", "w", 7)
    push(client, "worker68", b"a")

    (popped,) = source.pop([front], 10).popped

    assert (popped.raw, popped.list_key, popped.place.name) == (b"a", b"worker68", "")
    assert client.hlen("worker68:unacked") == 1


def test_the_limit_holds_and_says_that_there_is_more(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", *(b"%d" % n for n in range(5)))

    batch = source.pop([main], 3)

    assert [p.raw for p in batch.popped] == [b"0", b"1", b"2"]
    assert batch.again == ("main",)


def test_an_empty_queue_has_nothing_more(source: Source, main: Place) -> None:
    batch = source.pop([main], 3)

    assert (batch.popped, batch.again) == ((), ())


def test_a_full_place_does_not_starve_another(source: Source, client: redis.Redis, main: Place) -> None:
    other = own(client, "other", fence=1)
    push(client, "worker68.main", *(b"m%d" % n for n in range(50)))
    push(client, "worker68.other", b"o0", b"o1")

    batch = source.pop([main, other], 10)

    names = [p.place.name for p in batch.popped]
    assert (names.count("main"), names.count("other")) == (5, 2)


def test_a_place_without_room_is_left_alone(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1", b"2", b"3")

    assert raws(source, dataclasses.replace(main, room=0)) == []
    batch = source.pop([dataclasses.replace(main, room=2)], 100)

    assert [p.raw for p in batch.popped] == [b"1", b"2"]
    assert batch.again == ()
    assert batch.crowded == {"main"}


def test_a_batch_stops_growing_at_its_bound_of_bytes(source: Source, client: redis.Redis, main: Place) -> None:
    mebibyte = os.urandom(1024 * 1024)
    push(client, "worker68.main", *[mebibyte] * (MAX_BATCH_BYTES // len(mebibyte) + 2))

    assert len(raws(source, main)) == MAX_BATCH_BYTES // len(mebibyte)


def test_any_bytes_come_out_as_they_went_in(source: Source, client: redis.Redis, main: Place) -> None:
    junk = [b"", b":", b"12:", bytes(range(256)), b"\r\n$3\r\n", b"\xff\xfe", b"\x00" * 10]
    push(client, "worker68.main:3", *junk)

    batch = source.pop([main], 100)

    assert [p.raw for p in batch.popped] == junk
    assert {p.list_key for p in batch.popped} == {b"worker68.main:3"}


def test_without_the_lease_nothing_is_taken(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1")
    client.set("lease:main", "somebody else")

    batch = source.pop([main], 10)

    assert batch.popped == ()
    assert client.llen("worker68.main") == 1


def test_an_expired_lease_is_no_lease(source: Source, client: redis.Redis, main: Place) -> None:
    client.delete("lease:main")

    push(client, "worker68.main", b"1")

    assert raws(source, main) == []


def test_what_is_given_back_stands_where_it_stood(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1", b"2", b"3", b"4")
    push(client, "worker68.main\x06\x163", b"5", b"6")
    push(client, "worker68.main:9", b"7", b"8")
    before = {key: client.lrange(key, 0, -1) for key in client.keys("worker68.main*")}
    popped = source.pop([main], 7).popped

    assert source.give_back(popped) == 7

    assert {key: client.lrange(key, 0, -1) for key in client.keys("worker68.main*")} == before
    assert client.exists("worker68:unacked:main") == 0


def test_what_is_given_back_comes_before_what_was_pushed_meanwhile(
    source: Source, client: redis.Redis, main: Place
) -> None:
    push(client, "worker68.main", b"1", b"2")
    popped = source.pop([main], 7).popped
    push(client, "worker68.main", b"3")

    source.give_back(popped)

    assert raws(source, main) == [b"1", b"2", b"3"]


def test_giving_back_twice_gives_back_once(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1")
    popped = source.pop([main], 7).popped

    assert (source.give_back(popped), source.give_back(popped)) == (1, 0)
    assert client.llen("worker68.main") == 1


def test_without_the_lease_nothing_is_given_back(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1")
    popped = source.pop([main], 7).popped
    client.set("lease:main", "somebody else")

    assert source.give_back(popped) == 0
    assert client.hlen("worker68:unacked:main") == 1


def test_more_messages_than_one_command_bears_are_given_back_in_order(
    source: Source, client: redis.Redis, main: Place
) -> None:
    messages = [b"%d" % n for n in range(2500)]
    client.lpush("worker68.main", *messages)
    popped = source.pop([main], 5000).popped
    assert len(popped) == 2500

    source.give_back(popped)

    assert pop_and_ack(source, main, limit=5000) == messages
    assert client.exists("worker68:unacked:main") == 0


def test_a_key_of_a_wrong_type_stops_no_other_queue(source: Source, client: redis.Redis, main: Place) -> None:
    other = own(client, "other", fence=1)
    third = own(client, "third", fence=1)
    client.set("worker68.main:3", "not a list")
    client.set("worker68:unacked:other", "not a hash")
    push(client, "worker68.main", b"1")
    push(client, "worker68.other", b"2")
    push(client, "worker68.third", b"3")

    assert sorted(raws(source, main, other, third)) == [b"1", b"3"]
    assert client.llen("worker68.other") == 1


def test_a_forgotten_script_is_loaded_again(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1")
    source.pop([main], 1)
    client.script_flush()

    assert raws(source, main) == [b"1"]


def test_a_full_redis_still_hands_out_and_takes_back(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1", b"2")
    client.config_set("maxmemory", 1)
    try:
        popped = source.pop([main], 1).popped
        source.give_back(popped)
        assert pop_and_ack(source, main) == [b"1", b"2"]
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            push(client, "worker68.main", b"3")
    finally:
        client.config_set("maxmemory", 0)


def test_a_read_only_redis_is_away_and_nothing_is_taken(
    source: Source, client: redis.Redis, main: Place, redis_server: EmbeddedRedis
) -> None:
    push(client, "worker68.main", b"1")
    client.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(RedisAway):
            source.pop([main], 1)
        client.replicaof("NO", "ONE")
        assert raws(source, main) == [b"1"]
    finally:
        redis_server.kill()  # one that was promoted would give out no lease to later tests


def test_the_front_door_passes_on_to_an_accounts_own_queue_in_order(
    source: Source, client: redis.Redis, main: Place
) -> None:
    client.set("lease:front", "w")
    front = Place(FRONT_NAME, "lease:front", "w", 1)
    push(client, "worker68.main", b"before")
    push(client, "worker68", b"1", b"2", b"3")
    push(client, "worker68\x06\x163", b"less urgent")
    popped = {one.raw: one for one in source.pop([front], 10).popped}
    moving = [(popped[raw], "main") for raw in (b"1", b"3", b"less urgent")]
    for _ in range(2):  # harmless when repeated
        assert source.move(front, moving) == {}
    source.ack([popped[b"2"]])
    assert client.hlen("worker68:unacked") == 0
    assert pop_and_ack(source, main) == [b"before", b"1", b"3", b"less urgent"]


def test_without_the_lease_nothing_is_passed_on(source: Source, client: redis.Redis) -> None:
    client.set("lease:front", "w")
    front = Place(FRONT_NAME, "lease:front", "w", 1)
    push(client, "worker68", b"1")
    (popped,) = source.pop([front], 10).popped
    client.set("lease:front", "somebody else")
    assert source.move(front, [(popped, "main")]) == {}
    assert client.llen("worker68.main") == 0
    assert client.hlen("worker68:unacked") == 1


def test_a_message_whose_queue_is_no_list_stays_and_the_others_are_passed_on(
    source: Source, client: redis.Redis, main: Place
) -> None:
    client.set("lease:front", "w")
    front = Place(FRONT_NAME, "lease:front", "w", 1)
    client.set("worker68.other", "not a list")
    push(client, "worker68", b"1", b"2", b"3")
    first, second, third = source.pop([front], 10).popped

    refused = source.move(front, [(first, "main"), (second, "other"), (third, "main")])

    assert list(refused) == [second]
    assert "WRONGTYPE" in refused[second]
    assert client.hkeys("worker68:unacked") == [second.field]
    assert pop_and_ack(source, main) == [b"1", b"3"]
