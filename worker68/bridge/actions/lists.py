"""The lists that snapshots are taken of, and where each one stands in the bridge's replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from worker68.bridge import rows
from worker68.bridge.actions.paging import ListSource, read_list
from worker68.bridge.actions.turn import Turn
from worker68.jobs import api, snapshot
from worker68.jobs.evidence import Evidence
from worker68.jobs.fields import OneGroup, OnlineStatus
from worker68.jobs.outcome import Outcome, TryAgain
from worker68.jobs.snapshot import ListSeen

Entries = Sequence[msgspec.Raw]

#: The largest page of GroupMemberList. [doc]
MEMBERS_A_PAGE = 1000
#: What the documented GroupReqList asks for. [doc]
REQUESTS_A_PAGE = 100


class ListReply(msgspec.Struct):
    """What the service's replies with lists have in common."""

    commonResult: Any = None
    count: Any = None
    lastUpdateTime: Any = None


class _Contacts(ListReply):
    contactsList: list[msgspec.Raw] | None = None


class _Members(ListReply):
    members: list[msgspec.Raw] | None = None


class _Requests(ListReply):
    recordList: list[msgspec.Raw] | None = None


async def sync_contacts(turn: Turn) -> ListSeen | Outcome | TryAgain:
    return await read_list(turn, _CONTACTS)


async def sync_groups(turn: Turn) -> ListSeen | Outcome | TryAgain:
    return await read_list(turn, _GROUPS)


async def sync_group_members(turn: Turn) -> ListSeen | Outcome | TryAgain:
    fields = turn.job.fields
    assert isinstance(fields, OneGroup)
    return await read_members(turn, fields.group_id)


async def read_members(turn: Turn, group_id: int) -> ListSeen | Outcome | TryAgain:
    return await read_list(turn, _MEMBERS, group_id)


async def sync_friend_requests(turn: Turn) -> ListSeen | Outcome | TryAgain:
    return await read_list(turn, _FRIEND_REQUESTS)


async def sync_group_requests(turn: Turn) -> ListSeen | Outcome | TryAgain:
    return await read_list(turn, _GROUP_REQUESTS)


async def _ask_contacts(turn: Turn, number: int) -> Evidence:
    """The first page as documented, without a number; its reply says ``pageNum`` 1, so there may be a second. [doc]"""
    data = {} if number == 1 else {"pageNum": number}
    return await turn.ask(api.CONTACTS_LIST, data, reply_shape=_Contacts)


async def _ask_groups(turn: Turn, _: int) -> Evidence:
    return await turn.call("getGroups", reply_shape=list[msgspec.Raw])


async def _ask_members(turn: Turn, number: int) -> Evidence:
    fields = turn.job.fields
    assert isinstance(fields, OneGroup | OnlineStatus)
    data = {"groupId": fields.group_id, "pageSize": MEMBERS_A_PAGE, "pageNum": number}
    return await turn.ask(api.GROUP_MEMBER_LIST, data, reply_shape=_Members)


async def _ask_friend_requests(turn: Turn, _: int) -> Evidence:
    return await turn.ask(api.CONTACTS_APPLY_LIST, reply_shape=_Requests)


async def _ask_group_requests(turn: Turn, number: int) -> Evidence:
    data = {"pageNum": number, "pageSize": REQUESTS_A_PAGE}
    return await turn.ask(api.GROUP_REQ_LIST, data, reply_shape=_Requests)


def _contacts(data: Any) -> Entries | None:
    return _entries(data, data.contactsList) if isinstance(data, _Contacts) else None


def _groups(data: Any) -> Entries | None:
    return data if isinstance(data, list) and all(isinstance(entry, msgspec.Raw) for entry in data) else None


def _members(data: Any) -> Entries | None:
    return _entries(data, data.members) if isinstance(data, _Members) else None


def _requests(data: Any) -> Entries | None:
    return _entries(data, data.recordList) if isinstance(data, _Requests) else None


def _entries(data: ListReply, entries: list[msgspec.Raw] | None) -> Entries | None:
    """An empty list is left out of the service's replies; data without the service's own result is no reply of its. [doc/seen]"""
    return () if entries is None and data.commonResult is not None else entries


_CONTACTS = ListSource(snapshot.CONTACTS, _ask_contacts, _contacts, rows.read_contact)
_GROUPS = ListSource(snapshot.GROUPS, _ask_groups, _groups, rows.read_group, paged=False)
_MEMBERS = ListSource(snapshot.GROUP_MEMBERS, _ask_members, _members, rows.read_member, page_size=MEMBERS_A_PAGE)
_FRIEND_REQUESTS = ListSource(
    snapshot.FRIEND_REQUESTS, _ask_friend_requests, _requests, rows.read_friend_request, paged=False
)
_GROUP_REQUESTS = ListSource(
    snapshot.GROUP_REQUESTS,
    _ask_group_requests,
    _requests,
    rows.read_group_request,
    first=0,
    page_size=REQUESTS_A_PAGE,
)
