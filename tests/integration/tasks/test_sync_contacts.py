"""``worker68.sync_contacts`` at a simulated bridge."""

from __future__ import annotations

from tests.integration.tasks.acting import act, rows
from worker68.bridge.link import Link
from worker68.jobs.snapshot import ContactRow
from worker68.simulator import Simulator


def test_contacts(simulated_link: Link, simulated: Simulator) -> None:
    contacts = rows(act(simulated_link, "sync_contacts"))
    assert {row.user_id for row in contacts} == set(simulated.world.contacts)
    (other,) = [row for row in contacts if row.user_id == 5858052]
    assert other == ContactRow(5858052, "12🌽34🌽收cu商", "b6jo6y4p8h", None, True)
