"""``worker68.remove_members``: take members out of a group.

Frame: GroupMember ``op`` 1. [seen] Read-back: GroupMemberList shows who is still there. [doc]
"""

from __future__ import annotations

from typing import Final

from worker68.jobs.fields import in_group
from worker68.jobs.outcome import ErrorCode, JobError, Outcome, Status, TryAgain, succeeded
from worker68.jobs.task import JobClass, Task, change
from worker68.protocol import api
from worker68.tasks.membership import REMOVE, SomeMembers, change_members, find_members
from worker68.tasks.turn import Turn, is_success


async def remove(turn: Turn, fields: SomeMembers) -> Outcome | TryAgain:
    """Remove them; then look who is gone, because the reply does not say it for each. [seen]

    Where the list cannot be read the service's word counts, as for every other change.
    """
    finding = await change_members(turn, fields, REMOVE)
    if not is_success(finding):
        return finding
    there = await find_members(turn, fields) or set()
    result = {
        "done": [user_id for user_id in fields.wanted if user_id not in there],
        "failed": [user_id for user_id in fields.wanted if user_id in there],
    }
    if result["done"]:
        return succeeded(result)
    error = JobError(ErrorCode.REFUSED, "the service said that it removed them, and all of them are members still")
    return Outcome(Status.FAILED, result, error)


async def are_gone(turn: Turn, fields: SomeMembers) -> Outcome | None:
    """Return the success where none of them is a member, None where one still is, or nothing shows it."""
    there = await find_members(turn, fields)
    return succeeded({"done": fields.wanted, "failed": []}) if there == set() else None


TASK: Final = Task(
    "worker68.remove_members",
    "Take members out of a group.",
    SomeMembers,
    JobClass.MODERATION,
    (change(remove, api.GROUP_MEMBER.type, are_gone),),
    result="`done`, `failed` (ids)",
    example={"group_id": 441298, "user_ids": [7237423]},
    chat_of=in_group,
    experimental=True,
    wait_seconds=300.0,
)
