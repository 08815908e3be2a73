"""``worker68.set_group_notice``: set a group's notice, and announce it in the group.

Frames: GroupUpdate ``op`` 12, then ``sendMsg`` with ``chatType`` 8, because setting the notice does not announce it. [doc]
Read-back: GroupDetail shows the notice.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker68.jobs.fields import Id, Text, in_group
from worker68.jobs.outcome import Outcome, TryAgain, succeeded
from worker68.jobs.task import JobClass, Step, Task, change, message
from worker68.protocol import api
from worker68.protocol.entries import read_notice
from worker68.protocol.messages import NoticeAnnouncement, wire_text
from worker68.protocol.values import read_id
from worker68.tasks.turn import Turn, data_of, is_success

#: ``op`` of GroupUpdate. [doc]
SET_NOTICE = 12


class SetGroupNotice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    group_id: Id
    notice: Text
    announce: bool = True


async def set_notice(turn: Turn, fields: SetGroupNotice) -> Outcome | TryAgain:
    """Set the notice. Its line breaks stay as they are: only a message's content is written in the bridge's own way. [doc]"""
    parameters = {"notice": fields.notice, "bfAll": True, "groupId": fields.group_id}
    data = {"op": SET_NOTICE, "groupParam": parameters}
    finding = await turn.change(api.GROUP_UPDATE, data)
    if not is_success(finding):
        return finding
    reply = data_of(finding)
    return _notice_set(read_id(reply.get("noticeId")) if isinstance(reply, dict) else None)


async def is_notice_set(turn: Turn, fields: SetGroupNotice) -> Outcome | None:
    """Return the success of a notice that GroupDetail shows, None where it shows another or none."""
    detail = await turn.show(api.GROUP_DETAIL, {"groupId": fields.group_id})
    notice_id, notice = read_notice(detail.get("groupNotice"))
    if notice is None or wire_text(notice, "escaped") != wire_text(fields.notice, "escaped"):
        return None
    return _notice_set(notice_id)


async def announce(turn: Turn, fields: SetGroupNotice) -> Outcome | TryAgain:
    return await turn.send(NoticeAnnouncement(fields.group_id, fields.notice))


def _notice_set(notice_id: int | None) -> Outcome:
    return succeeded({"notice_id": notice_id, "announcement": None})


_CHANGE, _ANNOUNCEMENT = change(set_notice, api.GROUP_UPDATE.type, is_notice_set), message(announce)


def _steps(fields: Any) -> tuple[Step, ...]:
    return (_CHANGE, _ANNOUNCEMENT) if fields.announce else (_CHANGE,)


TASK: Final = Task(
    "worker68.set_group_notice",
    "Set a group's notice, and announce it in the group.",
    SetGroupNotice,
    JobClass.MODERATION,
    _steps,
    result="`notice_id`, `announcement` (as for `send_message`, or null)",
    example={"group_id": 389284, "notice": "Open from 9 to 17.\nClosed on Friday."},
    chat_of=in_group,
    texts_of=lambda fields: {"notice": fields.notice} if fields.announce else {},
    wait_seconds=150.0,
)
