"""``worker68.sync_groups`` at a simulated bridge."""

from __future__ import annotations

from tests.integration.tasks.acting import act, rows
from worker68.bridge.link import Link
from worker68.jobs.snapshot import GroupRow
from worker68.simulator import Simulator
from worker68.simulator.population import (
    FRIEND,
    MANAGED_GROUP,
)


def test_groups(simulated_link: Link, simulated: Simulator) -> None:
    groups = rows(act(simulated_link, "sync_groups"))
    assert {row.group_id for row in groups} == set(simulated.world.groups)
    (managed,) = [row for row in groups if row.group_id == MANAGED_GROUP]
    assert managed == GroupRow(MANAGED_GROUP, "huimei", FRIEND, 4, "admin", False, "asdd")
