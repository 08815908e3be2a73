"""``worker68.sync_group_members``: a group's members, brought into the table ``group_members`` (GroupMemberList V2 [doc])."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import msgspec

from worker68.jobs.fields import OneGroup
from worker68.jobs.snapshot import GROUP_MEMBERS, MemberRow
from worker68.protocol import api
from worker68.protocol.entries import User, decode_entry, is_friend, name_of, read_role
from worker68.protocol.values import read_id, read_text
from worker68.tasks.lists import CHANGES, list_of_service, list_task
from worker68.tasks.paging import read_list
from worker68.tasks.turn import Finding, Turn


class _Member(msgspec.Struct):
    user: User
    type: Any = None
    memberType: Any = None


_member = msgspec.json.Decoder(_Member)


def read_member(raw: msgspec.Raw) -> MemberRow | None:
    """Return a member. Its ``identify`` is hidden in a group [doc], so it has no handle."""
    entry = decode_entry(raw, _member)
    user_id = read_id(entry.user.uid) if entry else None
    if entry is None or user_id is None:
        return None
    user = entry.user
    rank = entry.type if entry.type is not None else entry.memberType
    return MemberRow(user_id, name_of(user), read_text(user.icon), read_role(rank), is_friend(user))


#: The largest page of GroupMemberList. [doc]
_SOURCE = list_of_service(GROUP_MEMBERS, api.GROUP_MEMBER_LIST, "members", read_member, page_size=1000)


async def read_members(turn: Turn, group_id: int) -> Finding:
    """Read the members of the group that the job names, ``group_id``."""
    return await read_list(turn, _SOURCE, group_id)


TASK: Final = replace(
    list_task(
        "worker68.sync_group_members",
        "Bring a group's members into the database.",
        _SOURCE,
        api.GROUP_MEMBER_LIST.type,
        sync_name="members",
    ),
    fields=OneGroup,
    result=f"{CHANGES}, `group_id`",
    example={"group_id": 520117},
    subject_of=lambda fields: str(fields.group_id),
)
