"""A probe's connection hears each frame as it is, and ends each wait when its time is over or the connection is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from tests.integration.bridge.conftest import bridge
from tests.integration.bridge.servers import LOGIN, WellBehavedBridge
from tests.parts.worker import PATIENCE_SECONDS, wait_until
from worker68.cli.probe.wire import (
    ProbeFailed,
    SeenSend,
    Session,
    Tap,
    Wire,
    connect,
    is_success,
    kind_of,
    kind_of_id,
    send,
)
from worker68.clock import Deadline
from worker68.protocol.api import USER_INFO
from worker68.simulator import Simulator

__all__ = ["bridge"]

T = TypeVar("T")

OWN = 4008697
VERDICTS = "msgListPropertyUpdate"


def patiently() -> Deadline:
    return Deadline.after(PATIENCE_SECONDS)


def is_login(frame: dict[str, Any]) -> bool:
    """Whether this is the last frame of the bridge's greeting."""
    return bool(frame == LOGIN)


def ignore(_number: int, _way: str, _frame: Any) -> None:
    """Note nothing of what goes over a connection."""


def talk(url: str, work: Callable[[Wire], Awaitable[T]], tap: Tap = ignore) -> T:
    """Connect, and return what comes of it."""

    async def go() -> T:
        wire = await connect(url, 1, tap, PATIENCE_SECONDS)
        try:
            return await work(wire)
        finally:
            wire.close()

    return asyncio.run(go())


def test_a_request_gets_its_own_reply(bridge: WellBehavedBridge) -> None:
    bridge.answer = lambda frame: [{"id": "another", "data": 1}, {"id": frame["id"], "data": 2}]

    async def ask(wire: Wire) -> Any:
        return await wire.ask("request", {"url": "x"}, deadline=patiently(), extra="field")

    tapped: list[tuple[int, str, Any]] = []
    reply = talk(bridge.url, ask, lambda number, way, frame: tapped.append((number, way, frame)))
    (asked,) = bridge.received
    assert reply == {"id": asked["id"], "data": 2}
    assert (asked["type"], asked["data"], asked["extra"]) == ("request", {"url": "x"}, "field")
    assert (1, "out", asked) in tapped
    assert (1, "in", reply) in tapped


def test_no_reply_in_time_is_none(bridge: WellBehavedBridge) -> None:
    async def ask(wire: Wire) -> Any:
        return await wire.ask("request", deadline=Deadline.after(0.05))

    assert talk(bridge.url, ask) is None


def test_arrays_are_taken_apart_and_what_is_no_json_is_noted(bridge: WellBehavedBridge) -> None:
    batch = {"operator": "__batch__", "data": [{"number": 3}, {"number": 4}]}
    bridge.greeting = [[{"number": 1}, {"number": 2}], batch, 5, {"operator": "__batch__", "data": None}]

    async def hear(wire: Wire) -> Any:
        await wire.wait_for(lambda frame: frame.get("operator") == "__batch__", patiently())
        bridge.say("{")
        bridge.say({"number": 6})
        await wire.wait_for(lambda frame: frame.get("number") == 6, patiently())
        return wire.frames, wire.batch_forms

    tapped: list[Any] = []
    frames, forms = talk(bridge.url, hear, lambda _number, _way, frame: tapped.append(frame))
    assert [frame.get("number") for frame in frames] == [1, 2, 3, 4, None, 6]
    assert forms == {"array", "operator"}
    assert tapped == [*bridge.greeting, None, {"number": 6}], "as they came"


def test_pings_go_both_ways(bridge: WellBehavedBridge) -> None:
    async def ping(wire: Wire) -> bool:
        await wire.wait_for(is_login, patiently())
        assert await wire.ping(patiently())
        pong = bridge.connections[-1].ping()
        return await asyncio.to_thread(pong.wait, PATIENCE_SECONDS)

    assert talk(bridge.url, ping)


def test_a_ping_without_a_pong_says_so() -> None:
    async def ping(wire: Wire) -> bool:
        return await wire.ping(Deadline.after(0.1))

    with Simulator() as bridge:
        bridge.faults.no_pong = True
        assert not talk(bridge.url, ping)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda bridge: bridge.drop(), "closed by the bridge"),
        (lambda bridge: bridge.connections[-1].close(1001), "closed by the bridge: 1001"),
    ],
)
def test_a_lost_connection_ends_each_wait(
    bridge: WellBehavedBridge, end: Callable[[WellBehavedBridge], None], reason: str
) -> None:
    async def lose(wire: Wire) -> Any:
        waiting = asyncio.create_task(wire.wait_for(lambda frame: False, Deadline.after(3600)))
        await wire.wait_for(is_login, patiently())
        asyncio.get_running_loop().run_in_executor(None, end, bridge)
        found = await asyncio.wait_for(waiting, PATIENCE_SECONDS)
        return found, await wire.ask("request", deadline=Deadline.after(3600)), wire.lost

    assert talk(bridge.url, lose) == (None, None, reason)


def test_a_bridge_that_is_not_there() -> None:
    async def never(_: Wire) -> None:
        pytest.fail("connected")

    with pytest.raises(ProbeFailed, match=r"the bridge at ws://127\.0\.0\.1:1 cannot be reached: connection refused"):
        talk("ws://127.0.0.1:1", never)


def verdict_on(custom_msg_id: str, chat: int = OWN) -> dict[str, Any]:
    return {"operator": VERDICTS, "data": {"id": str(chat), "list": [{"customMsgId": custom_msg_id}]}}


def echo_of(custom_msg_id: str) -> dict[str, Any]:
    return {"operator": "msgNew", "data": {"customMsgId": custom_msg_id, "readStatus": -1}}


def replied(frame: Any) -> dict[str, Any]:
    return {"id": frame["id"], "data": "success"}


ANSWERS: dict[str, Callable[[Any], list[Any]]] = {
    "given back": lambda frame: [replied(frame), verdict_on(frame["data"]["custom_msg_id"])],
    "another": lambda frame: [verdict_on("of another chat", 5), verdict_on("77"), replied(frame)],
    "no verdict": lambda frame: [replied(frame), verdict_on("earlier")],
    "refused": lambda frame: [{"id": frame["id"], "error": {"errorCode": 300}}, verdict_on("77")],
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_is_said_of_a_message_to_oneself(bridge: WellBehavedBridge, kind: str) -> None:
    bridge.greeting.append(verdict_on("earlier"))
    bridge.answer = ANSWERS[kind]

    async def send_one(wire: Wire) -> SeenSend:
        await wire.wait_for(lambda frame: frame.get("operator") == VERDICTS, patiently())
        session = Session(wire, "https://api.example", OWN, None, patiently())
        seen = await send(session, 11, 0.2 if kind == "no verdict" else PATIENCE_SECONDS)
        assert session.sent == {11: seen}
        return seen

    seen = talk(bridge.url, send_one)
    (asked,) = bridge.received
    assert (asked["type"], asked["data"]["id"], asked["data"]["type"]) == ("sendMsg", OWN, "friend")
    assert asked["data"]["custom_msg_id"] == seen.custom_msg_id
    assert len(seen.custom_msg_id) == 11
    assert kind_of_id(seen) == kind
    assert not seen.pending_echo


def test_an_echo_before_the_verdict_is_seen(bridge: WellBehavedBridge) -> None:
    bridge.answer = lambda frame: [echo_of(frame["data"]["custom_msg_id"]), *ANSWERS["given back"](frame)]

    async def send_one(wire: Wire) -> SeenSend:
        return await send(Session(wire, "https://api.example", OWN, None, patiently()), 12, PATIENCE_SECONDS)

    assert talk(bridge.url, send_one).pending_echo


def test_a_call_goes_to_the_api_and_lasts_no_longer_than_the_session(bridge: WellBehavedBridge) -> None:
    async def call(wire: Wire) -> Any:
        session = Session(wire, "https://api.example", OWN, None, Deadline.after(0.05))
        return await session.call(USER_INFO, {"uid": 1})

    assert talk(bridge.url, call) is None
    (asked,) = wait_until(lambda: bridge.received)
    assert asked["data"]["url"] == f"https://api.example{USER_INFO.path}"


@pytest.mark.parametrize(
    ("reply", "kind", "success"),
    [
        ({"data": {"commonResult": {"errCode": 200}}}, "reply", True),
        ({"data": {"commonResult": {"errCode": 500}}}, "reply", False),
        ({"data": "success"}, "reply", False),
        ({"data": {"commonResult": {"errCode": 200}}, "error": {"errorCode": 300}}, "error", False),
    ],
)
def test_the_kind_of_a_reply(reply: dict[str, Any], kind: str, success: bool) -> None:
    assert (kind_of(reply), is_success(reply)) == (kind, success)
    assert kind_of(None) == "silence"
