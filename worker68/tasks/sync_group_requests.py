"""``worker68.sync_group_requests``: requests about groups, brought into the table ``group_requests``.

Frame: GroupReqList, its pages from 1: page 0 is answered 300. [doc] The shape of its reply is [seen].
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker68.jobs.snapshot import GROUP_REQUESTS, GroupRequestRow
from worker68.protocol import api
from worker68.protocol.entries import User, decode_entry, name_of
from worker68.protocol.values import read_id, read_int, read_text, read_time
from worker68.tasks.lists import list_of_service, list_task
from worker68.tasks.paging import read_list
from worker68.tasks.turn import Finding, Turn

#: ``groupReqType`` by its number, in words after the client's own for them. [seen] The list holds notices too: 6 to 13, 16 to 18.
KINDS: Final = (
    "transfer",
    "invite",
    "qr_code",
    "owner_check_invite",
    "owner_check_qr_code",
    "member_check",
    "owner_remove_member",
    "member_exit",
    "set_admin",
    "cancel_admin",
    "admin_update",
    "is_disabled",
    "member_shutup",
    "is_disbanded",
    "link",
    "alias",
    "is_enabled",
    "observe_add",
    "observe_remove",
)
#: ``groupReqStatus``, and the client's own words for it. [seen]
STATUSES: Final = ("open", "agreed", "refused", "expired")
_STATUS_WORDS: Final = {"CHECKING": "open", "AGREE": "agreed", "REFUSE": "refused", "EXPIRE": "expired"}


class _Request(msgspec.Struct):
    """Of the two enumerations the default, 0, is left out. [seen]"""

    fromUser: User
    groupReqId: Any = None
    groupId: Any = None
    groupName: Any = None
    groupHostUid: Any = None
    targetUser: User | None = None
    groupReqType: Any = 0
    groupReqStatus: Any = 0
    msg: Any = None
    createTime: Any = None
    updateTime: Any = None


_request = msgspec.json.Decoder(_Request)


def read_group_request(raw: msgspec.Raw) -> GroupRequestRow | None:
    entry = decode_entry(raw, _request)
    if entry is None:
        return None
    request_id, user_id = read_id(entry.groupReqId), read_id(entry.fromUser.uid)
    if request_id is None or user_id is None:
        return None
    target = entry.targetUser
    return GroupRequestRow(
        request_id,
        read_id(entry.groupId) or 0,
        user_id,
        name_of(entry.fromUser),
        target_id=read_id(target.uid) if target else None,
        target_name=name_of(target) if target else None,
        group_name=read_text(entry.groupName),
        host_id=read_id(entry.groupHostUid),
        kind=_read_kind(entry.groupReqType),
        status=_read_status(entry.groupReqStatus),
        message=read_text(entry.msg),
        requested_at=read_time(entry.createTime),
        changed_at=read_time(entry.updateTime),
    )


def _read_kind(value: Any) -> str | None:
    """Return a kind in words, whether it came as a number or as a word; one that is not known as it came."""
    number = read_int(value)
    if number is not None:
        return KINDS[number] if 0 <= number < len(KINDS) else str(number)
    word = read_text(value)
    return None if word is None else word.removeprefix("GROUP_").lower().replace("cancle", "cancel")


def _read_status(value: Any) -> str | None:
    number = read_int(value)
    if number is not None:
        return STATUSES[number] if 0 <= number < len(STATUSES) else str(number)
    word = read_text(value)
    return None if word is None else _STATUS_WORDS.get(word, word.lower())


#: Pages as large as the documented GroupReqList asks for. [doc]
_SOURCE = list_of_service(GROUP_REQUESTS, api.GROUP_REQ_LIST, "groupReqs", read_group_request, page_size=100)


async def read_group_requests(turn: Turn) -> Finding:
    """Read all requests of the account."""
    return await read_list(turn, _SOURCE)


TASK: Final = list_task(
    "worker68.sync_group_requests",
    "Bring the requests about groups into the database: who asks to be let in, and who invites.",
    _SOURCE,
    api.GROUP_REQ_LIST.type,
    sync_name="group-requests",
)
