"""``worker68.sync_online_status`` at a simulated bridge."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.tasks.acting import act, frames_of, result
from tests.parts.clock import Clock
from tests.parts.turns import FreeContext
from worker68.bridge.link import Link
from worker68.simulator import Simulator
from worker68.simulator.population import (
    ACCOUNT,
    MANAGED_GROUP,
    OWNED_GROUP,
    PLAIN_GROUP,
)
from worker68.tasks.sync_online_status import USERS_A_CALL


def test_tells_who_is_there(simulated_link: Link, simulated: Simulator) -> None:
    asked = list(simulated.world.groups[MANAGED_GROUP].members)
    found = result(act(simulated_link, "sync_online_status", group_id=MANAGED_GROUP, user_ids=[*asked, *asked]))
    assert ACCOUNT in found["online"]
    assert (set(found["online"]) | set(found["offline"]), found["checked"]) == (set(asked), len(asked))


def test_asks_for_a_few_at_a_time_and_takes_a_slot_for_each_call(simulated_link: Link, simulated: Simulator) -> None:
    members = list(simulated.world.groups[PLAIN_GROUP].members)
    context = FreeContext(members=members)
    found = result(act(simulated_link, "sync_online_status", context, group_id=PLAIN_GROUP))
    assert found["checked"] == len(members)
    sizes = [len(data["uids"]) for data in frames_of(simulated, "GroupMemberOnLineStatusList")]
    assert sizes == [40, 40, len(members) - 80]
    assert max(sizes) == USERS_A_CALL
    assert context.slots == ["read"] * 2
    assert context.progress[-1] == f"checked {len(members)} of {len(members)}"


def test_where_no_member_is_known_their_list_is_read_first(simulated_link: Link, simulated: Simulator) -> None:
    found = result(act(simulated_link, "sync_online_status", group_id=OWNED_GROUP))
    assert found["checked"] == len(simulated.world.groups[OWNED_GROUP].members)
    assert len(frames_of(simulated, "GroupMemberList")) == 1


def test_users_are_not_asked_for_again_too_soon(
    simulated_link: Link, simulated: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock().drive(monkeypatch, "worker68.tasks.sync_online_status")
    context = FreeContext()
    fields: dict[str, Any] = {"group_id": MANAGED_GROUP, "user_ids": [ACCOUNT]}
    result(act(simulated_link, "sync_online_status", context, **fields))
    context.pause = _Paused.raise_  # type: ignore[method-assign]
    with pytest.raises(_Paused):
        act(simulated_link, "sync_online_status", context, **fields)
    assert len(frames_of(simulated, "GroupMemberOnLineStatusList")) == 1


class _Paused(Exception):
    @classmethod
    async def raise_(cls, seconds: float) -> None:
        assert 0 < seconds < 4
        raise cls
