"""What Redis refuses to one place for good costs no other place anything, and loses nothing; it is named once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from tests.integration.broker.places import own, pop_and_ack, push
from worker68.broker.place import Place
from worker68.broker.source import Source
from worker68.errors import RedisForbids

USER = "limited"
#: What the user of ``limited`` may use: all but the queue of the account ``other``.
KEYS = ("lease:*", "worker68", "worker68:*", "worker68.main*")

Allow = Callable[..., None]


@pytest.fixture
def allow(client: redis.Redis) -> Iterator[Allow]:
    """Give the user these keys and commands, and no others."""

    def allow(*keys: str, commands: tuple[str, ...] = ("+@all",)) -> None:
        client.acl_setuser(
            USER, enabled=True, reset_keys=True, passwords=["+secret"], keys=keys, channels=["*"], commands=commands
        )

    allow(*KEYS)
    yield allow
    client.acl_deluser(USER)


@pytest.fixture
def limited(allow: Allow, redis_url: str) -> Iterator[Source]:
    with closing(Source(redis_url.replace("redis://", f"redis://{USER}:secret@"))) as source:
        yield source


@pytest.fixture
def other(client: redis.Redis) -> Place:
    """The place of the account ``other``, owned."""
    return own(client, "other", fence=1)


def refused_in(logs: list[Any]) -> list[tuple[str, str]]:
    """Return the queue and the step of each refusal that was logged."""
    return [(line["queue"], line["step"]) for line in logs if line["event"] == "intake_refused"]


@pytest.mark.parametrize("known", [True, False], ids=["script known", "script forgotten"])
def test_a_queue_that_redis_refuses_is_left_alone_and_the_others_are_popped(
    limited: Source, client: redis.Redis, allow: Allow, main: Place, other: Place, known: bool
) -> None:
    limited.pop([main], 1)
    push(client, "worker68.main", b"1", b"2")
    push(client, "worker68.other", b"3")
    if not known:
        client.script_flush()

    with capture_logs() as logs:
        batch = limited.pop([other, main], 100)
        limited.ack(batch.popped)
        assert limited.pop([other], 100).again == (), "it would be refused again"

    assert [one.raw for one in batch.popped] == [b"1", b"2"]
    assert refused_in(logs) == [("worker68.other", "pop")]
    assert client.llen("worker68.other") == 1
    assert client.exists("worker68:unacked:main", "worker68:unacked:other") == 0
    allow(*KEYS, "worker68.other*")
    assert pop_and_ack(limited, other, main) == [b"3"]
    allow(*KEYS)
    with capture_logs() as logs:
        limited.pop([other], 100)
    assert refused_in(logs) == [("worker68.other", "pop")], "it is another refusal"


def test_a_refused_acknowledgement_costs_only_its_own_place(
    source: Source, client: redis.Redis, main: Place, other: Place
) -> None:
    push(client, "worker68.main", b"1")
    push(client, "worker68.other", b"2")
    popped = source.pop([other, main], 100).popped
    client.rename("worker68:unacked:other", "kept")
    client.set("worker68:unacked:other", "no hash")

    with capture_logs() as logs:
        source.ack(popped)

    assert refused_in(logs) == [("worker68.other", "acknowledge")]
    assert client.exists("worker68:unacked:main") == 0
    client.rename("kept", "worker68:unacked:other")
    assert pop_and_ack(source, other, main) == [b"2"]


def test_what_cannot_be_acknowledged_comes_again_but_not_at_once(
    limited: Source, client: redis.Redis, allow: Allow, main: Place
) -> None:
    allow(*KEYS, commands=("+@all", "-hdel"))
    push(client, "worker68.main", b"1", b"2")

    with capture_logs() as logs:
        assert pop_and_ack(limited, main, limit=1) == [b"1"]
        for _ in range(2):
            batch = limited.pop([main], 1)
            limited.ack(batch.popped)
            assert [one.raw for one in batch.popped] == [b"1"]
            assert batch.again == ()

    assert refused_in(logs) == [("worker68.main", "acknowledge")]
    allow(*KEYS)
    assert [pop_and_ack(limited, main, limit=1) for _ in range(2)] == [[b"1"], [b"2"]]
    assert client.exists("worker68:unacked:main") == 0


def test_a_list_that_does_not_take_its_messages_back_keeps_no_other_from_it(
    source: Source, client: redis.Redis, main: Place, other: Place
) -> None:
    push(client, "worker68.main", b"1", b"2")
    push(client, "worker68.other", b"3")
    popped = source.pop([other, main], 100).popped
    client.set("worker68.other", "no list")

    with capture_logs() as logs:
        assert source.give_back(popped) == 2

    assert refused_in(logs) == [("worker68.other", "give back")]
    assert client.lrange("worker68.main", 0, -1) == [b"2", b"1"]
    assert client.hlen("worker68:unacked:other") == 1
    client.delete("worker68.other")
    assert pop_and_ack(source, other) == [b"3"]


@pytest.mark.parametrize(("rule", "named"), [("-evalsha", "evalsha"), ("-hset", "to HSET:"), ("-rpop", "to RPOP:")])
def test_a_command_that_no_pop_may_use_is_an_outage_and_costs_no_message(
    limited: Source, client: redis.Redis, allow: Allow, main: Place, rule: str, named: str
) -> None:
    limited.pop([main], 1)
    allow(*KEYS, commands=("+@all", rule))
    push(client, "worker68.main", b"1", b"2")

    with pytest.raises(RedisForbids, match=named):
        limited.pop([main], 100)

    assert client.lrange("worker68.main", 0, -1) == [b"2", b"1"]
