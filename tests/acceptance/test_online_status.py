"""Online status: a few users a call, nobody again too soon, and a word about how far it has come."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, MEMBER, Stage, StageMaker
from worker68.simulator import build_world
from worker68.simulator.population import ACCOUNT, OWNED_GROUP, PLAIN_GROUP, meet_stranger
from worker68.simulator.world import World

PAUSE_SECONDS = 3.0


@pytest.fixture(scope="module")
def shared_stage(make_stage: StageMaker) -> Stage:
    stage = make_stage(accounts={"slow": {"limits": {"read": "2/s"}}})
    for bridge in stage.bridges.values():
        fresh = build_world(members=130)
        bridge.world.people, bridge.world.groups = fresh.people, fresh.groups
    stage.worker.start()
    stage.worker.wait_ready()
    return stage


def asked(stage: Stage, account: str = "main") -> list[tuple[float, list[int]]]:
    """Return when which users were asked for."""
    calls = [(one.at, one.frame["data"]) for one in stage.bridges[account].received if one.frame["type"] == "request"]
    return [(at, call["data"]["uids"]) for at, call in calls if call["type"] == "GroupMemberOnLineStatusList"]


def check_pauses(stage: Stage, account: str = "main") -> None:
    """Nobody was asked for again within the pause, and at most 40 at once."""
    times = defaultdict(list)
    for at, uids in asked(stage, account):
        assert 1 <= len(uids) <= 40
        for uid in uids:
            times[uid].append(at)
    gaps = [later - earlier for each in times.values() for earlier, later in pairwise(each)]
    # The bridge reads when it comes to it. Without a pause there would be next to nothing between them.
    assert min(gaps, default=PAUSE_SECONDS) >= PAUSE_SECONDS / 3


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
    assert [len(uids) for _, uids in asked(stage)[before:]] == [40, 40, 40, 10]
    assert len(stage.calls("GroupMemberList")) == pages, "their list is not read again"


def test_nobody_is_asked_for_again_too_soon_across_jobs_and_groups(stage: Stage) -> None:
    fields: list[dict[str, Any]] = [
        {"group_id": group_id, "user_ids": [ACCOUNT, MEMBER]} for group_id in (GROUP, OWNED_GROUP)
    ]

    jobs = [stage.send_task("worker68.sync_online_status", **each) for each in fields]

    assert [stage.end_of(job)["result"]["checked"] for job in jobs] == [2] * 2
    check_pauses(stage)


def test_a_slow_limit_keeps_the_pauses_too_and_shows_its_progress(stage: Stage) -> None:
    """Two groups of the same people, each call waiting long for its slot."""
    twin = OWNED_GROUP

    def move_in(world: World) -> None:
        while len(world.groups[PLAIN_GROUP].members) < 360:
            world.groups[PLAIN_GROUP].add_member(meet_stranger(world))
        for uid in world.groups[PLAIN_GROUP].members:
            if uid not in world.groups[twin].members:
                world.groups[twin].add_member(uid)

    bridge = stage.bridges["slow"]
    bridge.change(move_in)
    uids = list(bridge.world.groups[PLAIN_GROUP].members)[:160]
    jobs = [
        stage.send_task("worker68.sync_online_status", "worker68.slow", group_id=group_id, user_ids=uids)
        for group_id in (PLAIN_GROUP, twin)
    ]

    def progress() -> list[str]:
        rows = [stage.row(job.id, "slow") or {} for job in jobs]
        return [row["progress"] for row in rows if row.get("progress")]

    shown = stage.wait(progress)
    assert shown[0].startswith("checked ")
    assert shown[0].endswith(" of 160")
    for job in jobs:
        reply = stage.end_of(job)
        assert reply["result"]["checked"] == 160
        row = stage.row(job.id, "slow")
        assert row is not None
        assert row["progress"] is None
    check_pauses(stage, "slow")
