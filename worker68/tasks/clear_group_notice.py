"""``worker68.clear_group_notice``: clear a group's notice.

Frame: GroupUpdate ``op`` 13. [seen] Read-back: GroupDetail shows no notice.
"""

from __future__ import annotations

from typing import Final

from worker68.jobs.fields import OneGroup, in_group
from worker68.jobs.outcome import Outcome, TryAgain, succeeded
from worker68.jobs.task import JobClass, Task, change
from worker68.protocol import api
from worker68.protocol.entries import read_notice
from worker68.tasks.turn import Turn

#: ``op`` of GroupUpdate. [doc/seen]
CLEAR_NOTICE = 13

_CLEARED = succeeded({"notice_id": None})


async def clear(turn: Turn, fields: OneGroup) -> Outcome | TryAgain:
    data = {"op": CLEAR_NOTICE, "groupParam": {"groupId": fields.group_id}}
    return await turn.change(api.GROUP_UPDATE, data, _CLEARED)


async def is_cleared(turn: Turn, fields: OneGroup) -> Outcome | None:
    """Return the success where GroupDetail shows the group without a notice, None where it shows one, or no group."""
    detail = await turn.show(api.GROUP_DETAIL, {"groupId": fields.group_id})
    if not isinstance(detail.get("group"), dict):
        return None
    _, notice = read_notice(detail.get("groupNotice"))
    return None if notice else _CLEARED


TASK: Final = Task(
    "worker68.clear_group_notice",
    "Clear a group's notice.",
    OneGroup,
    JobClass.MODERATION,
    (change(clear, api.GROUP_UPDATE.type, is_cleared),),
    result="`notice_id` (null)",
    example={"group_id": 389284},
    chat_of=in_group,
    experimental=True,
    wait_seconds=150.0,
)
