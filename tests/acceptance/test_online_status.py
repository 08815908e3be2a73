"""Online status: a few users a call, also where jobs ask for the same ones, and a word about how far a job has come.

That no user is asked for again too soon, `tests/integration/tasks/test_sync_online_status.py` shows with a clock of its own.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, MEMBER, Stage, StageMaker
from worker68.simulator import build_world
from worker68.simulator.population import ACCOUNT, OWNED_GROUP, PLAIN_GROUP, meet_stranger
from worker68.simulator.world import World


@pytest.fixture(scope="module")
def shared_stage(make_stage: StageMaker) -> Stage:
    stage = make_stage(accounts={"slow": {"limits": {"read": "2/s"}}}, REPLY_TIMEOUT=30)
    for bridge in stage.bridges.values():
        fresh = build_world(members=130)
        bridge.world.people, bridge.world.groups = fresh.people, fresh.groups
    stage.worker.start()
    stage.worker.wait_ready()
    return stage


def asked(stage: Stage, account: str = "main") -> list[list[int]]:
    """Return which users were asked for in each call."""
    calls = [one.frame["data"] for one in stage.bridges[account].received if one.frame["type"] == "request"]
    return [call["data"]["uids"] for call in calls if call["type"] == "GroupMemberOnLineStatusList"]


def check_sizes(stage: Stage, account: str = "main") -> None:
    """No call asked for more than 40 users."""
    assert all(1 <= len(uids) <= 40 for uids in asked(stage, account))


def test_where_nobody_is_known_the_members_are_read_first(stage: Stage) -> None:
    reply = stage.run("sync_online_status", group_id=OWNED_GROUP)

    assert reply["result"]["checked"] == 3
    assert stage.rows(f"SELECT user_id FROM group_members WHERE group_id = {OWNED_GROUP}") == []


def test_all_known_members_are_asked_for_forty_at_a_time(stage: Stage) -> None:
    group = stage.bridge.world.groups[PLAIN_GROUP]
    stage.run("sync_group_members", group_id=PLAIN_GROUP)
    before, pages = len(asked(stage)), len(stage.calls("GroupMemberList"))

    reply = stage.run("sync_online_status", group_id=PLAIN_GROUP)

    online = {uid for uid in group.members if stage.bridge.world.people[uid].online}
    assert reply["result"]["checked"] == 130
    assert set(reply["result"]["online"]) == online
    assert set(reply["result"]["offline"]) == set(group.members) - online
    assert [len(uids) for uids in asked(stage)[before:]] == [40, 40, 40, 10]
    assert len(stage.calls("GroupMemberList")) == pages, "their list is not read again"


def test_two_groups_with_the_same_users_are_both_answered(stage: Stage) -> None:
    fields: list[dict[str, Any]] = [
        {"group_id": group_id, "user_ids": [ACCOUNT, MEMBER]} for group_id in (GROUP, OWNED_GROUP)
    ]

    jobs = [stage.send_task("worker68.sync_online_status", **each) for each in fields]

    assert [stage.end_of(job)["result"]["checked"] for job in jobs] == [2] * 2
    check_sizes(stage)


def test_under_a_slow_limit_a_job_shows_its_progress(stage: Stage) -> None:
    """Two groups of the same people. Six calls wait for their slots for longer than a job goes on without such a word."""
    twin = OWNED_GROUP

    def move_in(world: World) -> None:
        while len(world.groups[PLAIN_GROUP].members) < 360:
            world.groups[PLAIN_GROUP].add_member(meet_stranger(world))
        for uid in world.groups[PLAIN_GROUP].members:
            if uid not in world.groups[twin].members:
                world.groups[twin].add_member(uid)

    bridge = stage.bridges["slow"]
    bridge.change(move_in)
    uids = list(bridge.world.groups[PLAIN_GROUP].members)[:240]
    jobs = [
        stage.send_task("worker68.sync_online_status", "worker68.slow", group_id=group_id, user_ids=uids)
        for group_id in (PLAIN_GROUP, twin)
    ]

    for job in jobs:
        stage.worker.wait_for_log('"job_goes_on"', job.id, '"checked ', ' of 240"')
    for job in jobs:
        reply = stage.end_of(job)
        assert reply["result"]["checked"] == 240
        row = stage.row(job.id, "slow")
        assert row is not None
        assert row["progress"] is None
    check_sizes(stage, "slow")
