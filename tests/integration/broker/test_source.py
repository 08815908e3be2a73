"""Messages come out of Redis in order, none is lost, and none is taken by somebody who does not own the place."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import pytest
import redis

from worker68.broker.place import Place
from worker68.broker.source import MAX_BATCH_BYTES, MOST_NEWS, Source
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway

Client = redis.Redis


@pytest.fixture
def source(redis_url: str, client: Client) -> Iterator[Source]:
    source = Source(redis_url)
    yield source
    source.close()


@pytest.fixture
def main(client: Client) -> Place:
    return own(client, "main", fence=1)


def own(client: Client, account: str, fence: int) -> Place:
    value = f"worker-a:{fence}"
    client.set(f"lease:{account}", value)
    return Place.of_account(account, lease_key=f"lease:{account}", lease_value=value, fence=fence)


def push(client: Client, key: str, *messages: bytes) -> None:
    for message in messages:
        client.lpush(key, message)


def raws(source: Source, *places: Place, limit: int = 100) -> list[bytes]:
    return [popped.raw for popped in source.pop(places, limit).popped]


def pop_and_ack(source: Source, *places: Place, limit: int = 100) -> list[bytes]:
    popped = source.pop(places, limit).popped
    for place in places:
        source.ack(place, [p.field for p in popped if p.place.name == place.name])
    return [p.raw for p in popped]


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
    front = Place.front_door(lease_key="lease:front", lease_value="w", fence=7)
    push(client, "worker68", b"a")

    (popped,) = source.pop([front], 10).popped

    assert (popped.raw, popped.list_key, popped.place.name) == (b"a", b"worker68", "")
    assert client.hlen("worker68:unacked") == 1


def test_the_limit_holds_and_says_that_there_is_more(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", *(b"%d" % n for n in range(5)))

    batch = source.pop([main], 3)

    assert [p.raw for p in batch.popped] == [b"0", b"1", b"2"]
    assert batch.more
    assert batch.waiting == {"main": 2}


def test_an_empty_queue_has_nothing_more(source: Source, main: Place) -> None:
    batch = source.pop([main], 3)

    assert batch.popped == ()
    assert not batch.more


def test_a_full_place_does_not_starve_another(source: Source, client: redis.Redis, main: Place) -> None:
    other = own(client, "other", fence=1)
    push(client, "worker68.main", *(b"m%d" % n for n in range(50)))
    push(client, "worker68.other", b"o0", b"o1")

    batch = source.pop([main, other], 10)

    names = [p.place.name for p in batch.popped]
    assert (names.count("main"), names.count("other")) == (8, 2)


def test_a_place_without_room_is_left_alone(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1", b"2", b"3")

    assert raws(source, dataclasses.replace(main, room=0)) == []
    batch = source.pop([dataclasses.replace(main, room=2)], 100)

    assert [p.raw for p in batch.popped] == [b"1", b"2"]
    assert not batch.more


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


def test_what_was_not_acknowledged_is_handed_out_again_first_and_alone(
    source: Source, client: redis.Redis, main: Place
) -> None:
    push(client, "worker68.main", b"1", b"2")
    first = source.pop([main], 100)
    push(client, "worker68.main", b"3")

    again = source.pop([main], 100)

    assert [(p.field, p.raw, p.leftover) for p in again.popped] == [(p.field, p.raw, True) for p in first.popped]
    assert not any(p.leftover for p in first.popped)
    assert again.more


def test_what_was_acknowledged_does_not_come_back(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1", b"2")

    assert pop_and_ack(source, main) == [b"1", b"2"]
    assert raws(source, main) == []
    assert client.exists("worker68:unacked:main") == 0


def test_a_new_owner_finds_what_the_old_one_left_before_anything_new(
    source: Source, client: redis.Redis, main: Place, redis_url: str
) -> None:
    push(client, "worker68.main", b"1", b"2", b"3")
    assert raws(source, main, limit=2) == [b"1", b"2"]
    heir = own(client, "main", fence=2)
    successor = Source(redis_url)

    assert pop_and_ack(successor, heir) == [b"1", b"2"]
    assert pop_and_ack(successor, heir) == [b"3"]
    successor.close()


def test_leftovers_of_several_owners_come_by_their_fences(source: Source, client: redis.Redis, main: Place) -> None:
    for fence, message in ((10, b"later"), (9, b"earlier")):
        client.hset("worker68:unacked:main", f"{fence:016d}:000000000001", b"13:worker68.main" + message)

    assert raws(source, main) == [b"earlier", b"later"]


def test_leftovers_keep_to_the_limit_and_the_rest_follows(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1", b"2", b"3", b"4")
    raws(source, main, limit=3)

    assert pop_and_ack(source, main, limit=2) == [b"1", b"2"]
    assert pop_and_ack(source, main, limit=2) == [b"3"]
    assert pop_and_ack(source, main, limit=2) == [b"4"]


def test_without_the_lease_nothing_is_taken(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1")
    client.set("lease:main", "somebody else")

    batch = source.pop([main], 10)

    assert batch.popped == ()
    assert batch.not_owned == {"main"}
    assert client.llen("worker68.main") == 1


def test_an_expired_lease_is_no_lease(source: Source, client: redis.Redis, main: Place) -> None:
    client.delete("lease:main")

    assert source.pop([main], 10).not_owned == {"main"}


def test_a_late_acknowledgement_does_not_hit_a_message_of_the_next_batch(
    source: Source, client: redis.Redis, main: Place
) -> None:
    push(client, "worker68.main", b"1")
    old = source.pop([main], 1).popped
    source.ack(main, [p.field for p in old])
    push(client, "worker68.main", b"2")
    source.pop([main], 1)

    source.ack(main, [p.field for p in old])

    assert raws(source, main) == [b"2"]


def test_what_is_given_back_stands_where_it_stood(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1", b"2", b"3", b"4")
    push(client, "worker68.main\x06\x163", b"5", b"6")
    push(client, "worker68.main:9", b"7", b"8")
    before = {key: client.lrange(key, 0, -1) for key in client.keys("worker68.main*")}
    popped = source.pop([main], 7).popped

    assert source.give_back(main, [p.field for p in popped]) == 7

    assert {key: client.lrange(key, 0, -1) for key in client.keys("worker68.main*")} == before
    assert client.exists("worker68:unacked:main") == 0


def test_what_is_given_back_comes_before_what_was_pushed_meanwhile(
    source: Source, client: redis.Redis, main: Place
) -> None:
    push(client, "worker68.main", b"1", b"2")
    popped = source.pop([main], 7).popped
    push(client, "worker68.main", b"3")

    source.give_back(main, [p.field for p in popped])

    assert raws(source, main) == [b"1", b"2", b"3"]


def test_giving_back_twice_gives_back_once(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1")
    fields = [p.field for p in source.pop([main], 7).popped]

    assert (source.give_back(main, fields), source.give_back(main, fields)) == (1, 0)
    assert client.llen("worker68.main") == 1


def test_without_the_lease_nothing_is_given_back(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1")
    fields = [p.field for p in source.pop([main], 7).popped]
    client.set("lease:main", "somebody else")

    assert source.give_back(main, fields) == 0
    assert client.hlen("worker68:unacked:main") == 1


def test_more_messages_than_one_command_bears_are_given_back_in_order(
    source: Source, client: redis.Redis, main: Place
) -> None:
    messages = [b"%d" % n for n in range(2500)]
    client.lpush("worker68.main", *messages)
    popped = source.pop([main], 5000).popped
    assert len(popped) == 2500

    source.give_back(main, [p.field for p in popped])

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


def test_a_ring_is_seen_once_by_the_owner(source: Source, client: redis.Redis, main: Place, redis_url: str) -> None:
    neighbour = Source(redis_url)
    assert source.pop([main], 1).woken == frozenset()

    neighbour.ring("main")

    assert source.pop([main], 1).woken == {"main"}
    assert source.pop([main], 1).woken == frozenset()
    assert 0 < client.ttl("worker68:wake:main") <= 24 * 3600
    neighbour.close()


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
        source.give_back(main, [p.field for p in popped])
        assert pop_and_ack(source, main) == [b"1", b"2"]
        with pytest.raises(RedisAway):
            source.ring("main")
    finally:
        client.config_set("maxmemory", 0)


def test_a_read_only_redis_is_away_and_nothing_is_taken(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1")
    client.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(RedisAway):
            source.pop([main], 1)
    finally:
        client.replicaof("NO", "ONE")

    assert raws(source, main) == [b"1"]


def test_what_was_popped_survives_a_restart_of_redis(
    source: Source, client: redis.Redis, main: Place, redis_server: EmbeddedRedis
) -> None:
    push(client, "worker68.main", b"1", b"2")
    source.pop([main], 1)

    redis_server.kill()
    with pytest.raises(RedisAway):
        source.pop([main], 1)
    redis_server.restart()

    assert pop_and_ack(source, main) == [b"1"]
    assert pop_and_ack(source, main) == [b"2"]


def test_the_owner_is_told_which_jobs_are_new(source: Source, client: redis.Redis, main: Place, redis_url: str) -> None:
    neighbour = Source(redis_url)
    assert source.take_news("main") == []
    neighbour.ring("main", [3, 4])
    neighbour.ring("main", [9])
    assert 0 < client.ttl("worker68:news:main") <= 24 * 3600
    assert source.pop([main], 1).woken == {"main"}
    assert source.take_news("main") == [3, 4, 9]
    assert source.take_news("main") == []
    neighbour.ring("main", range(2 * MOST_NEWS))
    assert len(source.take_news("main")) == MOST_NEWS, "as many as this mean that there were more"
    neighbour.close()


def test_the_front_door_passes_on_to_an_accounts_own_queue_in_order(
    source: Source, client: redis.Redis, main: Place
) -> None:
    client.set("lease:front", "w")
    front = Place.front_door(lease_key="lease:front", lease_value="w", fence=1)
    push(client, "worker68.main", b"before")
    push(client, "worker68", b"1", b"2", b"3")
    push(client, "worker68\x06\x163", b"less urgent")
    popped = {one.raw: one for one in source.pop([front], 10).popped}
    moving = [(popped[raw], "main") for raw in (b"1", b"3", b"less urgent")]
    assert source.pass_on(front, moving) == 3
    assert source.pass_on(front, moving) == 0
    source.ack(front, [popped[b"2"].field])
    assert client.hlen("worker68:unacked") == 0
    assert pop_and_ack(source, main) == [b"before", b"1", b"3", b"less urgent"]


def test_without_the_lease_nothing_is_passed_on(source: Source, client: redis.Redis) -> None:
    client.set("lease:front", "w")
    front = Place.front_door(lease_key="lease:front", lease_value="w", fence=1)
    push(client, "worker68", b"1")
    (popped,) = source.pop([front], 10).popped
    client.set("lease:front", "somebody else")
    assert source.pass_on(front, [(popped, "main")]) == 0
    assert client.llen("worker68.main") == 0
    assert client.hlen("worker68:unacked") == 1


def test_what_two_owners_have_lost_comes_alone_and_only_its_own_losses_count(
    source: Source, client: redis.Redis, main: Place
) -> None:
    push(client, "worker68.main", b"1", b"2", b"3")
    source.pop([main], 10)

    def losses(place: Place) -> list[tuple[bytes, int]]:
        return [(popped.raw, popped.losses) for popped in source.pop([place], 10).popped]

    assert losses(main) == [(b"1", 0), (b"2", 0), (b"3", 0)], "a lost reply is no lost owner"
    assert losses(own(client, "main", fence=2)) == [(b"1", 1), (b"2", 1), (b"3", 1)]
    third = own(client, "main", fence=3)
    assert losses(third) == [(b"1", 2)]
    assert pop_and_ack(source, third) == [b"1"]
    assert losses(third) == [(b"2", 2)]
    assert losses(own(client, "main", fence=4)) == [(b"2", 3)]
    assert pop_and_ack(source, own(client, "main", fence=4)) == [b"2"]
    assert losses(own(client, "main", fence=4)) == [(b"3", 2)]
