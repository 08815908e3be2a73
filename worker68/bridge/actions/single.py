"""Reads of one thing: the account's profile, a contact, a group, the API's address, or what a producer asks for in its own words.

Nothing of them goes into the snapshot tables: those say what a list held, and one entry read by itself is no list.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from worker68.bridge.actions.turn import Turn, data_of
from worker68.bridge.rows import User, is_friend, name_of, read_notice, read_role
from worker68.bridge.values import cut_deep, read_id, read_int, read_text, read_time
from worker68.jobs import api
from worker68.jobs.api import ApiCall
from worker68.jobs.fields import OneGroup, OneUser, RawRequest
from worker68.jobs.judge import judge_request, judge_unknown_call
from worker68.jobs.kinds import Nature
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, failed, succeeded


class _Profile(msgspec.Struct):
    userInfo: User
    commonResult: Any = None
    signature: Any = None


class _ContactBase(msgspec.Struct):
    userInfo: User
    commonGroupNum: Any = None


class _Contact(msgspec.Struct):
    contactsDetailBase: _ContactBase
    commonResult: Any = None


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


async def sync_profile(turn: Turn) -> Outcome | TryAgain:
    """Read the account's own profile."""
    finding = judge_request(await turn.ask(api.USER_INFO, reply_shape=_Profile))
    profile = data_of(finding)
    if profile is None:
        return finding
    if not isinstance(profile, _Profile) or read_id(profile.userInfo.uid) is None:
        return _no("profile")
    user = profile.userInfo
    signature = read_text(user.signature) or read_text(profile.signature)
    return succeeded({"profile": _person(user) | {"signature": signature, "created_at": read_time(user.createTime)}})


async def sync_contact(turn: Turn) -> Outcome | TryAgain:
    """Read one contact, or a stranger: ``friend`` tells."""
    fields = turn.job.fields
    assert isinstance(fields, OneUser)
    finding = judge_request(await turn.ask(api.CONTACTS_DETAIL, {"targetUid": fields.user_id}, reply_shape=_Contact))
    detail = data_of(finding)
    if detail is None:
        return finding
    if not isinstance(detail, _Contact) or read_id(detail.contactsDetailBase.userInfo.uid) is None:
        return _no("contact")
    base = detail.contactsDetailBase
    user = base.userInfo
    status = user.userOnOrOffline if isinstance(user.userOnOrOffline, dict) else {}
    contact = _person(user) | {
        "friend": is_friend(user),
        "online": status.get("online") is True,
        "last_seen_at": read_time(status.get("createTime")),
        "created_at": read_time(user.createTime),
        "common_groups": read_int(base.commonGroupNum) or 0,
    }
    return succeeded({"contact": contact})


async def sync_group(turn: Turn) -> Outcome | TryAgain:
    """Read one group's detail. ``muted`` is null where the reply does not say: no documented one does."""
    fields = turn.job.fields
    assert isinstance(fields, OneGroup)
    finding = judge_request(await turn.ask(api.GROUP_DETAIL, {"groupId": fields.group_id}, reply_shape=_Group))
    detail = data_of(finding)
    if detail is None:
        return finding
    if not isinstance(detail, _Group) or read_id(detail.group.groupId) is None:
        return _no("group")
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


async def get_api_url(turn: Turn) -> Outcome | TryAgain:
    """Ask the bridge for the base of the service's API: it changes over time. [doc]"""
    finding = judge_request(await turn.call("getApiUrl"))
    url = data_of(finding)
    if url is None:
        return finding
    return succeeded({"api_url": url}) if isinstance(url, str) else _no("address")


async def request(turn: Turn) -> Outcome | TryAgain:
    """Make a call in the producer's own words. One that is not documented is never made twice: nobody knows what it does."""
    fields = turn.job.fields
    assert isinstance(fields, RawRequest)
    call = ApiCall(fields.type, fields.path, fields.proto_type)
    seen = await turn.ask(call, fields.data, limit=turn.job.now.limit)
    await asyncio.to_thread(cut_deep, seen.data)
    return judge_unknown_call(seen) if turn.job.now.nature is Nature.SEND else judge_request(seen)


def _person(user: User) -> dict[str, Any]:
    return {
        "user_id": read_id(user.uid),
        "name": name_of(user),
        "handle": read_text(user.identify),
        "icon": read_text(user.icon),
    }


def _no(what: str) -> Outcome:
    return failed(ErrorCode.REFUSED, f"the bridge's reply holds no {what}")
