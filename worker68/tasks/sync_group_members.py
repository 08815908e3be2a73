"""``worker68.sync_group_members``: a group's members, brought into the table ``group_members`` (GroupMemberList V2 [doc])."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker68.jobs.evidence import Evidence
from worker68.jobs.fields import OneGroup
from worker68.jobs.snapshot import GROUP_MEMBERS, MemberRow
from worker68.jobs.task import JobClass, Task, read
from worker68.protocol import api
from worker68.protocol.entries import User, decode_entry, is_friend, name_of, read_role
from worker68.protocol.values import read_id, read_text
from worker68.tasks.lists import Entries, ListReply, entries_of
from worker68.tasks.paging import ListSource, read_list
from worker68.tasks.turn import Finding, Turn

#: The largest page of GroupMemberList. [doc]
MEMBERS_A_PAGE = 1000


class _Members(ListReply):
    members: list[msgspec.Raw] | None = None


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


async def _ask(turn: Turn, number: int) -> Evidence:
    fields: Any = turn.job.fields
    data = {"groupId": fields.group_id, "pageSize": MEMBERS_A_PAGE, "pageNum": number}
    return await turn.ask(api.GROUP_MEMBER_LIST, data, reply_shape=_Members)


def _entries(data: Any) -> Entries | None:
    return entries_of(data, data.members) if isinstance(data, _Members) else None


_SOURCE = ListSource(GROUP_MEMBERS, _ask, _entries, read_member, page_size=MEMBERS_A_PAGE)


async def read_members(turn: Turn, group_id: int) -> Finding:
    """Read the members of the group that the job names, ``group_id``."""
    return await read_list(turn, _SOURCE, group_id)


async def sync_group_members(turn: Turn) -> Finding:
    fields = turn.job.fields
    assert isinstance(fields, OneGroup)
    return await read_members(turn, fields.group_id)


TASK: Final = Task(
    "worker68.sync_group_members",
    "Bring a group's members into the database.",
    OneGroup,
    JobClass.SYNC,
    (read(sync_group_members, api.GROUP_MEMBER_LIST.type),),
    result="`snapshot_id`, `count`, `added`, `removed`, `changed`, `group_id`",
    example={"group_id": 520117},
    subject_of=lambda fields: str(fields.group_id),
    sync_name="members",
    wait_seconds=600.0,
)
