"""Moderation: changes that may be repeated, and reading back whether one was made after all.

An error 300 or a silence does not prove that a change was not made. [seen: PROTOCOL.md, Requests and replies] So before it is said
to have failed, what the protocol shows is looked at: a mute of the group in getGroups, its notice in GroupDetail. A member's
mute is shown nowhere.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from worker68.bridge.actions.turn import Turn, data_of, is_success
from worker68.bridge.messages import wire_text
from worker68.bridge.rows import read_group, read_notice
from worker68.bridge.values import read_id
from worker68.jobs import api
from worker68.jobs.fields import MuteGroup, MuteMember, SetGroupNotice
from worker68.jobs.judge import judge_request
from worker68.jobs.outcome import Outcome, TryAgain, succeeded

#: ``shutupTime`` that lifts a mute. [seen]
LIFT = -1
#: ``op`` of GroupUpdate. [doc]
MUTE_GROUP, SET_NOTICE = 11, 12


async def mute_member(turn: Turn) -> Outcome | TryAgain:
    """Mute a member for some seconds, or lift it."""
    fields = turn.job.fields
    assert isinstance(fields, MuteMember)
    data = {"targetUid": fields.user_id, "shutupTime": fields.seconds or LIFT, "groupId": fields.group_id}
    finding = await _change(turn, api.GROUP_MEMBER_SHUTUP, data)
    return succeeded({"seconds": fields.seconds}) if is_success(finding) else finding


async def mute_group(turn: Turn) -> Outcome | TryAgain:
    """Mute a whole group, or lift it."""
    fields = turn.job.fields
    assert isinstance(fields, MuteGroup)
    parameters = {"shutup": fields.muted, "groupId": fields.group_id}
    finding = await _change(turn, api.GROUP_UPDATE, {"op": MUTE_GROUP, "groupParam": parameters})
    return _muted(fields) if is_success(finding) else finding


async def set_group_notice(turn: Turn) -> Outcome | TryAgain:
    """Set a group's notice. Its line breaks stay as they are: only a message's content is written in the bridge's own way. [doc]"""
    fields = turn.job.fields
    assert isinstance(fields, SetGroupNotice)
    parameters = {"notice": fields.notice, "bfAll": True, "groupId": fields.group_id}
    finding = await _change(turn, api.GROUP_UPDATE, {"op": SET_NOTICE, "groupParam": parameters})
    if not is_success(finding):
        return finding
    data = data_of(finding)
    return _notice_set(read_id(data.get("noticeId")) if isinstance(data, dict) else None)


async def is_group_muted(turn: Turn) -> Outcome | None:
    """Return the success of a mute that getGroups shows to be as it was asked for, None where it does not."""
    fields = turn.job.fields
    assert isinstance(fields, MuteGroup)
    groups = data_of(judge_request(await turn.call("getGroups", reply_shape=list[msgspec.Raw])))
    muted = await asyncio.to_thread(_find_muted, groups if isinstance(groups, list) else [], fields.group_id)
    return _muted(fields) if muted is fields.muted else None


async def is_notice_set(turn: Turn) -> Outcome | None:
    """Return the success of a notice that GroupDetail shows, None where it shows another or none."""
    fields = turn.job.fields
    assert isinstance(fields, SetGroupNotice)
    detail = data_of(judge_request(await turn.ask(api.GROUP_DETAIL, {"groupId": fields.group_id})))
    notice_id, notice = read_notice(detail.get("groupNotice") if isinstance(detail, dict) else None)
    if notice is None or wire_text(notice, "escaped") != wire_text(fields.notice, "escaped"):
        return None
    return _notice_set(notice_id)


def _find_muted(groups: list[Any], group_id: int) -> bool | None:
    """Return whether the group is muted, None where it is not there or nothing says so."""
    read = (read_group(raw) for raw in groups if isinstance(raw, msgspec.Raw))
    return next((group.muted for group in read if group is not None and group.group_id == group_id), None)


async def _change(turn: Turn, call: api.ApiCall, data: dict[str, Any]) -> Outcome | TryAgain:
    return judge_request(await turn.ask(call, data, limit="moderate"))


def _muted(fields: MuteGroup) -> Outcome:
    return succeeded({"muted": fields.muted, "announcement": None})


def _notice_set(notice_id: int | None) -> Outcome:
    return succeeded({"notice_id": notice_id, "announcement": None})
