"""Every task as its producer sees it: what it writes to the bridge, and what its reply holds, key by key.

The replies of the bridge are written in every way that has been seen: that changes nothing for the producer.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, GROUP_CHAT, MEMBER, Stage, name
from tests.parts.frames import KNOWN_REQUESTS, plain
from worker68.simulator.population import ACCOUNT, FRIEND, OWNED_GROUP, STRANGER
from worker68.tasks import TASKS

STAGE = {
    "REPLY_TIMEOUT": 30,
    "ALLOWED_FILE_ROOTS": json.dumps(["C:/Users/rtuge/Desktop"]),
    "EXPERIMENTAL_TASKS": json.dumps([task.name for task in TASKS.values() if task.experimental]),
}

FILE = "C:/Users/rtuge/Desktop/b.mp4"
COUNTS = {"snapshot_id", "count", "added", "removed", "changed"}

#: Task, its fields, the documented frames that it writes.
DOCUMENTED: list[tuple[str, dict[str, Any], list[str]]] = [
    ("send_message", {"chat": GROUP_CHAT, "text": "这里改成你的消息"}, ["send_group_text"]),
    ("send_message", {"chat": {"type": "friend", "id": FRIEND}, "text": "这里改成你的消息"}, ["send_friend_text"]),
    ("send_message", {"chat": GROUP_CHAT, "text": "发送多行文本\n123\n1234"}, ["send_multiline_text"]),
    ("send_file", {"chat": GROUP_CHAT, "path": FILE}, ["send_file"]),
    ("set_group_notice", {"group_id": GROUP, "notice": "新的群通知"}, ["group_update_notice", "send_notice_changed"]),
    ("mute_group", {"group_id": GROUP}, ["group_update_shutup", "send_group_shutup"]),
    ("mute_member", {"group_id": OWNED_GROUP, "user_id": MEMBER, "seconds": 3600}, ["group_member_shutup"]),
    ("sync_profile", {}, ["user_info"]),
    ("sync_contact", {"user_id": FRIEND}, ["contacts_detail"]),
    ("sync_friend_requests", {}, ["contacts_apply_list"]),
    ("sync_groups", {}, ["get_groups"]),
    ("sync_group", {"group_id": GROUP}, ["group_detail"]),
    ("sync_group_members", {"group_id": GROUP}, ["group_member_list"]),
    ("sync_group_requests", {}, ["group_requests"]),
    (
        "sync_online_status",
        {"group_id": GROUP, "user_ids": [7237423, 4008697, 4017572, 7128348]},
        ["group_member_online_status_list"],
    ),
    ("get_api_url", {}, ["get_api_url"]),
    ("restart_client", {}, ["restart68"]),
]


def result(reply: dict[str, Any]) -> dict[str, Any]:
    assert (reply["status"], reply["error"]) == ("succeeded", None), reply
    found: dict[str, Any] = reply["result"]
    return found


def check_time(text: Any) -> None:
    """RFC 3339 with an offset."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", text), text
    assert dt.datetime.fromisoformat(text).tzinfo is not None


def check_sent(sent: dict[str, Any]) -> None:
    assert sent.keys() == {"custom_msg_id", "message_id", "sent_at"}
    assert re.fullmatch(r"[1-9]\d{10}", sent["custom_msg_id"])
    assert type(sent["message_id"]) is int
    check_time(sent["sent_at"])


@pytest.mark.parametrize(("task", "fields", "frames"), DOCUMENTED, ids=[one[2][0] for one in DOCUMENTED])
def test_the_frames_on_the_wire_are_the_documented_ones(
    stage: Stage, task: str, fields: dict[str, Any], frames: list[str]
) -> None:
    before = len(stage.bridge.received)

    result(stage.run(task, **fields))

    # worker68 asks by itself for the API's address, at its start and after a restart.
    written = [one.frame for one in list(stage.bridge.received)[before:]]
    written = [frame for frame in written if frame["type"] != "getApiUrl" or task == "get_api_url"]
    assert [plain(frame) for frame in written] == [plain(KNOWN_REQUESTS[each]) for each in frames]
    for frame in written:
        if frame["type"] in ("sendMsg", "sendFile"):
            holder = frame if frame["type"] == "sendFile" else frame["data"]
            assert re.fullmatch(r"[1-9]\d{10}", holder["custom_msg_id"])


def test_a_reply_has_the_keys_of_the_contract_and_nothing_else(stage: Stage) -> None:
    reply = stage.run("sync_group", group_id=GROUP, metadata={"order": 7}, job_id=name())

    assert set(reply) == {
        *("job_id", "task_id", "task", "account", "status", "result", "error", "attempts"),
        *("received_at", "finished_at", "metadata", "revision", "reply_id", "reason"),
    }
    assert (reply["task"], reply["account"], reply["metadata"]) == ("worker68.sync_group", "main", {"order": 7})
    check_time(reply["received_at"])
    check_time(reply["finished_at"])


def test_sends(stage: Stage) -> None:
    check_sent(result(stage.run("send_message", chat=GROUP_CHAT, text=name())))
    check_sent(result(stage.run("send_file", chat=GROUP_CHAT, path=FILE)))


@pytest.mark.parametrize("announce", [True, False])
def test_a_notice(stage: Stage, announce: bool) -> None:
    words = name()

    told = result(stage.run("set_group_notice", group_id=GROUP, notice=words, announce=announce))

    assert told.keys() == {"notice_id", "announcement"}
    notice = stage.bridge.world.groups[GROUP].notice
    assert notice is not None
    assert (notice.text, notice.notice_id) == (words, told["notice_id"])
    assert stage.sent(words) == announce
    if announce:
        check_sent(told["announcement"])
    else:
        assert told["announcement"] is None


@pytest.mark.parametrize("announce", [True, False])
def test_a_mute_of_a_group_and_its_end(stage: Stage, announce: bool) -> None:
    group, before = stage.bridge.world.groups[GROUP], len(stage.bridge.sent)

    muted = result(stage.run("mute_group", group_id=GROUP, announce=announce))
    assert (muted["muted"], group.muted) == (True, True)
    lifted = result(stage.run("mute_group", group_id=GROUP, muted=False, announce=announce, announcement_text="again"))
    assert (lifted["muted"], group.muted) == (False, False)

    told = [message.text for message in list(stage.bridge.sent)[before:]]
    assert told == (["管理员开了全员禁言", "again"] if announce else [])
    for each in (muted, lifted):
        assert each.keys() == {"muted", "announcement"}
        if announce:
            check_sent(each["announcement"])
        else:
            assert each["announcement"] is None


def test_a_mute_of_a_member(stage: Stage) -> None:
    assert result(stage.run("mute_member", group_id=GROUP, user_id=MEMBER, seconds=61)) == {"seconds": 61}
    assert result(stage.run("mute_member", group_id=GROUP, user_id=MEMBER, seconds=0)) == {"seconds": 0}


def test_members_come_and_go_and_requests_are_answered(stage: Stage) -> None:
    world, chosen = stage.bridge.world, stage.bridge.world.group_requests[0]
    owned = world.groups[OWNED_GROUP]

    invited = result(stage.run("invite_members", group_id=OWNED_GROUP, user_ids=[FRIEND, STRANGER]))
    assert invited == {"done": [FRIEND], "failed": [STRANGER], "waiting": []}
    assert FRIEND in owned.members
    removed = result(stage.run("remove_members", group_id=OWNED_GROUP, user_ids=[FRIEND]))
    assert (removed, FRIEND in owned.members) == ({"done": [FRIEND], "failed": []}, False)
    told = result(stage.run("answer_group_request", request_id=chosen.request_id, accept=True))
    assert (told, chosen.uid in owned.members) == ({"accepted": True}, True)
    told = result(stage.run("answer_friend_request", user_id=STRANGER))
    assert (told, STRANGER in world.contacts) == ({"accepted": True}, True)
    stage.bridge.change(lambda world: world.drop_contact(STRANGER))


def test_single_reads(stage: Stage) -> None:
    profile = result(stage.run("sync_profile"))["profile"]
    assert (profile["user_id"], profile["name"]) == (ACCOUNT, "ID采集机器人🤖")
    check_time(profile["created_at"])

    contact = result(stage.run("sync_contact", user_id=FRIEND))["contact"]
    assert (contact["user_id"], contact["name"], contact["friend"]) == (FRIEND, "Pwgen", True)
    check_time(contact["created_at"])
    assert result(stage.run("sync_contact", user_id=STRANGER))["contact"]["friend"] is False

    group = result(stage.run("sync_group", group_id=GROUP))["group"]
    assert (group["group_id"], group["host_id"], group["member_count"]) == (GROUP, FRIEND, 4)
    assert (group["name"], group["role"]) == ("huimei", "admin")
    check_time(group["created_at"])

    assert result(stage.run("get_api_url")) == {"api_url": stage.bridge.world.api_url}


@pytest.mark.parametrize("task", ["sync_contacts", "sync_friend_requests", "sync_groups", "sync_group_requests"])
def test_a_list_of_the_account(stage: Stage, task: str) -> None:
    told = result(stage.run(task))

    assert told.keys() == COUNTS
    assert {type(value) for value in told.values()} == {int}


def test_a_list_of_a_group(stage: Stage) -> None:
    told = result(stage.run("sync_group_members", group_id=GROUP))

    assert told.keys() == {*COUNTS, "group_id"}
    assert (told["group_id"], told["count"]) == (GROUP, 4)


def test_online_status(stage: Stage) -> None:
    told = result(stage.run("sync_online_status", group_id=OWNED_GROUP))

    assert told.keys() == {"online", "offline", "checked"}
    assert set(told["online"] + told["offline"]) == set(stage.bridge.world.groups[OWNED_GROUP].members)
    assert ACCOUNT in told["online"]
    assert told["checked"] == len(told["online"]) + len(told["offline"])


def test_a_call_in_the_producers_own_words(stage: Stage) -> None:
    asked = {"type": "GroupMemberList", "path": "/group/groupMemberListV2", "proto_type": "group"}

    told = result(stage.run("request", **asked, data={"groupId": GROUP, "pageNum": 1, "pageSize": 2}))

    assert told.keys() == {"data"}
    assert told["data"]["commonResult"] == {"errCode": 200}
    assert told["data"]["count"] == "4", "as the bridge gave it"
    assert stage.calls("GroupMemberList")[-1] == {"groupId": GROUP, "pageNum": 1, "pageSize": 2}


def test_a_restart(stage: Stage) -> None:
    told = result(stage.run("restart_client"))

    assert told.keys() == {"restarted_in"}
    assert told["restarted_in"] > 0


def test_a_known_job_id_runs_nothing_again(stage: Stage) -> None:
    """Of any task: what is left out is the same as its default."""
    fields: dict[str, Any] = {"group_id": GROUP, "job_id": name()}
    first = stage.run("mute_group", **fields)
    again = stage.run("mute_group", **fields, muted=True, announce=True)
    other = stage.run("mute_group", **fields, muted=False)

    assert (again["reply_id"], again["result"]) == (first["reply_id"], first["result"])
    assert again["task_id"] != first["task_id"]
    assert (other["status"], other["error"]["code"]) == ("failed", "conflict")
    assert stage.bridge.world.groups[GROUP].muted


@pytest.mark.parametrize("knobs", [("swapped_numbers", "swapped_ranks"), ("left_out_defaults",)])
def test_the_same_said_otherwise_is_the_same(stage: Stage, knobs: tuple[str, ...]) -> None:
    stage.bridge.change(lambda world: setattr(world.groups[GROUP], "muted", False))
    jobs: list[tuple[str, dict[str, Any]]] = [
        ("sync_profile", {}),
        ("sync_contact", {"user_id": FRIEND}),
        ("sync_contact", {"user_id": STRANGER}),
        ("sync_group", {"group_id": GROUP}),
        ("sync_group", {"group_id": OWNED_GROUP}),
    ]
    lists: list[tuple[str, dict[str, Any]]] = [
        ("sync_contacts", {}),
        ("sync_groups", {}),
        ("sync_group_members", {"group_id": OWNED_GROUP}),
        ("sync_friend_requests", {}),
        ("sync_group_requests", {}),
    ]
    plainly = [result(stage.run(task, **fields)) for task, fields in jobs]
    for task, fields in lists:
        result(stage.run(task, **fields))

    for knob in knobs:
        setattr(stage.bridge.faults.spelling, knob, True)

    assert [result(stage.run(task, **fields)) for task, fields in jobs] == plainly
    for task, fields in lists:
        told = result(stage.run(task, **fields))
        assert (told["added"], told["removed"], told["changed"]) == (0, 0, 0), task
        assert "complete" not in told
    status = result(stage.run("sync_online_status", group_id=OWNED_GROUP, user_ids=[MEMBER]))
    assert status["checked"] == 1
    notice = result(stage.run("set_group_notice", group_id=GROUP, notice=name()))
    assert type(notice["notice_id"]) is int


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("sync_contacts", {}),
        ("sync_group_members", {"group_id": GROUP}),
        ("sync_profile", {}),
        ("sync_online_status", {"group_id": OWNED_GROUP, "user_ids": [STRANGER]}),
        ("set_group_notice", {"group_id": OWNED_GROUP, "notice": "never set"}),
        ("request", {"type": "UserInfo", "path": "/user/userInfo"}),
    ],
)
@pytest.mark.parametrize("how", ["service_errors", "bare_integers"])
def test_a_no_inside_the_data_is_a_no(stage: Stage, task: str, fields: dict[str, Any], how: str) -> None:
    getattr(stage.bridge.faults, how).set(1)

    reply = stage.run(task, **fields)

    assert (reply["status"], reply["result"]) == ("failed", None)
    assert (reply["error"]["code"], reply["error"]["bridge_code"]) == ("refused", 1021)
