"""``worker68.invite_members`` at a simulated bridge: who is in, who cannot be, who waits."""

from __future__ import annotations

from typing import Any

from tests.integration.tasks.acting import act, error, frames_of, look, result
from tests.parts.turns import turn
from worker68.bridge.link import Link
from worker68.jobs.outcome import ErrorCode
from worker68.simulator import Simulator
from worker68.simulator.population import FRIEND, MANAGED_GROUP, OTHER_FRIEND, OWNED_GROUP, PLAIN_GROUP, STRANGER


def invite(link: Link, group_id: int, *user_ids: int) -> Any:
    return act(link, "invite_members", group_id=group_id, user_ids=list(user_ids))


def read_back(link: Link, group_id: int, *user_ids: int) -> Any:
    return look(turn(link, "worker68.invite_members", group_id=group_id, user_ids=list(user_ids)))


def test_a_friend_is_in_and_a_stranger_cannot_be(simulated_link: Link, simulated: Simulator) -> None:
    told = result(invite(simulated_link, OWNED_GROUP, FRIEND, STRANGER, FRIEND))
    assert told == {"done": [FRIEND], "failed": [STRANGER], "waiting": []}
    assert FRIEND in simulated.world.groups[OWNED_GROUP].members
    assert frames_of(simulated, "GroupMember") == [{"op": 0, "groupId": OWNED_GROUP, "members": [FRIEND, STRANGER]}]


def test_whom_a_plain_member_invites_must_wait(simulated_link: Link, simulated: Simulator) -> None:
    told = result(invite(simulated_link, PLAIN_GROUP, FRIEND, OTHER_FRIEND))
    assert told == {"done": [OTHER_FRIEND], "failed": [], "waiting": [FRIEND]}, "the other one is a member already"
    assert FRIEND not in simulated.world.groups[PLAIN_GROUP].members


def test_strangers_alone_are_a_refusal_that_names_them(simulated_link: Link) -> None:
    finding = invite(simulated_link, OWNED_GROUP, STRANGER)
    assert error(finding) == (ErrorCode.REFUSED, None)
    assert finding.result == {"done": [], "failed": [STRANGER], "waiting": []}


def test_reading_back_proves_that_all_are_in_or_nothing(simulated_link: Link, simulated: Simulator) -> None:
    assert read_back(simulated_link, MANAGED_GROUP, OTHER_FRIEND) is None
    result(invite(simulated_link, MANAGED_GROUP, OTHER_FRIEND))
    seen = result(read_back(simulated_link, MANAGED_GROUP, OTHER_FRIEND))
    assert seen == {"done": [OTHER_FRIEND], "failed": [], "waiting": []}
    assert read_back(simulated_link, MANAGED_GROUP, OTHER_FRIEND, STRANGER) is None
    simulated.faults.paging.unreadable = "no_uid"
    assert read_back(simulated_link, MANAGED_GROUP, OTHER_FRIEND) is None
