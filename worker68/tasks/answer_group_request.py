"""``worker68.answer_group_request``: let an applicant into a group, or not; or accept an invitation, or not.

Frames: GroupReqList for the request; then GroupCheckJoin as an auditor of the group, or GroupUserCheckJoin as the one invited.
[seen]
Read-back: GroupReqList shows the request's status. [seen]
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from worker68.jobs.fields import Id
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, failed, succeeded
from worker68.jobs.snapshot import GroupRequestRow, ListSeen
from worker68.jobs.task import JobClass, Task, change
from worker68.protocol import api
from worker68.protocol.values import read_id
from worker68.tasks.sync_group_requests import read_group_requests
from worker68.tasks.turn import Turn

#: Requests of these kinds are for an auditor to answer, also for one who is not the group's host. [seen]
AUDITED = ("qr_code", "alias")


class AnswerGroupRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``request_id``: as ``sync_group_requests`` found it."""

    request_id: Id
    accept: bool


async def answer(turn: Turn, fields: AnswerGroupRequest) -> Outcome | TryAgain:
    """Answer a request that is open; one that has this answer already is done, one that has another is refused."""
    request = await _find(turn, fields.request_id)
    if not isinstance(request, GroupRequestRow):
        return request
    if request.status == _status(fields):
        return _answered(fields)
    if request.status != "open":
        return failed(ErrorCode.REFUSED, f"the request is not open any more: {request.status}")
    call = api.GROUP_USER_CHECK_JOIN if await _is_invited(turn, request) else api.GROUP_CHECK_JOIN
    data = {"groupReqId": fields.request_id, "flag": fields.accept}
    return await turn.change(call, data, _answered(fields))


async def is_answered(turn: Turn, fields: AnswerGroupRequest) -> Outcome | None:
    """Return the success where the request's status is the answer, None where it is another, or nothing shows it."""
    request = await _find(turn, fields.request_id)
    shown = request.status if isinstance(request, GroupRequestRow) else None
    return _answered(fields) if shown == _status(fields) else None


async def _find(turn: Turn, request_id: int) -> GroupRequestRow | Outcome | TryAgain:
    seen = await read_group_requests(turn)
    if not isinstance(seen, ListSeen):
        return seen
    request = await asyncio.to_thread(_among, seen, request_id)
    if request is not None:
        return request
    if not seen.whole:
        return TryAgain(ErrorCode.UNAVAILABLE, "the list of requests could not be read as a whole", spent=True)
    return failed(ErrorCode.REFUSED, f"the account has no request {request_id}")


def _among(seen: ListSeen, request_id: int) -> GroupRequestRow | None:
    requests = (row for row in seen.rows if isinstance(row, GroupRequestRow))
    return next((row for row in requests if row.request_id == request_id), None)


async def _is_invited(turn: Turn, request: GroupRequestRow) -> bool:
    """Whether the account is not asked as an auditor but as the one who is to be in the group."""
    if request.kind in AUDITED:
        return False
    user = (await turn.show(api.USER_INFO)).get("userInfo")
    account_id = read_id(user.get("uid")) if isinstance(user, dict) else None
    return account_id != request.host_id and request.target_id in (account_id, None)


def _status(fields: AnswerGroupRequest) -> str:
    return "agreed" if fields.accept else "refused"


def _answered(fields: AnswerGroupRequest) -> Outcome:
    return succeeded({"accepted": fields.accept})


TASK: Final = Task(
    "worker68.answer_group_request",
    "Let an applicant into a group, or not; or accept an invitation into one, or not.",
    AnswerGroupRequest,
    JobClass.MODERATION,
    (change(answer, api.GROUP_REQ_LIST.type, is_answered),),
    result="`accepted`",
    example={"request_id": 90017, "accept": True},
    subject_of=lambda fields: str(fields.request_id),
    experimental=True,
    wait_seconds=300.0,
)
