"""Every documented request gets its documented reply; every documented event can be built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker68.simulator import build_world, events
from worker68.simulator.population import ACCOUNT, FRIEND, MANAGED_GROUP
from worker68.simulator.requests import BUSY_ERROR, Answer, read_request, respond
from worker68.simulator.world import World

PROTOCOL = Path(__file__).parents[2] / "fixtures" / "protocol"
FRAMES: list[dict[str, Any]] = json.loads((PROTOCOL / "frames.json").read_text(encoding="utf-8"))
EVENTS = {one["name"]: one["frame"] for one in json.loads((PROTOCOL / "events.json").read_text(encoding="utf-8"))}

#: What PROTOCOL.md says of the requests whose reply frames.json leaves open.
UNDOCUMENTED_REPLIES: dict[str, object] = {
    "send_friend_text": {"data": "success"},
    "send_group_text": {"data": "success"},
    "send_file": {"data": "success"},
    "send_multiline_text": {"data": "success"},
    "send_notice_changed": {"data": "success"},
    "send_group_shutup": {"data": "success"},
    "group_update_shutup": {"data": {"commonResult": {"errCode": 200}}},
    "group_member_shutup": {"data": {"commonResult": {"errCode": 200}}},
    "restart68": None,
}


def ask(world: World, frame: object) -> Answer:
    return respond(world, read_request(frame))


def frames_with(*, reply: bool) -> list[Any]:
    named = [frame for frame in FRAMES if (frame["reply"] is not None) is reply]
    return [pytest.param(frame, id=frame["name"]) for frame in named]


def differences(documented: Any, actual: Any, where: str = "reply") -> list[str]:
    """List what is missing, too much, of another type or value. Of a documented list, the example holds the first entries."""
    if type(documented) is not type(actual):
        return [f"{where}: {type(documented).__name__} became {type(actual).__name__}"]
    if isinstance(documented, dict):
        keys = [f"{where}.{key}: in one only" for key in documented.keys() ^ actual.keys()]
        both = documented.keys() & actual.keys()
        return keys + [line for key in both for line in differences(documented[key], actual[key], f"{where}.{key}")]
    if isinstance(documented, list):
        if len(actual) < len(documented):
            return [f"{where}: {len(actual)} entries"]
        pairs = zip(documented, actual, strict=False)
        return [line for i, (one, other) in enumerate(pairs) for line in differences(one, other, f"{where}[{i}]")]
    return [] if documented == actual else [f"{where}: {documented!r} became {actual!r}"]


def test_all_21_frames_and_11_events_are_here() -> None:
    assert len(FRAMES) == 21
    assert len(EVENTS) == 11
    assert {frame["name"] for frame in FRAMES if frame["reply"] is None} == {*UNDOCUMENTED_REPLIES, "get_groups_2"}


@pytest.mark.parametrize("frame", [one for one in frames_with(reply=True) if one.id != "group_req_list_error"])
def test_documented_reply(frame: dict[str, Any]) -> None:
    answer = ask(build_world(), frame["request"])

    documented = {key: value for key, value in frame["reply"].items() if key not in ("id", "type")}
    assert differences(documented, answer.body) == []


@pytest.mark.parametrize("name", UNDOCUMENTED_REPLIES)
def test_reply_where_none_is_documented(name: str) -> None:
    request = next(frame["request"] for frame in FRAMES if frame["name"] == name)

    assert ask(build_world(), request).body == UNDOCUMENTED_REPLIES[name]


def test_both_examples_of_get_groups_get_the_same_reply() -> None:
    first, second = (frame["request"] for frame in FRAMES if frame["request"]["type"] == "getGroups")
    world = build_world()

    assert ask(world, first).body == ask(world, second).body


def test_documented_error_is_the_busy_one() -> None:
    frame = next(frame for frame in FRAMES if frame["name"] == "group_req_list_error")

    assert frame["reply"]["error"] == BUSY_ERROR
    body = ask(build_world(), frame["request"]).body
    assert body is not None
    assert body["data"]["commonResult"]["errCode"] == 200


def test_restart_asks_for_a_restart() -> None:
    assert ask(build_world(), {"id": "1", "type": "restart68"}).restart


def build_events(world: World) -> dict[str, Any]:
    message = events.Message("group", MANAGED_GROUP, "C:/ui.xml", "10735110335", 4688196815, content_type=events.FILE)
    return {
        "hello": events.HELLO,
        "network_up": events.NETWORK_UP,
        "network_down": events.NETWORK_DOWN,
        "verdict_sent": events.verdict(message, 1),
        "verdict_failed": events.verdict(message, 0),
        "friend_message": events.friend_message(world, ACCOUNT, "Ffg"),
        "group_message": events.group_message(world, MANAGED_GROUP, FRIEND, "hhh"),
        "own_message": events.own_message(world, message),
        "group_renamed": events.group_changed(MANAGED_GROUP, name="a new name"),
        "group_muted": events.group_muted(MANAGED_GROUP, muted=True),
        "recall": events.recall(ACCOUNT, 2565552547),
    }


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items() if key != "icon"}  # some people have no picture
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value).__name__


@pytest.mark.parametrize("name", EVENTS)
def test_event_has_the_documented_shape(name: str) -> None:
    assert shape(build_events(build_world())[name]) == shape(EVENTS[name])


@pytest.mark.parametrize("name", ["hello", "network_up", "network_down", "group_renamed"])
def test_event_without_times_and_ids_is_the_documented_one(name: str) -> None:
    assert build_events(build_world())[name] == EVENTS[name]
