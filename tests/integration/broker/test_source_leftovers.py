"""What a pop has handed out and nobody has acknowledged: it comes again, in order, and how often its owner was lost is counted."""

from __future__ import annotations

import pytest
import redis
from structlog.testing import capture_logs

from tests.integration.broker.places import own, pop_and_ack, push, raws
from worker68.broker.place import FRONT_NAME, Place
from worker68.broker.source import Source
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway


def test_what_was_not_acknowledged_is_handed_out_again_first_and_alone(
    source: Source, client: redis.Redis, main: Place
) -> None:
    push(client, "worker68.main", b"1", b"2")
    first = source.pop([main], 100)
    push(client, "worker68.main", b"3")

    again = source.pop([main], 100)

    assert [(p.field, p.raw) for p in again.popped] == [(p.field, p.raw) for p in first.popped]
    assert again.again == ("main",)


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


def test_what_another_program_has_written_among_them_holds_up_its_own_place_alone(
    source: Source, client: redis.Redis, main: Place
) -> None:
    """Kombu does so with ``worker68:`` before all its keys: its hash ``unacked`` is the front door's then."""
    front = own(client, FRONT_NAME, fence=1)
    push(client, "worker68", b"1")
    push(client, "worker68.main", b"2")
    client.hset("worker68:unacked", "a-tag", '[{"body": ""}, "", "worker68"]')

    with capture_logs() as logs:
        batch = source.pop([front, main], 100)
        source.ack(batch.popped)
        assert raws(source, front) == []
    assert ([popped.raw for popped in batch.popped], batch.again) == ([b"2"], ())
    assert [(line["event"], line["key"]) for line in logs] == [("intake_field_not_readable", b"worker68:unacked")]

    client.delete("worker68:unacked")
    assert raws(source, front) == [b"1"]


def test_leftovers_keep_to_the_limit_and_the_rest_follows(source: Source, client: redis.Redis, main: Place) -> None:
    push(client, "worker68.main", b"1", b"2", b"3", b"4")
    raws(source, main, limit=3)

    assert pop_and_ack(source, main, limit=2) == [b"1", b"2"]
    assert pop_and_ack(source, main, limit=2) == [b"3"]
    assert pop_and_ack(source, main, limit=2) == [b"4"]


def test_a_late_acknowledgement_does_not_hit_a_message_of_the_next_batch(
    source: Source, client: redis.Redis, main: Place
) -> None:
    push(client, "worker68.main", b"1")
    old = source.pop([main], 1).popped
    source.ack(old)
    push(client, "worker68.main", b"2")
    source.pop([main], 1)

    source.ack(old)

    assert raws(source, main) == [b"2"]


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
