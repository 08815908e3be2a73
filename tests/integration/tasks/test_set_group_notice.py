"""``worker68.set_group_notice`` at a simulated bridge."""

from __future__ import annotations

from tests.integration.tasks.acting import act, result
from worker68.bridge.link import Link
from worker68.simulator import Simulator
from worker68.simulator.population import MANAGED_GROUP


def test_a_notice_keeps_its_line_breaks(simulated_link: Link, simulated: Simulator) -> None:
    done = result(act(simulated_link, "set_group_notice", group_id=MANAGED_GROUP, notice="one\ntwo"))
    notice = simulated.world.groups[MANAGED_GROUP].notice
    assert notice is not None
    assert (notice.text, done) == ("one\ntwo", {"notice_id": notice.notice_id, "announcement": None})
