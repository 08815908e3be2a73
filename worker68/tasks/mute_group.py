"""``worker68.mute_group``: mute a whole group or lift it, and announce that in the group.

Frames: GroupUpdate ``op`` 11, then ``sendMsg`` with ``chatType`` 50. [doc] Read-back: getGroups shows whether a group is muted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from worker68.jobs.evidence import judge_request
from worker68.jobs.fields import Id, Text, in_group
from worker68.jobs.outcome import Outcome, TryAgain, succeeded
from worker68.jobs.task import JobClass, Step, Task, change, message
from worker68.protocol import api
from worker68.protocol.messages import MuteAnnouncement
from worker68.tasks.sync_groups import read_group
from worker68.tasks.turn import Turn, data_of

#: ``op`` of GroupUpdate. [doc]
MUTE_GROUP = 11

#: The announcement of the bridge's own client where it mutes a group, and the same for the end of it. [doc for the first]
MUTED_TEXT, UNMUTED_TEXT = "管理员开了全员禁言", "管理员关闭了全员禁言"


class MuteGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``announcement_text``: what the group reads; left out, the words of the bridge's own client."""

    group_id: Id
    muted: bool = True
    announce: bool = True
    announcement_text: Text | None = None


async def mute_group(turn: Turn, fields: MuteGroup) -> Outcome | TryAgain:
    data = {"op": MUTE_GROUP, "groupParam": {"shutup": fields.muted, "groupId": fields.group_id}}
    return await turn.change(api.GROUP_UPDATE, data, _muted(fields))


async def is_group_muted(turn: Turn, fields: MuteGroup) -> Outcome | None:
    """Return the success of a mute that getGroups shows to be as it was asked for, None where it does not."""
    groups = data_of(judge_request(await turn.call("getGroups", reply_shape=list[msgspec.Raw])))
    muted = await asyncio.to_thread(_find_muted, groups if isinstance(groups, list) else [], fields.group_id)
    return _muted(fields) if muted is fields.muted else None


async def announce(turn: Turn, fields: MuteGroup) -> Outcome | TryAgain:
    text = fields.announcement_text or (MUTED_TEXT if fields.muted else UNMUTED_TEXT)
    return await turn.send(MuteAnnouncement(fields.group_id, text, fields.muted))


def _find_muted(groups: list[Any], group_id: int) -> bool | None:
    """Return whether the group is muted, None where it is not there or nothing says so."""
    read = (read_group(raw) for raw in groups if isinstance(raw, msgspec.Raw))
    return next((group.muted for group in read if group is not None and group.group_id == group_id), None)


def _muted(fields: MuteGroup) -> Outcome:
    return succeeded({"muted": fields.muted, "announcement": None})


_CHANGE, _ANNOUNCEMENT = change(mute_group, api.GROUP_UPDATE.type, is_group_muted), message(announce)


def _steps(fields: Any) -> tuple[Step, ...]:
    return (_CHANGE, _ANNOUNCEMENT) if fields.announce else (_CHANGE,)


def _texts(fields: Any) -> Mapping[str, str]:
    return {"announcement_text": fields.announcement_text} if fields.announce and fields.announcement_text else {}


TASK: Final = Task(
    "worker68.mute_group",
    "Mute a whole group or lift it, and announce that in the group.",
    MuteGroup,
    JobClass.MODERATION,
    _steps,
    result="`muted`, `announcement` (as for `send_message`, or null)",
    example={"group_id": 441298, "muted": True, "announcement_text": "Quiet, please, until nine."},
    chat_of=in_group,
    texts_of=_texts,
    wait_seconds=150.0,
)
