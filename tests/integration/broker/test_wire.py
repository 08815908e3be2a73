"""On a wire each command gets its own reply, a lost connection is an error, and the next command opens another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from tests.integration.broker.connections import client_id, kill
from tests.parts.worker import wait_until
from worker68.broker.wire import Wire, WireSelector
from worker68.embedded import EmbeddedRedis
from worker68.errors import RedisAway, RedisNotNow
from worker68.redis_calls import Script

NAME = "test-wire"
CHANNEL = "test-channel"

#: How long a descriptor that must become readable is waited for.
READABLE_WITHIN = 60.0

Readable = Callable[[int, float], bool]


@pytest.fixture
def wire(redis_url: str) -> Iterator[Wire]:
    with closing(Wire(redis_url, NAME)) as wire:
        yield wire


def lose(wire: Wire) -> None:
    """Let a call find out that its connection was closed by the server."""
    with pytest.raises(RedisAway):
        wire.call("PING")
    assert not wire.connected


class TestCalls:
    def test_a_reply_comes_as_redis_gives_it(self, wire: Wire) -> None:
        assert wire.call("SET", "key", b"\xff\x00") == b"OK"
        assert wire.call("GET", "key") == b"\xff\x00"
        assert wire.call("LRANGE", "none", 0, -1) == []

    def test_a_refusal_is_raised_and_costs_no_connection(self, wire: Wire) -> None:
        wire.call("SET", "key", "no number")
        with pytest.raises(ResponseError, match="not an integer"):
            wire.call("INCR", "key")
        assert wire.call("GET", "key") == b"no number"
        assert wire.epoch == 1

    def test_it_is_opened_by_the_first_command_and_has_a_name(self, wire: Wire, client: redis.Redis) -> None:
        assert (wire.connected, wire.epoch) == (False, 0)
        number = wire.call("CLIENT", "ID")
        assert (wire.connected, wire.epoch) == (True, 1)
        assert number == int(client_id(client, NAME))

    def test_a_server_that_refuses_the_name_is_used_without_it(self, client: redis.Redis, redis_url: str) -> None:
        client.acl_setuser("plain", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-client"])
        try:
            with closing(Wire(redis_url.replace("redis://", "redis://plain:secret@"), NAME)) as wire:
                assert wire.call("ECHO", "x") == b"x"
                assert NAME not in {one["name"] for one in client.client_list()}
        finally:
            client.acl_deluser("plain")

    def test_a_lost_connection_is_an_error_and_the_next_call_opens_another(
        self, wire: Wire, client: redis.Redis
    ) -> None:
        first = wire.call("CLIENT", "ID")
        kill(client, NAME)
        lose(wire)
        assert wire.call("CLIENT", "ID") != first
        assert wire.epoch == 2

    def test_a_late_reply_is_not_taken_for_that_of_the_next_command(
        self, wire: Wire, redis_server: EmbeddedRedis
    ) -> None:
        wire.connect()
        wire._connection._sock.settimeout(0.05)
        redis_server.pause()
        try:
            with pytest.raises(RedisAway):
                wire.call("ECHO", "late")
        finally:
            redis_server.resume()
        assert wire.call("ECHO", "next") == b"next"
        assert wire.epoch == 2

    def test_without_redis_it_is_away_until_it_is_back(self, wire: Wire, redis_server: EmbeddedRedis) -> None:
        redis_server.kill()
        try:
            for _ in range(2):
                lose(wire)
        finally:
            redis_server.restart()
        assert wire.call("ECHO", "x") == b"x"
        assert wire.epoch == 1, "what could not be opened is none"

    @pytest.mark.parametrize("many", [False, True])
    def test_a_server_that_cannot_serve_now_is_away_and_is_left(
        self, wire: Wire, client: redis.Redis, many: bool
    ) -> None:
        """After a failover another one is the master, whose address must be looked up."""
        set_key: tuple[str, ...] = ("SET", "key", "x")
        wire.connect()
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(RedisNotNow):
                _ = wire.call_each([set_key, ("ECHO", "late")]) if many else wire.call(*set_key)
        finally:
            client.config_set("maxmemory", 0)
        assert not wire.connected
        assert wire.call("ECHO", "next") == b"next"


class TestManyAtOnce:
    def test_each_has_its_reply_in_its_place_a_refusal_too(self, wire: Wire) -> None:
        done, refused, value = wire.call_each([("SET", "key", "x"), ("INCR", "key"), ("GET", "key")])
        assert (done, value) == (b"OK", b"x")
        assert isinstance(refused, ResponseError)
        assert wire.call("ECHO", "next") == b"next", "no reply is left over"

    def test_none_need_no_connection(self, wire: Wire) -> None:
        assert wire.call_each([]) == []
        assert not wire.connected

    def test_a_connection_that_is_lost_is_closed(self, wire: Wire, client: redis.Redis) -> None:
        wire.connect()
        kill(client, NAME)
        with pytest.raises(RedisAway):
            wire.call_each([("PING",), ("PING",)])
        assert not wire.connected
        assert wire.call_each([("ECHO", "x")]) == [b"x"]


class TestScripts:
    """The script takes leases that are free; it returns the number of each, behind what it saw of a failover."""

    ARGUMENTS = ("worker-a", 60_000, 1)

    @pytest.fixture
    def script(self, client: redis.Redis) -> Script:
        """A script that Redis does not know yet."""
        client.script_flush()
        return Script("worker68.fleet", "lease_acquire.lua")

    def keys(self, lease: str) -> list[str]:
        return ["promotion", lease, f"fence of {lease}"]

    def test_it_runs_also_where_redis_has_forgotten_it(self, wire: Wire, client: redis.Redis, script: Script) -> None:
        for lease in ("first", "second"):
            client.script_flush()
            _, number = wire.run(script, self.keys(lease), self.ARGUMENTS)
            assert client.get(lease) == b"worker-a|%d" % number

    def test_once_it_is_known_its_name_is_enough(self, wire: Wire, client: redis.Redis, script: Script) -> None:
        def calls(command: str) -> int:
            return int(client.info("commandstats")[f"cmdstat_{command}"]["calls"])

        wire.run(script, self.keys("first"), self.ARGUMENTS)
        by_text, by_name = calls("eval"), calls("evalsha")
        wire.run(script, self.keys("second"), self.ARGUMENTS)
        assert (calls("eval"), calls("evalsha")) == (by_text, by_name + 1)

    @pytest.mark.parametrize("forgotten", [True, False])
    def test_each_run_has_its_answer_in_its_place(
        self, wire: Wire, client: redis.Redis, script: Script, forgotten: bool
    ) -> None:
        wire.run(script, self.keys("taken"), self.ARGUMENTS)
        if forgotten:
            client.script_flush()
        leases = ["first", "taken", "third"]
        answers = wire.run_each(script, [(self.keys(lease), self.ARGUMENTS) for lease in leases])
        numbers = [number for _, number in answers]
        assert [number is None for number in numbers] == [False, True, False]
        for lease, number in zip(leases, numbers, strict=True):
            assert number is None or client.get(lease) == b"worker-a|%d" % number

    @pytest.mark.parametrize("forgotten", [True, False])
    def test_a_refusal_stands_in_its_place_and_the_other_runs_are_done(
        self, wire: Wire, client: redis.Redis, script: Script, forgotten: bool
    ) -> None:
        runs: list[Any] = [(self.keys(lease), self.ARGUMENTS) for lease in ("known", "first", "second", "third")]
        wire.run(script, *runs.pop(0))
        runs[1] = (self.keys("second"), ("worker-a", "no milliseconds", 1))
        if forgotten:
            client.script_flush()
        answers = wire.run_each(script, runs)
        assert [isinstance(answer, ResponseError) for answer in answers] == [False, True, False]
        assert [client.exists(lease) for lease in ("first", "second", "third")] == [1, 0, 1]
        assert wire.call("ECHO", "next") == b"next", "no reply is left over"


def subscribe(wire: Wire) -> None:
    assert wire.call("SUBSCRIBE", CHANNEL)[0] == b"subscribe"


class TestWhatRedisSaysByItself:
    def test_it_is_there_before_it_is_read(self, wire: Wire, client: redis.Redis) -> None:
        subscribe(wire)
        assert not wire.has_reply()
        client.publish(CHANNEL, "news")
        wait_until(wire.has_reply)
        assert wire.read() == [b"message", CHANNEL.encode(), b"news"]
        assert not wire.has_reply()

    def test_a_connection_that_the_server_has_closed_is_away(
        self, wire: Wire, client: redis.Redis, readable: Readable
    ) -> None:
        subscribe(wire)
        kill(client, NAME)
        assert readable(wire.fileno(), READABLE_WITHIN)
        with pytest.raises(RedisAway):
            wire.has_reply()


class TestSelector:
    @pytest.fixture
    def selector(self) -> Iterator[WireSelector]:
        with closing(WireSelector()) as selector:
            yield selector

    @pytest.fixture
    def other(self, redis_url: str) -> Iterator[Wire]:
        with closing(Wire(redis_url, "test-other")) as other:
            yield other

    def test_its_descriptor_says_that_a_wire_can_be_read_and_it_says_which(
        self, selector: WireSelector, wire: Wire, other: Wire, client: redis.Redis, readable: Readable
    ) -> None:
        for one in (wire, other):
            subscribe(one)
            selector.watch(one)
        other.call("UNSUBSCRIBE", CHANNEL)
        assert selector.ready() == set()
        client.publish(CHANNEL, "news")
        assert readable(selector.fileno(), READABLE_WITHIN)
        assert selector.ready() == {wire}

    def test_it_goes_on_with_the_next_connection_under_the_same_descriptor(
        self, selector: WireSelector, wire: Wire, client: redis.Redis, readable: Readable
    ) -> None:
        descriptor = selector.fileno()
        for _ in range(3):
            subscribe(wire)
            selector.watch(wire)
            selector.watch(wire)
            assert selector.ready() == set()
            client.publish(CHANNEL, "news")
            assert readable(descriptor, READABLE_WITHIN)
            assert selector.ready() == {wire}
            wire.close()
            assert selector.ready() == set()

    def test_another_wire_may_get_the_socket_of_one_that_was_closed(
        self, selector: WireSelector, wire: Wire, other: Wire, client: redis.Redis, readable: Readable
    ) -> None:
        wire.connect()
        selector.watch(wire)
        wire.close()
        subscribe(other)
        selector.watch(other)
        client.publish(CHANNEL, "news")
        assert readable(selector.fileno(), READABLE_WITHIN)
        assert selector.ready() == {other}
