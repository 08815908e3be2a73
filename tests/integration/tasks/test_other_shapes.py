"""A bridge that answers something else than it was asked for: said to be refused, and never taken for an empty list."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.bridge.servers import WellBehavedBridge
from tests.integration.tasks.acting import act, answer, error
from worker68.bridge.link import Link
from worker68.jobs.outcome import ErrorCode, Outcome
from worker68.simulator import Simulator
from worker68.simulator.population import FRIEND, MANAGED_GROUP

READS: dict[str, dict[str, Any]] = {
    "sync_profile": {},
    "sync_contacts": {},
    "sync_contact": {"user_id": FRIEND},
    "sync_friend_requests": {},
    "sync_groups": {},
    "sync_group": {"group_id": MANAGED_GROUP},
    "sync_group_members": {"group_id": MANAGED_GROUP},
    "sync_group_requests": {},
    "sync_online_status": {"group_id": MANAGED_GROUP, "user_ids": [FRIEND]},
}
OTHER_SHAPES: tuple[Any, ...] = ({}, {"list": [], "count": 0}, [], [7], "success", None, True, 200, 1.5, {"data": {}})


@pytest.mark.parametrize("task", READS)
def test_another_shape_is_a_refusal(link: Link, bridge: WellBehavedBridge, task: str) -> None:
    for data in OTHER_SHAPES:
        if task == "sync_groups" and isinstance(data, list):
            continue  # that is a list of groups, and its entries are looked at one by one
        answer(bridge, data)
        finding = act(link, task, **READS[task])
        assert isinstance(finding, Outcome), data
        assert finding.error is not None, data
        assert finding.error.code is ErrorCode.REFUSED


@pytest.mark.parametrize("name", ["sync_contacts", "sync_groups", "sync_profile", "sync_friend_requests"])
def test_a_bare_integer_is_the_services_no(name: str, simulated_link: Link, simulated: Simulator) -> None:
    simulated.faults.bare_integers.set(1)
    simulated.faults.refusals.set(1 if name == "sync_groups" else 0)
    assert error(act(simulated_link, name))[0] == ErrorCode.REFUSED
