"""``worker68.sync_contacts`` at a simulated bridge."""

from __future__ import annotations

import pytest

from tests.integration.tasks.acting import act, frames_of, rows
from worker68.bridge.link import Link
from worker68.jobs.snapshot import ContactRow
from worker68.simulator import Simulator, World
from worker68.simulator.population import meet_stranger


def test_contacts(simulated_link: Link, simulated: Simulator) -> None:
    contacts = rows(act(simulated_link, "sync_contacts"))
    assert {row.user_id for row in contacts} == set(simulated.world.contacts)
    (other,) = [row for row in contacts if row.user_id == 5858052]
    assert other == ContactRow(5858052, "12🌽34🌽收cu商", "b6jo6y4p8h", None, True)
    assert frames_of(simulated, "ContactsList") == [{"pageNum": 1, "pageSize": 200}]


@pytest.mark.parametrize("page_size", [200, 150])
def test_every_page_names_its_number_and_size_until_the_list_is_whole(
    simulated_link: Link, simulated: Simulator, page_size: int
) -> None:
    """Also where the service gives fewer a page than it was asked for."""

    def befriend(world: World) -> None:
        world.page_size = page_size
        for _ in range(400):
            world.add_contact(meet_stranger(world))

    simulated.change(befriend)
    contacts = rows(act(simulated_link, "sync_contacts"))
    assert {row.user_id for row in contacts} == set(simulated.world.contacts)
    asked = frames_of(simulated, "ContactsList")
    assert [each["pageNum"] for each in asked] == [1, 2, 3, 1]
    assert {each["pageSize"] for each in asked} == {200}
