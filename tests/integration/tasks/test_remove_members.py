"""``worker68.remove_members`` at a simulated bridge: who is gone is looked up, since the reply does not say it."""

from __future__ import annotations

from typing import Any

from tests.integration.tasks.acting import act, error, frames_of, look, result
from tests.parts.turns import FreeContext, turn
from worker68.bridge.link import Link
from worker68.jobs.outcome import ErrorCode
from worker68.simulator import Simulator
from worker68.simulator.population import FRIEND, MANAGED_GROUP, MUTABLE_MEMBER, PLAIN_GROUP, STRANGER

MEMBER = 4_017_572


def remove(link: Link, *user_ids: int, group_id: int = MANAGED_GROUP) -> Any:
    return act(link, "remove_members", group_id=group_id, user_ids=list(user_ids))


def read_back(link: Link, *user_ids: int) -> Any:
    return look(turn(link, "worker68.remove_members", group_id=MANAGED_GROUP, user_ids=list(user_ids)))


def test_members_are_gone_and_one_who_cannot_go_is_named(simulated_link: Link, simulated: Simulator) -> None:
    context = FreeContext()
    wanted = [MEMBER, FRIEND, STRANGER, MEMBER]
    told = result(act(simulated_link, "remove_members", context, group_id=MANAGED_GROUP, user_ids=wanted))
    assert told == {"done": [MEMBER, STRANGER], "failed": [FRIEND]}
    assert MEMBER not in simulated.world.groups[MANAGED_GROUP].members
    assert frames_of(simulated, "GroupMember") == [
        {"op": 1, "groupId": MANAGED_GROUP, "members": [MEMBER, FRIEND, STRANGER]}
    ]
    assert context.slots == ["read"], "the look takes a slot of its own"


def test_where_nobody_is_gone_it_has_failed(simulated_link: Link) -> None:
    finding = remove(simulated_link, FRIEND)
    assert error(finding) == (ErrorCode.REFUSED, None)
    assert finding.result == {"done": [], "failed": [FRIEND]}


def test_without_a_member_list_the_services_word_counts(simulated_link: Link, simulated: Simulator) -> None:
    simulated.faults.busy_reads.set(1)
    assert result(remove(simulated_link, MEMBER)) == {"done": [MEMBER], "failed": []}


def test_a_plain_member_may_not(simulated_link: Link) -> None:
    assert error(remove(simulated_link, FRIEND, group_id=PLAIN_GROUP)) == (ErrorCode.REFUSED, 1022)


def test_reading_back_proves_that_all_are_gone_or_nothing(simulated_link: Link, simulated: Simulator) -> None:
    assert read_back(simulated_link, MEMBER) is None
    result(remove(simulated_link, MEMBER))
    assert result(read_back(simulated_link, MEMBER)) == {"done": [MEMBER], "failed": []}
    assert read_back(simulated_link, MEMBER, MUTABLE_MEMBER) is None
    simulated.faults.refusals.set(1)
    assert read_back(simulated_link, MEMBER) is None
