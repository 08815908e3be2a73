"""The chat service's HTTP calls that the bridge passes on: the call's data in, the reply's fields out, the world changed.

``ENDPOINTS`` names them all. A call raises ``Refusal`` (an ``errCode``) or ``Busy`` (error 300). Never: a frame, a socket.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from worker68.simulator import events, shapes
from worker68.simulator.paging import Listing, Paging, serve
from worker68.simulator.population import OWNED_GROUP, meet_stranger
from worker68.simulator.shapes import Json
from worker68.simulator.world import LARGEST_PAGE, Refusal, Refused, World

T = TypeVar("T")

#: GroupMemberOnLineStatusList: uids in one call (PROTOCOL.md, seen).
ONLINE_UIDS: Final = 40


class _Page(msgspec.Struct):
    pageNum: int = 1
    pageSize: int = LARGEST_PAGE  # what comes without it is not documented


class _Target(msgspec.Struct):
    targetUid: int
    groupId: int = 0


class _GroupId(msgspec.Struct):
    groupId: int


class _MemberPage(_Page, kw_only=True):
    groupId: int


class _Online(msgspec.Struct):
    groupId: int
    uids: list[int]


class _MemberShutup(msgspec.Struct):
    groupId: int
    targetUid: int
    shutupTime: int


class _Members(msgspec.Struct):
    op: int
    groupId: int
    members: list[int]


class _Judgement(msgspec.Struct):
    groupReqId: int
    flag: bool


class _ContactsApply(msgspec.Struct):
    applyUid: int
    op: int


class _GroupParam(msgspec.Struct):
    groupId: int
    notice: str | None = None
    shutup: bool | None = None
    groupName: str | None = None
    bfJoinCheck: bool | None = None
    pic: str | None = None
    remark: str | None = None


class _GroupUpdate(msgspec.Struct):
    op: int
    groupParam: _GroupParam


class Busy(Exception):
    """The service answers with error 300."""


class Done(NamedTuple):
    """What a service call gives: the reply's fields beside ``commonResult``, and the event that it raises."""

    fields: Json
    event: Json | None = None


def read_data(data: object, type_: type[T]) -> T:
    """Read numbers from strings of digits too, as the bridge's JavaScript does."""
    try:
        return msgspec.convert(data, type_, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal(Refused.INVALID) from error


def _user_info(world: World, _: Json, paging: Paging) -> Done:
    return Done(shapes.own_profile(world))


def _contacts_list(world: World, page: _Page, paging: Paging) -> Done:
    contacts = Listing(
        "contactsList",
        list(world.contacts),
        write=lambda uid: shapes.contact(world.people[uid]),
        documented_count="number",
        leave=world.drop_contact,
        join=lambda: world.add_contact(meet_stranger(world), first=True),
        changed_ms=world.contacts_changed_ms,
    )
    return Done({**_serve(world, contacts, paging, page), "pageNum": page.pageNum})


def _contacts_detail(world: World, asked: _Target, paging: Paging) -> Done:
    return Done({"contactsDetailBase": shapes.contact_detail(world, world.person(asked.targetUid), asked.groupId)})


def _contacts_apply_list(world: World, _: Json, paging: Paging) -> Done:
    entries = [shapes.friend_request(world, one) for one in list(world.friend_requests)]
    return Done({"recordList": entries} if entries else {})


def _group_req_list(world: World, page: _Page, paging: Paging) -> Done:
    if page.pageNum < 1 and paging.first_page == "1":
        raise Busy  # the documented example of an error
    requests = Listing(
        "groupReqs",
        list(world.group_requests),
        write=lambda request: shapes.group_request(world, request),
        documented_count="string",
        leave=world.drop_group_request,
        join=lambda: world.ask_to_join(meet_stranger(world), OWNED_GROUP),
    )
    return Done(_serve(world, requests, paging, page))


def _group_member_list(world: World, page: _MemberPage, paging: Paging) -> Done:
    group = world.group(page.groupId)
    members = Listing(
        "members",
        group.order_members(),
        write=lambda uid: shapes.member(world, group, group.members[uid]),
        documented_count="string",
        leave=lambda uid: uid != world.account and group.drop_member(uid),
        join=lambda: group.add_member(meet_stranger(world), first=True),
        changed_ms=group.changed_ms,
    )
    return Done(_serve(world, members, paging, page))


def _online_status(world: World, asked: _Online, paging: Paging) -> Done:
    group = world.group(asked.groupId)
    if len(asked.uids) > ONLINE_UIDS:
        raise Refusal(Refused.INVALID)
    if not world.ask_online(asked.uids):
        raise Busy
    entries = [shapes.online_status(world.people[uid]) for uid in asked.uids if uid in group.members]
    return Done({"userOnLineStatusList": entries} if entries else {})


def _group_detail(world: World, asked: _GroupId, paging: Paging) -> Done:
    return Done(shapes.group_detail(world, world.group(asked.groupId)))


def _group_member_shutup(world: World, asked: _MemberShutup, paging: Paging) -> Done:
    world.mute_member(asked.groupId, asked.targetUid, asked.shutupTime)
    return Done({})


def _group_member(world: World, asked: _Members, paging: Paging) -> Done:
    """Add friends to a group, or remove members (PROTOCOL.md, seen)."""
    match asked:
        case _Members(op=0, groupId=group_id, members=uids):
            strangers, waiting = world.invite_members(group_id, uids)
            lists = {"notFriendUids": list(map(str, strangers)), "needCheckUids": list(map(str, waiting))}
            return Done({name: listed for name, listed in lists.items() if listed})
        case _Members(op=1, groupId=group_id, members=uids):
            group = world.moderated_group(group_id)
            for uid in uids:
                group.drop_member(uid)
        case _:
            raise Refusal(Refused.INVALID)
    return Done({})


def _check_join(world: World, judged: _Judgement, paging: Paging, *, invited: bool) -> Done:
    world.answer_group_request(judged.groupReqId, agree=judged.flag, invited=invited)
    return Done({})


def _update_contacts_apply(world: World, asked: _ContactsApply, paging: Paging) -> Done:
    """Accept a friend request (PROTOCOL.md, seen). That it leaves the list then is ours."""
    if asked.op != 8:
        raise Refusal(Refused.INVALID)
    world.accept_friend(asked.applyUid)
    return Done({})


def _group_update(world: World, update: _GroupUpdate, paging: Paging) -> Done:
    """Change a group. The parameter of ``op`` 7 is [seen]; of 6, 9 and 18 the names are ours."""
    group_id = update.groupParam.groupId
    group = world.moderated_group(group_id)
    match update:
        case _GroupUpdate(op=12, groupParam=_GroupParam(notice=str(notice))):
            return Done({"noticeId": str(world.set_notice(group_id, notice).notice_id)})
        case _GroupUpdate(op=13):
            group.notice = None
        case _GroupUpdate(op=11, groupParam=_GroupParam(shutup=bool(muted))):
            group.muted = muted
            return Done({}, events.group_muted(group_id, muted=muted))
        case _GroupUpdate(op=7, groupParam=_GroupParam(groupName=str(name))):
            group.name = name
            return Done({}, events.group_changed(group_id, name=name))
        case _GroupUpdate(op=6, groupParam=_GroupParam(bfJoinCheck=bool(join_check))):
            group.join_check = join_check
        case _GroupUpdate(op=9, groupParam=_GroupParam(pic=str(picture))):
            group.picture = picture
        case _GroupUpdate(op=18, groupParam=_GroupParam(remark=str(remark))):
            group.remark = remark
        case _:
            raise Refusal(Refused.INVALID)
    return Done({})


def _serve(world: World, listing: Listing[T], paging: Paging, page: _Page) -> Json:
    """Serve a page of a list. The first page has the number 1."""
    return serve(listing, paging, position=page.pageNum - 1, size=min(page.pageSize, world.page_size))


class Endpoint(NamedTuple):
    """A call: its path, the shape of its data, and what it does. ``changes``: it changes something."""

    path: str
    shape: Any
    run: Callable[[World, Any, Paging], Done]
    changes: bool = False
    is_group_proto: bool = False


ENDPOINTS: Final = {
    "UserInfo": Endpoint("/user/userInfo", Json, _user_info),
    "ContactsList": Endpoint("/contacts/contactsList", _Page, _contacts_list),
    "ContactsDetail": Endpoint("/contacts/contactsDetail", _Target, _contacts_detail),
    "ContactsApplyList": Endpoint("/contacts/contactsApplyList", Json, _contacts_apply_list),
    "GroupReqList": Endpoint("/group/groupReqList", _Page, _group_req_list),
    "GroupMemberList": Endpoint("/group/groupMemberListV2", _MemberPage, _group_member_list, is_group_proto=True),
    "GroupMemberOnLineStatusList": Endpoint(
        "/group/groupMemberOnLineStatusList", _Online, _online_status, is_group_proto=True
    ),
    "GroupDetail": Endpoint("/group/groupDetail", _GroupId, _group_detail),
    "GroupUpdate": Endpoint("/group/groupUpdate", _GroupUpdate, _group_update, changes=True),
    "GroupMemberShutup": Endpoint("/group/groupMemberShutup", _MemberShutup, _group_member_shutup, changes=True),
    "GroupMember": Endpoint("/group/groupMember", _Members, _group_member, changes=True),
    "GroupCheckJoin": Endpoint("/group/groupCheckJoin", _Judgement, partial(_check_join, invited=False), changes=True),
    "GroupUserCheckJoin": Endpoint(
        "/group/groupUserCheckJoin", _Judgement, partial(_check_join, invited=True), changes=True
    ),
    "UpdateContactsApply": Endpoint(
        "/contacts/updateContactsApply", _ContactsApply, _update_contacts_apply, changes=True
    ),
}
