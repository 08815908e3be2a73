"""Entries of the bridge's lists, as rows of ours.

In: the JSON of one entry. Out: its row, or None where it has no usable id. Never: an exception for what the bridge wrote; one
entry that cannot be read costs no other.

Where a field stands, and what its absence means: PROTOCOL.md, Requests and replies, and the documented frames. [doc/seen] No
reply with requests to join a group is documented: they are read like their twins, the friend requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from worker68.bridge.values import decode_json, read_id, read_int, read_text, read_time
from worker68.jobs.snapshot import ContactRow, FriendRequestRow, GroupRequestRow, GroupRow, MemberRow, Role

T = TypeVar("T")

#: Rank: a number in getGroups, a word in GroupDetail and among members; the default (host) may be left out. [doc/seen]
ROLES: Mapping[Any, Role] = {
    0: "host",
    1: "admin",
    2: "member",
    "HOST": "host",
    "MANAGE": "admin",
    "MEMBER": "member",
}


class User(msgspec.Struct):
    """``userInfo`` and ``user``."""

    uid: Any = None
    nickName: Any = None
    icon: Any = None
    identify: Any = None
    signature: Any = None
    createTime: Any = None
    friendRelation: Any = None
    userOnOrOffline: Any = None


class _Contact(msgspec.Struct):
    userInfo: User


class _Member(msgspec.Struct):
    user: User
    type: Any = None
    memberType: Any = None


class _Request(msgspec.Struct):
    userInfo: User
    msg: Any = None
    type: Any = None
    modifyTime: Any = None
    groupId: Any = None
    groupName: Any = None


class _Group(msgspec.Struct):
    id: Any = None
    name: Any = None
    hostId: Any = None
    memberCount: Any = None
    memberType: Any = None
    bfShutup: Any = None
    groupNotice: Any = None


_contact = msgspec.json.Decoder(_Contact)
_member = msgspec.json.Decoder(_Member)
_request = msgspec.json.Decoder(_Request)
_group = msgspec.json.Decoder(_Group)


def read_contact(raw: msgspec.Raw) -> ContactRow | None:
    entry = _decode(raw, _contact)
    user_id = read_id(entry.userInfo.uid) if entry else None
    if entry is None or user_id is None:
        return None
    user = entry.userInfo
    return ContactRow(user_id, name_of(user), read_text(user.identify), read_text(user.icon), is_friend(user))


def read_member(raw: msgspec.Raw) -> MemberRow | None:
    """Return a member. Its ``identify`` is hidden in a group [doc], so it has no handle."""
    entry = _decode(raw, _member)
    user_id = read_id(entry.user.uid) if entry else None
    if entry is None or user_id is None:
        return None
    user = entry.user
    rank = entry.type if entry.type is not None else entry.memberType
    return MemberRow(user_id, name_of(user), read_text(user.icon), read_role(rank), is_friend(user))


def read_friend_request(raw: msgspec.Raw) -> FriendRequestRow | None:
    entry = _decode(raw, _request)
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


def read_group_request(raw: msgspec.Raw) -> GroupRequestRow | None:
    entry = _decode(raw, _request)
    user_id = read_id(entry.userInfo.uid) if entry else None
    if entry is None or user_id is None:
        return None
    return GroupRequestRow(
        user_id,
        read_id(entry.groupId) or 0,
        name_of(entry.userInfo),
        group_name=read_text(entry.groupName),
        message=read_text(entry.msg),
        requested_at=read_time(entry.modifyTime),
    )


def read_group(raw: msgspec.Raw) -> GroupRow | None:
    """Return a group as getGroups gives it."""
    entry = _decode(raw, _group)
    group_id = read_id(entry.id) if entry else None
    if entry is None or group_id is None:
        return None
    return GroupRow(
        group_id,
        read_text(entry.name) or "",
        host_id=read_id(entry.hostId),
        member_count=read_int(entry.memberCount),
        role=read_role(entry.memberType),
        muted=entry.bfShutup is True,
        notice=read_notice(entry.groupNotice)[1],
    )


def read_notice(value: Any) -> tuple[int | None, str | None]:
    """Return id and text of a ``groupNotice``; both None where there is none."""
    if not isinstance(value, dict):
        return None, None
    return read_id(value.get("noticeId")), read_text(value.get("notice"))


def name_of(user: User) -> str:
    return read_text(user.nickName) or ""


def is_friend(user: User) -> bool:
    """``bfFriend`` absent: not a friend. [seen]"""
    relation = user.friendRelation
    return isinstance(relation, dict) and relation.get("bfFriend") is True


def read_role(rank: Any) -> Role | None:
    """Return the role that a rank means; None where it means nothing."""
    if rank is None:
        return "host"
    return ROLES.get(rank if isinstance(rank, str) and rank in ROLES else read_int(rank))


def _decode(raw: msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    try:
        return decode_json(raw, decoder)
    except (msgspec.ValidationError, ValueError):
        return None
