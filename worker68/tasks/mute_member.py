"""``worker68.mute_member``: mute a member of a group for some seconds, or lift it.

Frame: GroupMemberShutup. [doc] Read-back: none; that a member's detail shows his mute is [seen].
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from worker68.jobs.fields import Id, in_group
from worker68.jobs.judge import judge_request
from worker68.jobs.outcome import Outcome, TryAgain, succeeded
from worker68.jobs.task import JobClass, Task, change
from worker68.protocol import api
from worker68.tasks.turn import Turn, is_success

#: ``shutupTime`` that lifts a mute. [seen]
LIFT = -1


class MuteMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``seconds``: 0 lifts the mute."""

    group_id: Id
    user_id: Id
    seconds: Annotated[int, Meta(ge=0, le=2**31 - 1)]


async def mute_member(turn: Turn) -> Outcome | TryAgain:
    fields = turn.job.fields
    assert isinstance(fields, MuteMember)
    data = {"targetUid": fields.user_id, "shutupTime": fields.seconds or LIFT, "groupId": fields.group_id}
    finding = judge_request(await turn.ask(api.GROUP_MEMBER_SHUTUP, data, limit="moderate"))
    return succeeded({"seconds": fields.seconds}) if is_success(finding) else finding


TASK: Final = Task(
    "worker68.mute_member",
    "Mute a member of a group for some seconds, or lift it.",
    MuteMember,
    JobClass.MODERATION,
    (change(mute_member, api.GROUP_MEMBER_SHUTUP.type),),
    result="`seconds`",
    example={"group_id": 441298, "user_id": 7128348, "seconds": 600},
    chat_of=in_group,
    wait_seconds=150.0,
)
