"""Every documented event can be built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker68.simulator import build_world, events
from worker68.simulator.population import ACCOUNT, FRIEND, MANAGED_GROUP
from worker68.simulator.world import World

EVENTS = {
    one["name"]: one["frame"]
    for one in json.loads((Path(__file__).parents[2] / "fixtures/protocol/events.json").read_text(encoding="utf-8"))
}


def test_all_11_events_are_here() -> None:
    assert len(EVENTS) == 11


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
