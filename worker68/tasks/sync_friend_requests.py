"""``worker68.sync_friend_requests``: who asks to be a friend, into the table ``friend_requests`` (ContactsApplyList [doc])."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker68.jobs.evidence import Evidence
from worker68.jobs.fields import NoFields
from worker68.jobs.snapshot import FRIEND_REQUESTS, FriendRequestRow
from worker68.jobs.task import JobClass, Task, read
from worker68.protocol import api
from worker68.protocol.entries import User, decode_entry, name_of
from worker68.protocol.values import read_id, read_text, read_time
from worker68.tasks.lists import Entries, ListReply, entries_of
from worker68.tasks.paging import ListSource, read_list
from worker68.tasks.turn import Finding, Turn


class _Requests(ListReply):
    recordList: list[msgspec.Raw] | None = None


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


async def _ask(turn: Turn, _: int) -> Evidence:
    return await turn.ask(api.CONTACTS_APPLY_LIST, reply_shape=_Requests)


def _entries(data: Any) -> Entries | None:
    return entries_of(data, data.recordList) if isinstance(data, _Requests) else None


_SOURCE = ListSource(FRIEND_REQUESTS, _ask, _entries, read_friend_request, paged=False)


async def sync_friend_requests(turn: Turn) -> Finding:
    return await read_list(turn, _SOURCE)


TASK: Final = Task(
    "worker68.sync_friend_requests",
    "Bring the list of those who ask to be a friend into the database.",
    NoFields,
    JobClass.SYNC,
    (read(sync_friend_requests, api.CONTACTS_APPLY_LIST.type),),
    result="`snapshot_id`, `count`, `added`, `removed`, `changed`",
    sync_name="friend-requests",
    wait_seconds=600.0,
)
