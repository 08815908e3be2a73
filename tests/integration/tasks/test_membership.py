"""Who is in a group: one call adds or removes, and the whole list of members alone shows who is there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.tasks.acting import frames_of, result
from tests.parts.onloop import run
from tests.parts.turns import turn
from worker68.bridge.link import Link
from worker68.simulator import Faults, Simulator
from worker68.simulator.population import FRIEND, MANAGED_GROUP, MUTABLE_MEMBER, OWNED_GROUP, STRANGER
from worker68.tasks.membership import ADD, REMOVE, SomeMembers, change_members, find_members


def change(link: Link, group_id: int, op: int, *user_ids: int) -> object:
    fields = SomeMembers(group_id, user_ids)
    return run(
        change_members(turn(link, "worker68.invite_members", group_id=group_id, user_ids=[*user_ids]), fields, op)
    )


def find(link: Link, *user_ids: int, group_id: int = MANAGED_GROUP) -> set[int] | None:
    fields = SomeMembers(group_id, user_ids)
    return run(find_members(turn(link, "worker68.invite_members", group_id=group_id, user_ids=[*user_ids]), fields))


def test_each_user_is_wanted_once_in_the_order_of_the_job() -> None:
    assert SomeMembers(1, (3, 1, 3, 2, 1)).wanted == [3, 1, 2]


def test_members_are_added_and_removed_by_one_call_each(simulated_link: Link, simulated: Simulator) -> None:
    members = [*simulated.world.groups[OWNED_GROUP].members]
    result(change(simulated_link, OWNED_GROUP, ADD, FRIEND, FRIEND))
    assert [*simulated.world.groups[OWNED_GROUP].members] == [*members, FRIEND]
    result(change(simulated_link, OWNED_GROUP, REMOVE, FRIEND))
    assert [*simulated.world.groups[OWNED_GROUP].members] == members
    assert [frame["members"] for frame in frames_of(simulated, "GroupMember")] == [[FRIEND], [FRIEND]]


@pytest.mark.parametrize("page_size", [1000, 2])
def test_of_those_wanted_the_members_are_found_on_every_page(
    simulated_link: Link, simulated: Simulator, page_size: int
) -> None:
    simulated.world.page_size = page_size
    assert find(simulated_link, STRANGER, MUTABLE_MEMBER, FRIEND) == {MUTABLE_MEMBER, FRIEND}
    assert find(simulated_link, STRANGER) == set()


def turn_refusals(faults: Faults) -> None:
    faults.refusals.set(1)


def turn_unreadable(faults: Faults) -> None:
    faults.paging.unreadable = "no_uid"


@pytest.mark.parametrize("turn_fault", [turn_refusals, turn_unreadable])
def test_a_list_that_was_not_read_as_a_whole_shows_nothing(
    simulated_link: Link, simulated: Simulator, turn_fault: Callable[[Faults], None]
) -> None:
    turn_fault(simulated.faults)
    assert find(simulated_link, FRIEND) is None


def test_the_list_of_a_group_that_the_account_is_not_in_shows_nothing(simulated_link: Link) -> None:
    assert find(simulated_link, FRIEND, group_id=1) is None
