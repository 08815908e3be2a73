"""Every documented request gets its documented reply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.parts.frames import SEEN
from tests.unit.simulator.asking import ask
from worker68.simulator import build_world
from worker68.simulator.population import ACCOUNT, FRIEND, PLAIN_GROUP
from worker68.simulator.requests import BUSY_ERROR

FRAMES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "protocol" / "frames.json").read_text(encoding="utf-8")
)

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


def test_all_21_frames_are_here() -> None:
    assert len(FRAMES) == 21
    assert {frame["name"] for frame in FRAMES if frame["reply"] is None} == {*UNDOCUMENTED_REPLIES, "get_groups_2"}


@pytest.mark.parametrize("frame", frames_with(reply=True))
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


def test_requests_about_groups_have_the_shape_that_was_seen() -> None:
    seen = SEEN["group_requests"]
    world = build_world()
    world.invite_account(FRIEND, PLAIN_GROUP)

    body = ask(world, seen["request"]).body

    assert body is not None
    invited, asks, *_ = body["data"]["groupReqs"]
    assert body["data"].keys() == seen["reply"]["data"].keys()
    assert asks.keys() == seen["reply"]["data"]["groupReqs"][0].keys()
    assert (invited["groupReqType"], invited["targetUser"]["uid"]) == (1, str(ACCOUNT))
