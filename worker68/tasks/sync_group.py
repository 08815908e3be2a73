"""``worker68.sync_group``: read one group's detail (GroupDetail [doc]); nothing of it goes into the tables."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker68.jobs.evidence import judge_request
from worker68.jobs.fields import OneGroup
from worker68.jobs.outcome import Outcome, TryAgain, succeeded
from worker68.jobs.task import JobClass, Task, read
from worker68.protocol import api
from worker68.protocol.entries import read_notice, read_role
from worker68.protocol.values import read_id, read_int, read_text, read_time
from worker68.tasks.turn import Turn, data_of, holds_no


class _GroupBase(msgspec.Struct):
    groupId: Any = None
    hostId: Any = None
    name: Any = None
    createTime: Any = None
    memberCount: Any = None
    groupAliasName: Any = None
    bfShutup: Any = None


class _Group(msgspec.Struct):
    group: _GroupBase
    commonResult: Any = None
    groupNotice: Any = None
    memberType: Any = None
    bfShutup: Any = None


async def sync_group(turn: Turn, fields: OneGroup) -> Outcome | TryAgain:
    """Read one group. ``muted`` is null where the reply does not say: no documented one does."""
    finding = judge_request(await turn.ask(api.GROUP_DETAIL, {"groupId": fields.group_id}, reply_shape=_Group))
    detail = data_of(finding)
    if detail is None:
        return finding
    if not isinstance(detail, _Group) or read_id(detail.group.groupId) is None:
        return holds_no("group")
    base = detail.group
    notice_id, notice = read_notice(detail.groupNotice)
    muted = base.bfShutup if isinstance(base.bfShutup, bool) else detail.bfShutup
    group = {
        "group_id": read_id(base.groupId),
        "name": read_text(base.name) or "",
        "host_id": read_id(base.hostId),
        "member_count": read_int(base.memberCount),
        "role": read_role(detail.memberType),
        "muted": muted if isinstance(muted, bool) else None,
        "notice_id": notice_id,
        "notice": notice,
        "alias": read_text(base.groupAliasName),
        "created_at": read_time(base.createTime),
    }
    return succeeded({"group": group})


TASK: Final = Task(
    "worker68.sync_group",
    "Read one group's detail.",
    OneGroup,
    JobClass.SYNC,
    (read(sync_group, api.GROUP_DETAIL.type),),
    result="`group`",
    example={"group_id": 389284},
    subject_of=lambda fields: str(fields.group_id),
    sync_name="group",
)
