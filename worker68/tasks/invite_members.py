"""``worker68.invite_members``: bring friends into a group.

Frame: GroupMember ``op`` 0; its reply names those who are no friends, and those who must be approved first. [seen] Read-back:
GroupMemberList shows who is there [doc]; it shows none of those who wait.
"""

from __future__ import annotations

from typing import Any, Final

from worker68.jobs.fields import in_group
from worker68.jobs.outcome import ErrorCode, JobError, Outcome, Status, TryAgain, succeeded
from worker68.jobs.task import JobClass, Task, change
from worker68.protocol import api
from worker68.protocol.values import read_id
from worker68.tasks.membership import ADD, SomeMembers, change_members, find_members
from worker68.tasks.turn import Turn, data_of, is_success


async def invite(turn: Turn, fields: SomeMembers) -> Outcome | TryAgain:
    finding = await change_members(turn, fields, ADD)
    if not is_success(finding):
        return finding
    reply = data_of(finding)
    strangers, waiting = (_ids(reply, name) for name in ("notFriendUids", "needCheckUids"))
    result = {
        "done": [user_id for user_id in fields.wanted if user_id not in strangers | waiting],
        "failed": [user_id for user_id in fields.wanted if user_id in strangers],
        "waiting": [user_id for user_id in fields.wanted if user_id in waiting - strangers],
    }
    if result["done"] or result["waiting"]:
        return succeeded(result)
    return Outcome(Status.FAILED, result, JobError(ErrorCode.REFUSED, "none of them is a friend of the account"))


async def are_there(turn: Turn, fields: SomeMembers) -> Outcome | None:
    """Return the success where all of them are members, None where one is not, or nothing shows it."""
    there = await find_members(turn, fields)
    return succeeded({"done": fields.wanted, "failed": [], "waiting": []}) if there == set(fields.wanted) else None


def _ids(reply: Any, name: str) -> set[int]:
    """Return the ids of a list in the reply; an empty one is left out. [doc/seen]"""
    listed = reply.get(name) if isinstance(reply, dict) else None
    return {user_id for each in listed if (user_id := read_id(each))} if isinstance(listed, list) else set()


TASK: Final = Task(
    "worker68.invite_members",
    "Bring friends into a group.",
    SomeMembers,
    JobClass.MODERATION,
    (change(invite, api.GROUP_MEMBER.type, are_there),),
    result="`done`, `failed`, `waiting` (ids; those who wait must be approved first)",
    example={"group_id": 441298, "user_ids": [7237423]},
    chat_of=in_group,
    experimental=True,
    wait_seconds=300.0,
)
