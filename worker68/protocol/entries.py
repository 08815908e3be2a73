"""What the entries of the bridge's lists and the replies about one thing have in common: users, roles, notices.

In: the JSON of one entry, or a part of a reply. Out: its parts in worker68's own types, or None. Never: an exception for what the
bridge wrote; one entry that cannot be read costs no other.

Where a field stands, and what its absence means: PROTOCOL.md, Requests and replies, and the documented frames. [doc/seen]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from worker68.jobs.snapshot import Role
from worker68.protocol.values import decode_json, read_id, read_int, read_text

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


def decode_entry(raw: msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Return an entry, None where it has another shape."""
    try:
        return decode_json(raw, decoder)
    except (msgspec.ValidationError, ValueError):
        return None


def describe_person(user: User) -> dict[str, Any]:
    """Return a user as a reply shows one."""
    return {
        "user_id": read_id(user.uid),
        "name": name_of(user),
        "handle": read_text(user.identify),
        "icon": read_text(user.icon),
    }
