"""``worker68.sync_friend_requests``: who asks to be a friend, into the table ``friend_requests`` (ContactsApplyList [doc])."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker68.jobs.snapshot import FRIEND_REQUESTS, FriendRequestRow
from worker68.protocol import api
from worker68.protocol.entries import User, decode_entry, name_of
from worker68.protocol.values import read_id, read_text, read_time
from worker68.tasks.lists import list_of_service, list_task


class _Request(msgspec.Struct):
    userInfo: User
    msg: Any = None
    type: Any = None
    modifyTime: Any = None


_request = msgspec.json.Decoder(_Request)


def read_friend_request(raw: msgspec.Raw) -> FriendRequestRow | None:
    entry = decode_entry(raw, _request)
    user_id = read_id(entry.userInfo.uid) if entry else None
    if entry is None or user_id is None:
        return None
    user = entry.userInfo
    return FriendRequestRow(
        user_id,
        name_of(user),
        handle=read_text(user.identify),
        icon=read_text(user.icon),
        message=read_text(entry.msg),
        kind=read_text(entry.type),
        requested_at=read_time(entry.modifyTime),
    )


_SOURCE = list_of_service(FRIEND_REQUESTS, api.CONTACTS_APPLY_LIST, "recordList", read_friend_request)

TASK: Final = list_task(
    "worker68.sync_friend_requests",
    "Bring the list of those who ask to be a friend into the database.",
    _SOURCE,
    api.CONTACTS_APPLY_LIST.type,
    sync_name="friend-requests",
)
