"""``worker68.sync_group_requests`` at a simulated bridge."""

from __future__ import annotations

from tests.integration.tasks.acting import act, rows
from worker68.bridge.link import Link
from worker68.jobs.snapshot import GroupRequestRow
from worker68.simulator import Simulator


def test_group_requests(simulated_link: Link, simulated: Simulator) -> None:
    requests = rows(act(simulated_link, "sync_group_requests"))
    assert all(isinstance(row, GroupRequestRow) for row in requests)
    asked = [(row.user_id, row.group_id) for row in requests]
    assert asked == [(one.uid, one.group_id) for one in simulated.world.group_requests]
