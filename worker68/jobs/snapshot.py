"""What a sync saw at the bridge, in worker68's own types, on its way from the bridge to the snapshot tables.

The fields of a row are columns of its list's table, under the same names and in the same order (``store/tables.py``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

Role = Literal["host", "admin", "member"]
ListName = Literal["contacts", "groups", "group_members", "friend_requests", "group_requests"]


class ContactRow(msgspec.Struct, frozen=True, array_like=True):
    """An entry of the account's list of contacts. ``handle``: the name by which a user chose to be found."""

    user_id: int
    name: str
    handle: str | None
    icon: str | None
    friend: bool


class GroupRow(msgspec.Struct, frozen=True, array_like=True):
    """A group that the account is in. ``role``: the account's own (``host``, ``admin``, ``member``)."""

    group_id: int
    name: str
    host_id: int | None
    member_count: int | None
    role: str | None
    muted: bool | None
    notice: str | None


class MemberRow(msgspec.Struct, frozen=True, array_like=True):
    """A member of one group. ``role``: ``host``, ``admin``, ``member``; ``friend``: of the account."""

    user_id: int
    name: str
    icon: str | None
    role: str | None
    friend: bool


class FriendRequestRow(msgspec.Struct, frozen=True, array_like=True):
    """A user who asks to be a friend. ``kind``: the bridge's ``type``, such as ``IDENTIFY``."""

    user_id: int
    name: str
    handle: str | None
    icon: str | None
    message: str | None
    kind: str | None
    requested_at: dt.datetime | None


class GroupRequestRow(msgspec.Struct, frozen=True, array_like=True):
    """A request about a group: to be let in, or to come in. ``group_id``: 0 where the bridge names none.

    ``user_id``, ``name``: the applicant, or who invites. ``target_id``: who is to be in the group. ``kind``, ``status``:
    ``tasks/sync_group_requests.py``. ``changed_at``: when the service changed it last.
    """

    request_id: int
    group_id: int
    user_id: int
    name: str
    target_id: int | None
    target_name: str | None
    group_name: str | None
    host_id: int | None
    kind: str | None
    status: str | None
    message: str | None
    requested_at: dt.datetime | None
    changed_at: dt.datetime | None


Row = ContactRow | GroupRow | MemberRow | FriendRequestRow | GroupRequestRow


@dataclass(frozen=True)
class ListKind:
    """A list that snapshots are taken of."""

    #: ``snapshots.kind``, and the name of the table that holds the list as it is now.
    name: ListName
    row: type[Row]
    #: The fields that identify an entry; the first is ``snapshot_changes.subject``.
    key: tuple[str, ...]
    #: There is one such list for each group: the snapshot's ``subject_id`` is the group.
    by_group: bool = False
    #: Its entries are meant to vanish, many at once if need be: the shrink guard leaves it alone.
    pending: bool = False


CONTACTS: Final = ListKind("contacts", ContactRow, ("user_id",))
GROUPS: Final = ListKind("groups", GroupRow, ("group_id",))
GROUP_MEMBERS: Final = ListKind("group_members", MemberRow, ("user_id",), by_group=True)
FRIEND_REQUESTS: Final = ListKind("friend_requests", FriendRequestRow, ("user_id",), pending=True)
GROUP_REQUESTS: Final = ListKind("group_requests", GroupRequestRow, ("request_id", "group_id"), pending=True)

LISTS: Final = (CONTACTS, GROUPS, GROUP_MEMBERS, FRIEND_REQUESTS, GROUP_REQUESTS)


@dataclass(frozen=True)
class ListSeen:
    """What was read of a list, page by page."""

    kind: ListKind
    #: The group, where the list is of one group.
    subject_id: int | None
    #: May be iterated more than once. Of several rows with the same key the last one holds.
    rows: Iterable[Row]
    #: Read to its end, every entry readable.
    whole: bool
    #: How many entries there are, as the service says.
    announced: int | None
    #: In words: why it is not whole.
    note: str | None = None
