"""Moderation and syncs: they may be repeated, so no answer means another try, and only used-up tries mean failure."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, MEMBER, MUTE, SYNC, Stage, name
from worker68.simulator import ALWAYS
from worker68.simulator.population import FRIEND, PLAIN_GROUP
from worker68.simulator.world import now_ms

#: Six tries in this module wait so long in vain; all others are answered long before.
STAGE = {"REPLY_TIMEOUT": 4}


def mute(stage: Stage, seconds: int, **fields: Any) -> dict[str, Any]:
    job: dict[str, Any] = {"group_id": GROUP, "user_id": MEMBER, "seconds": seconds, **fields}
    return stage.end_of(stage.send_task(MUTE, **job))


def test_a_member_is_muted_and_unmuted(stage: Stage) -> None:
    member = stage.bridge.world.groups[GROUP].members[MEMBER]

    muted = mute(stage, 3600)
    assert (muted["status"], muted["result"]) == ("succeeded", {"seconds": 3600})
    assert member.muted_until_ms > now_ms()

    lifted = mute(stage, 0)
    assert (lifted["status"], lifted["result"]) == ("succeeded", {"seconds": 0})
    assert member.muted_until_ms == 0
    assert stage.mutes(-1)


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"user_id": 5}, 1021), ({"user_id": FRIEND}, 1022), ({"group_id": PLAIN_GROUP}, 1022)],
    ids=["unknown member", "the host", "no rights"],
)
def test_the_services_no_is_a_refusal(stage: Stage, fields: dict[str, int], code: int) -> None:
    reply = mute(stage, 60, **fields)

    assert reply["status"] == "failed"
    assert reply["error"]["code"] == "refused"
    assert reply["error"]["bridge_code"] == code


@pytest.mark.parametrize("code", ["--5", "²"])
def test_a_code_that_only_looks_like_a_number_is_a_refusal(stage: Stage, code: str) -> None:
    stage.bridge.faults.refusal = {"errorCode": code, "errorDesc": "no"}
    stage.bridge.faults.refusals.set(1)

    reply = mute(stage, 162)

    assert (reply["status"], reply["error"]["code"], reply["error"]["bridge_code"]) == ("failed", "refused", code)


def test_a_bare_integer_is_a_refusal(stage: Stage) -> None:
    stage.bridge.faults.bare_integers.set(1)

    reply = mute(stage, 61)

    assert reply["error"]["bridge_code"] == 1021


def test_a_busy_change_is_made_again(stage: Stage) -> None:
    stage.bridge.faults.busy_changes.set(1)

    reply = mute(stage, 62)

    assert (reply["status"], reply["attempts"]) == ("succeeded", 2)
    assert len(stage.mutes(62)) == 2


def test_a_change_that_is_not_answered_is_made_again(stage: Stage) -> None:
    stage.bridge.faults.silence.set("GroupMemberShutup", 1)

    reply = mute(stage, 63)

    assert (reply["status"], reply["attempts"]) == ("succeeded", 2)


def test_a_change_that_is_never_answered_is_unavailable(stage: Stage) -> None:
    stage.bridge.faults.silence.set("GroupMemberShutup", ALWAYS)

    reply = mute(stage, 6400)

    assert (reply["status"], reply["error"]["code"]) == ("failed", "unavailable")
    assert reply["attempts"] == len(stage.mutes(6400)) == 4


def test_a_read_that_is_not_answered_is_made_again(stage: Stage) -> None:
    stage.bridge.faults.silence.set("getGroups", 1)

    reply = stage.end_of(stage.send_task(SYNC))

    assert (reply["status"], reply["attempts"]) == ("succeeded", 2)


def test_groups_are_synced_into_tables_that_others_read(stage: Stage) -> None:
    world = stage.bridge.world

    reply = stage.end_of(stage.send_task(SYNC))

    assert list(reply["result"]) == ["snapshot_id", "count", "added", "removed", "changed"]
    assert reply["result"]["count"] == len(world.groups)
    groups = {row["group_id"]: row for row in stage.rows("SELECT * FROM groups WHERE removed_at IS NULL")}
    assert {id_: row["name"] for id_, row in groups.items()} == {id_: group.name for id_, group in world.groups.items()}
    assert groups[GROUP]["member_count"] == len(world.groups[GROUP].members)
    snapshots = {row["id"]: row for row in stage.rows("SELECT * FROM snapshots WHERE kind = 'groups'")}
    assert snapshots[reply["result"]["snapshot_id"]]["complete"]

    again = stage.end_of(stage.send_task(SYNC))

    assert again["result"] | {"snapshot_id": 0} == {
        "snapshot_id": 0,
        "count": len(world.groups),
        "added": 0,
        "removed": 0,
        "changed": 0,
    }


def test_a_wrong_answer_to_a_sync_fails_it_and_removes_nothing(stage: Stage) -> None:
    stage.end_of(stage.send_task(SYNC))
    stage.bridge.faults.refusals.set(1)

    reply = stage.end_of(stage.send_task(SYNC))

    assert (reply["status"], reply["error"]["code"]) == ("failed", "refused")
    assert len(stage.rows("SELECT * FROM groups WHERE removed_at IS NULL")) == len(stage.bridge.world.groups)


def test_a_mute_of_the_whole_group_stops_sends_with_a_not_sent(stage: Stage) -> None:
    stage.bridge.world.groups[PLAIN_GROUP].muted = True

    reply = stage.end_of(stage.send(name(), chat={"type": "group", "id": PLAIN_GROUP}))

    assert (reply["status"], reply["error"]["code"]) == ("failed", "not_sent")
