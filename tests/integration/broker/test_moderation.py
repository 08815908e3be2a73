"""Moderation behind other jobs comes out of Redis ahead of them, whatever the room; nothing else leaves its place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
import redis

from tests.integration.broker.places import own, pop_and_ack, push, raws
from worker68.broker import moderation
from worker68.broker.place import FRONT_NAME, Place, lists_of
from worker68.broker.source import Source
from worker68.broker.wire import Wire
from worker68.errors import RedisAway
from worker68.redis_calls import Script

Client = redis.Redis


def job(task: str, number: int) -> bytes:
    headers = {"lang": "py", "task": f"worker68.{task}", "id": f"{task}-{number}"}
    return json.dumps({"body": "W10=", "content-type": "application/json", "headers": headers}).encode()


def send(number: int) -> bytes:
    return job("send_message", number)


def mute(number: int) -> bytes:
    return job("mute_member", number)


@pytest.fixture
def full(main: Place) -> Place:
    """The place of the account ``main``, whose waiting room is full."""
    return dataclasses.replace(main, room=0)


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a list of some messages take several searches."""
    monkeypatch.setattr(moderation, "MOST_READ", 10)
    monkeypatch.setattr(moderation, "MOST_TAKEN", 3)


def take_all(source: Source, *places: Place) -> list[bytes]:
    """Pop and acknowledge until everything has been searched; return what came."""
    came: list[bytes] = []
    for _ in range(100):
        batch = source.pop(places, 100)
        source.ack(batch.popped)
        came += [one.raw for one in batch.popped]
        if not batch.again:
            return came
    pytest.fail("the search does not end")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (job("mute_member", 1), True),
        (job("mute_group", 1), True),
        (job("set_group_notice", 1), True),
        (job("restart_client", 1), True),
        (json.dumps({"headers": {"task": "worker68.mute_member"}}).replace("mute", "\\u006dute").encode(), True),
        (job("send_message", 1), False),
        (job("no_such_task", 1), False),
        (b'{"headers": {"task": 3}}', False),
        (b'{"headers": "worker68.mute_member"}', False),
        (b"worker68.mute_member", False),
        (b"\xff", False),
        (b"[" * 100_000, False),
    ],
)
def test_moderation_is_known_by_its_task(raw: bytes, expected: bool) -> None:
    assert moderation.is_moderation(raw) is expected


@pytest.mark.parametrize("key", lists_of("worker68.main"))
def test_moderation_in_a_long_list_is_taken_without_room_and_the_others_stay(
    source: Source, client: Client, full: Place, key: str
) -> None:
    messages = [mute(n) if n % 7 == 0 else send(n) for n in range(60)]
    push(client, key, *messages, b"junk", mute(60))

    assert take_all(source, full) == [mute(n) for n in range(61) if n % 7 == 0 or n == 60]

    assert client.lrange(key, 0, -1)[::-1] == [send(n) for n in range(60) if n % 7] + [b"junk"]
    assert client.exists("worker68:unacked:main") == 0


def test_each_message_is_read_once(
    source: Source, client: Client, full: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    real = moderation.is_moderation

    def note(raw: bytes) -> bool:
        read.append(raw)
        return real(raw)

    monkeypatch.setattr(moderation, "is_moderation", note)
    push(client, "worker68.main", *map(send, range(35)))
    assert take_all(source, full) == []
    push(client, "worker68.main", send(35), mute(36))
    assert take_all(source, full) == [mute(36)]
    (first,) = source.pop([dataclasses.replace(full, room=1)], 10).popped
    source.ack([first])
    push(client, "worker68.main", send(37))
    assert take_all(source, full) == []

    assert first.raw == send(0)
    assert read == [*map(send, range(36)), mute(36), send(37)]


def test_a_list_that_another_hand_has_changed_is_read_again(source: Source, client: Client, full: Place) -> None:
    push(client, "worker68.main", *map(send, range(35)))
    assert take_all(source, full) == []
    client.rpop("worker68.main", 5)
    push(client, "worker68.main", mute(35), *map(send, range(36, 40)))
    assert take_all(source, full) == [mute(35)]

    client.delete("worker68.main")
    push(client, "worker68.main", mute(0), *map(send, range(1, 40)))
    assert take_all(source, full) == [mute(0)]
    client.delete("worker68.main")
    assert take_all(source, full) == []


def test_with_room_moderation_behind_a_batch_comes_with_it(source: Source, client: Client, main: Place) -> None:
    push(client, "worker68.main", send(0), mute(1), send(2), send(3), mute(4), send(5))

    assert pop_and_ack(source, main, limit=3) == [send(0), mute(1), send(2), mute(4)]
    assert pop_and_ack(source, main, limit=3) == [send(3), send(5)]


def test_the_numbers_of_a_search_whose_reply_was_lost_are_not_used_again(
    source: Source, client: Client, main: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis may run it late, and would record its messages over those that were popped meanwhile."""
    push(client, "worker68.main", *map(send, range(5)), mute(5))
    lost: list[object] = []
    run = Wire.run

    def lose(wire: Wire, script: Script, keys: list[str], arguments: list[str | bytes | int]) -> object:
        if script is not moderation._TAKE_OUT:
            return run(wire, script, keys, arguments)
        lost.append(arguments[3])
        raise RedisAway("no reply")

    with monkeypatch.context() as patch:
        patch.setattr(Wire, "run", lose)
        with pytest.raises(RedisAway):
            source.pop([dataclasses.replace(main, room=0)], 10)

    assert len(lost) == 1
    assert lost[0] not in [one.field.decode() for one in source.pop([main], 10).popped]


def test_the_front_door_is_not_searched_because_it_is_sorted(source: Source, client: Client) -> None:
    client.set("lease:front", "w")
    front = Place(FRONT_NAME, "lease:front", "w", 7)
    push(client, "worker68", *map(send, range(5)), mute(5))

    assert raws(source, front, limit=2) == [send(0), send(1)]


def test_a_long_list_keeps_no_other_from_being_searched(source: Source, client: Client, full: Place) -> None:
    other = dataclasses.replace(own(client, "other", fence=1), room=0)
    push(client, "worker68.main", *map(send, range(1000)))
    push(client, "worker68.other", mute(1))
    places = {place.name: place for place in (full, other)}

    names = source.pop([full, other], 10).again
    found = source.pop([places[name] for name in names], 10).popped

    assert [one.raw for one in found] == [mute(1)]


def test_what_was_taken_out_and_not_acknowledged_comes_again_without_room(
    source: Source, client: Client, full: Place, redis_url: str
) -> None:
    push(client, "worker68.main", send(0), mute(1), send(2), mute(3))
    assert raws(source, full) == [mute(1), mute(3)]
    heir = dataclasses.replace(own(client, "main", fence=2), room=0)
    successor = Source(redis_url)

    assert [one.raw for one in successor.pop([heir], 10).popped] == [mute(1), mute(3)]
    assert pop_and_ack(successor, heir) == [mute(1), mute(3)]
    assert take_all(successor, heir) == []
    assert client.lrange("worker68.main", 0, -1) == [send(2), send(0)]
    successor.close()


def test_what_was_taken_out_is_given_back_ahead_in_its_order(source: Source, client: Client, main: Place) -> None:
    push(client, "worker68.main", send(0), mute(1), send(2), mute(3), send(4))
    popped = source.pop([main], 1).popped
    assert [one.raw for one in popped] == [send(0), mute(1), mute(3)]

    source.give_back(popped)

    assert pop_and_ack(source, main) == [send(0), mute(1), mute(3), send(2), send(4)]


def test_without_the_lease_nothing_is_taken_out(source: Source, client: Client, full: Place) -> None:
    push(client, "worker68.main", send(0), mute(1))
    client.set("lease:main", "another worker")

    assert raws(source, full) == []
    assert client.llen("worker68.main") == 2


def test_keys_of_wrong_types_keep_moderation_where_it_is_and_end_nothing(
    source: Source, client: Client, full: Place
) -> None:
    other = dataclasses.replace(own(client, "other", fence=1), room=0)
    client.set("worker68:unacked:other", "not a hash")
    client.set("worker68.main:3", "not a list")
    push(client, "worker68.main", send(0), mute(1))
    push(client, "worker68.other", mute(2))

    assert take_all(source, full, other) == [mute(1)]
    assert client.llen("worker68.other") == 1


def test_a_full_redis_lets_moderation_out(source: Source, client: Client, full: Place) -> None:
    push(client, "worker68.main", send(0), mute(1))
    client.config_set("maxmemory", 1)
    try:
        assert take_all(source, full) == [mute(1)]
    finally:
        client.config_set("maxmemory", 0)


@pytest.fixture(params=["before", "after"])
def break_off(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the worker's connection break before or after Redis has run the script of a search that is so many away."""
    real = Wire.run
    left = [-1]

    def run(wire: Wire, script: Script, *rest: object) -> object:
        if script in (moderation._LOOK, moderation._TAKE_OUT):
            left[0] -= 1
            if left[0] == 0:
                if request.param == "after":
                    real(wire, script, *rest)  # type: ignore[arg-type]
                wire.close()
                raise RedisAway("the connection broke")
        return real(wire, script, *rest)  # type: ignore[arg-type]

    def begin(steps: int) -> None:
        left[0] = steps

    monkeypatch.setattr(Wire, "run", run)
    return begin


@pytest.mark.parametrize("step", range(1, 9))
@pytest.mark.parametrize("same_owner", [True, False])
def test_a_search_broken_off_at_any_step_loses_and_doubles_nothing(
    source: Source,
    client: Client,
    full: Place,
    redis_url: str,
    break_off: Callable[[int], None],
    step: int,
    same_owner: bool,
) -> None:
    messages = [mute(n) if n % 3 == 0 else send(n) for n in range(30)]
    push(client, "worker68.main", *messages)
    came: list[bytes] = []
    break_off(step)
    with pytest.raises(RedisAway):
        came.extend(raw for _ in range(100) for raw in pop_and_ack(source, full))
    heir = full if same_owner else dataclasses.replace(own(client, "main", fence=2), room=0)
    successor = source if same_owner else Source(redis_url)

    came += take_all(successor, heir)

    assert came == [mute(n) for n in range(0, 30, 3)]
    assert client.lrange("worker68.main", 0, -1)[::-1] == [send(n) for n in range(30) if n % 3]
    assert client.exists("worker68:unacked:main") == 0
    if not same_owner:
        successor.close()
