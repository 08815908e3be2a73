"""``worker68.sync_group_members`` at a simulated bridge."""

from __future__ import annotations

from tests.integration.tasks.acting import act, error, rows
from worker68.bridge.link import Link
from worker68.jobs.outcome import ErrorCode
from worker68.jobs.snapshot import MemberRow
from worker68.simulator import Simulator
from worker68.simulator.population import (
    ACCOUNT,
    FRIEND,
    MANAGED_GROUP,
    MUTABLE_MEMBER,
)


def test_members_and_their_roles(simulated_link: Link, simulated: Simulator) -> None:
    members = {row.user_id: row for row in rows(act(simulated_link, "sync_group_members", group_id=MANAGED_GROUP))}
    assert members.keys() == simulated.world.groups[MANAGED_GROUP].members.keys()
    assert [members[uid].role for uid in (FRIEND, ACCOUNT, MUTABLE_MEMBER)] == ["host", "admin", "member"]
    assert isinstance(members[FRIEND], MemberRow)
    assert members[FRIEND].friend


def test_a_service_error_inside_the_data_is_a_no(simulated_link: Link, simulated: Simulator) -> None:
    simulated.faults.service_errors.set(1)
    assert error(act(simulated_link, "sync_group_members", group_id=MANAGED_GROUP)) == (ErrorCode.REFUSED, 1021)
