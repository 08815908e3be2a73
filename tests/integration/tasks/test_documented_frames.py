"""What each task writes to the bridge is the documented frame, or the one that was seen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.tasks.acting import GROUP_CHAT, act
from tests.parts.frames import KNOWN_REQUESTS, plain
from worker68.bridge.link import Link
from worker68.jobs.outcome import TryAgain
from worker68.simulator import Simulator
from worker68.simulator.population import (
    FRIEND,
    MANAGED_GROUP,
    MUTABLE_MEMBER,
    OWNED_GROUP,
)

#: The page before the first, which is answered with the documented error; contacts without a page; a read-back. The last two are
#: in the tests of their tasks.
NOT_WRITTEN_FIRST = {"group_req_list_error", "contacts_list", "contact_in_group"}

#: Frame -> the task, the step, and the fields that lead to it.
KNOWN: dict[str, tuple[str, int, dict[str, Any]]] = {
    "user_info": ("sync_profile", 0, {}),
    "group_requests": ("sync_group_requests", 0, {}),
    "get_groups": ("sync_groups", 0, {}),
    "send_friend_text": ("send_message", 0, {"chat": {"type": "friend", "id": FRIEND}, "text": "这里改成你的消息"}),
    "send_group_text": ("send_message", 0, {"chat": GROUP_CHAT, "text": "这里改成你的消息"}),
    "get_groups_2": ("sync_groups", 0, {}),
    "group_member_list": ("sync_group_members", 0, {"group_id": MANAGED_GROUP}),
    "contacts_detail": ("sync_contact", 0, {"user_id": FRIEND}),
    "contacts_apply_list": ("sync_friend_requests", 0, {}),
    "group_member_online_status_list": (
        "sync_online_status",
        0,
        {"group_id": MANAGED_GROUP, "user_ids": [7237423, 4008697, 4017572, 7128348]},
    ),
    "group_detail": ("sync_group", 0, {"group_id": MANAGED_GROUP}),
    "send_file": ("send_file", 0, {"chat": GROUP_CHAT, "path": "C:/Users/rtuge/Desktop/b.mp4"}),
    "get_api_url": ("get_api_url", 0, {}),
    "send_multiline_text": ("send_message", 0, {"chat": GROUP_CHAT, "text": "发送多行文本\n123\n1234"}),
    "group_update_notice": ("set_group_notice", 0, {"group_id": MANAGED_GROUP, "notice": "新的群通知"}),
    "send_notice_changed": ("set_group_notice", 1, {"group_id": MANAGED_GROUP, "notice": "新的群通知"}),
    "group_update_shutup": ("mute_group", 0, {"group_id": MANAGED_GROUP}),
    "send_group_shutup": ("mute_group", 1, {"group_id": MANAGED_GROUP}),
    "group_member_shutup": (
        "mute_member",
        0,
        {"group_id": OWNED_GROUP, "user_id": MUTABLE_MEMBER, "seconds": 3600},
    ),
    "restart68": ("restart_client", 0, {}),
}


def test_every_known_frame_is_written_by_some_task() -> None:
    assert KNOWN.keys() == KNOWN_REQUESTS.keys() - NOT_WRITTEN_FIRST


@pytest.mark.parametrize("name", KNOWN)
def test_the_frame_on_the_wire_is_the_known_one(name: str, simulated_link: Link, simulated: Simulator) -> None:
    task, step, fields = KNOWN[name]
    before = len(simulated.received)
    finding = act(simulated_link, task, step=step, **fields)
    assert not isinstance(finding, TryAgain), finding
    written = simulated.received[before].frame
    assert plain(written) == plain(KNOWN_REQUESTS[name])
    if written["type"] == "sendFile":
        assert written["custom_msg_id"] == "10000000001"
    elif written["type"] == "sendMsg":
        assert written["data"]["custom_msg_id"] == "10000000001"
