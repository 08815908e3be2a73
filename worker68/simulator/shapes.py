"""How the bridge writes what the world holds: entities in, JSON values out, as loose as in the documented frames.

64-bit values are strings inside ``request`` replies and numbers in getGroups; a rank is a word in the former and a number in
the latter; a field that holds its default is left out of the former (PROTOCOL.md, doc/seen). Never: a change of the world.
"""

from __future__ import annotations

import math
from typing import Any, Final

from worker68.simulator.world import FOR_EVER, Group, GroupRequest, JoinRequest, Member, Person, Role, World, now_ms

Json = dict[str, Any]

#: Messages vanish after this many days; every documented contact and group has it.
_MSG_CANCEL_DAYS: Final = 30
_QR_EXPIRE_MS: Final = 4_070_908_800_000
#: What the service shows in a group instead of a person's own handle.
_HIDDEN_IDENTIFY: Final = "--"


def own_profile(world: World) -> Json:
    person = world.people[world.account]
    user = {
        "uid": str(person.uid),
        "nickName": person.name,
        "icon": person.icon,
        "signature": world.signature,
        "identify": person.identify,
        "createTime": str(person.created_ms),
    }
    return {"userInfo": user, "bfPassword": True, "privacy": 4256, "signature": world.signature}


def contact(person: Person) -> Json:
    return {
        "userInfo": _friend(person),
        "letter": person.letter,
        "msgCancelTime": _MSG_CANCEL_DAYS,
        "bfReadReceipt": True,
    }


def contact_detail(world: World, person: Person, group_id: int) -> Json:
    """Write a person; of a member of the group ``group_id`` also the mute there (PROTOCOL.md, seen)."""
    is_friend = person.uid in world.contacts
    user = _friend(person) if is_friend else {**_user(person), "identify": person.identify}
    common = sum(1 for group in world.groups.values() if person.uid in group.members and world.account in group.members)
    return {
        "userInfo": {**user, "createTime": str(person.created_ms)},
        "letter": person.letter,
        "msgCancelTime": _MSG_CANCEL_DAYS,
        **({"commonGroupNum": common} if common else {}),
        "bfReadReceipt": True,
        "bfIdSearch": True,
        **_mute(world, person, group_id),
    }


def friend_request(world: World, request: JoinRequest) -> Json:
    return {
        "userInfo": sending_user(world.people[request.uid]),
        "msg": request.text,
        "modifyTime": str(request.asked_ms),
        "type": "IDENTIFY",
        "bfIdSearch": True,
    }


def group_request(world: World, request: GroupRequest) -> Json:
    """Write a request about a group, as GroupReqList has it (PROTOCOL.md, seen); one that is open has no status."""
    group = world.groups[request.group_id]
    return {
        "groupReqId": str(request.request_id),
        "groupId": str(request.group_id),
        "groupName": group.name,
        **({"msg": request.text} if request.text else {}),
        "groupReqType": request.kind,
        **({"groupReqStatus": request.status} if request.status else {}),
        "createTime": str(request.asked_ms),
        "updateTime": str(request.changed_ms),
        **({"bfJoinCheck": True} if group.join_check else {}),
        "groupHostUid": str(group.host),
        "fromUser": _user(world.people[request.uid]),
        "targetUser": _user(world.people[request.target]),
    }


def listed_group(world: World, group: Group) -> Json:
    """Write a group as getGroups does: numbers, and defaults written out."""
    role = world.own_member(group).role
    may_moderate = role is not Role.MEMBER
    return {
        "id": group.group_id,
        "hostId": group.host,
        "name": group.name,
        "pic": group.picture,
        "groupAliasName": group.alias,
        "memberCount": len(group.members),
        "groupMsgCancelTime": _MSG_CANCEL_DAYS,
        "memberType": role.value,
        "qrExpire": _QR_EXPIRE_MS,
        "qrUrl": _qr_url(world),
        "bfShutup": group.muted,
        "bfGroupReadCancel": False,
        "bfJoinCheck": group.join_check,
        "bfJoinFriend": True,
        "bfAddress": True,
        **_notice(world, group),
        "bfPushNotice": may_moderate,
        "bfResetQrcode": False,
        "bfUpdateData": may_moderate,
        "type": "group",
    }


def group_detail(world: World, group: Group) -> Json:
    """Write a group as GroupDetail does: strings, words, defaults left out. Whether it would show a mute is not documented."""
    role = world.own_member(group).role
    return {
        "group": {
            "groupId": str(group.group_id),
            "hostId": str(group.host),
            "name": group.name,
            "pic": group.picture,
            "createTime": str(group.created_ms),
            "memberCount": str(len(group.members)),
            "bfJoinFriend": True,
            "groupMsgCancelTime": _MSG_CANCEL_DAYS,
            "groupAliasName": group.alias,
        },
        "bfAddress": True,
        "right": {} if role is Role.MEMBER else _manager_rights(group),
        **_notice(world, group),
        **({} if role is Role.HOST else {"memberType": role.name}),
        "qrUrl": _qr_url(world),
        "qrExpire": str(_QR_EXPIRE_MS),
    }


def member(world: World, group: Group, entry: Member) -> Json:
    """Write a member as GroupMemberList does; no ``type`` means host."""
    person = world.people[entry.uid]
    user = _user(person)
    if entry.uid in world.contacts:
        user["friendRelation"] = {"bfFriend": True}
    user["identify"] = _HIDDEN_IDENTIFY
    return {"user": user, **_membership(group, entry), "right": {}}


def sending_member(world: World, group: Group, uid: int) -> Json:
    """Write who did something in a group, as notices and group messages bear it; also for one who has left since."""
    person = world.people[uid]
    user = {**_user(person), "identify": _HIDDEN_IDENTIFY, "createTime": str(person.created_ms)}
    entry = group.members.get(uid)
    return {"user": user, **(_membership(group, entry) if entry else {"groupId": str(group.group_id)})}


def sending_user(person: Person) -> Json:
    return {**_user(person), "identify": person.identify, "createTime": str(person.created_ms)}


def online_status(person: Person) -> Json:
    """Write whether a person is there; ``online`` absent means no."""
    return {
        "uid": str(person.uid),
        **({"online": True} if person.online else {}),
        "createTime": str(person.seen_ms),
        "bfShow": True,
    }


def _user(person: Person) -> Json:
    user: Json = {"uid": str(person.uid), "nickName": person.name}
    if person.icon:
        user["icon"] = person.icon
    return user


def _friend(person: Person) -> Json:
    relation = {"friendRelation": {"bfFriend": True}, "userOnOrOffline": online_status(person)}
    return {**_user(person), **relation, "identify": person.identify}


def _mute(world: World, person: Person, group_id: int) -> Json:
    """Write the seconds that are left of a member's mute: -1 none, -2 for ever."""
    group = world.groups.get(group_id)
    member = group.members.get(person.uid) if group is not None else None
    if member is None:
        return {}
    left_ms = member.muted_until_ms - now_ms()
    left = -1 if left_ms <= 0 else math.ceil(left_ms / 1000)
    return {"groupShutupTime": -2 if member.muted_until_ms == FOR_EVER else left}


def _membership(group: Group, entry: Member) -> Json:
    rank = {} if entry.role is Role.HOST else {"type": entry.role.name}
    return {"groupId": str(group.group_id), "score": str(entry.score), **rank}


def _notice(world: World, group: Group) -> Json:
    if group.notice is None:
        return {}
    return {
        "groupNotice": {
            "editUser": sending_member(world, group, group.notice.editor),
            "notice": group.notice.text,
            "releaseTime": str(group.notice.released_ms),
            "noticeId": str(group.notice.notice_id),
        }
    }


def _manager_rights(group: Group) -> Json:
    rights = {"bfUpdateData": True, "bfJoinCheck": group.join_check, "bfPushNotice": True}
    return {right: True for right, held in rights.items() if held}


def _qr_url(world: World) -> str:
    return f"https://68chat.com?qrCode=EXAMPLE&imQrCodeType=1&IdCode=EXAMPLE&fromUid={world.account}"
