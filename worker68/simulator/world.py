"""What the simulated chat service knows: people, the account's contacts, groups, members, requests, and what is muted.

In: changes by the account (mute, notice, name, ...) as plain calls. Out: the new state, or ``Refusal`` when the service would
say no. Never: a wire format, a socket, a thread. Only the simulator's own thread changes a world; others may read it.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Literal

ChatType = Literal["friend", "group"]

#: The service's largest page (PROTOCOL.md, doc, for members).
LARGEST_PAGE: Final = 1000
#: The online status of the same uid may not be asked again within this time (PROTOCOL.md, seen).
ONLINE_PAUSE_SECONDS: Final = 3.0
#: Muted with no end: a point in time (ms) that no test reaches.
FOR_EVER: Final = 4_070_908_800_000


class Role(Enum):
    """A member's rank: the number that getGroups shows, the name that GroupDetail shows (PROTOCOL.md, doc/seen)."""

    HOST = 0
    MANAGE = 1
    MEMBER = 2


class Refused(Enum):
    """Why the service refuses. The value is its ``errCode``: only 1021 has been seen at a real bridge, the others are ours."""

    UNKNOWN = 1021
    NOT_PERMITTED = 1022
    INVALID = 1023


class Refusal(Exception):
    """The service says no, with the reason as ``errCode``."""

    def __init__(self, reason: Refused) -> None:
        self.reason = reason
        super().__init__(reason.name.lower())


@dataclass(slots=True)
class Person:
    uid: int
    name: str
    identify: str
    created_ms: int
    seen_ms: int
    icon: str = ""
    letter: str = "#"
    online: bool = False


@dataclass(slots=True)
class Member:
    uid: int
    role: Role
    score: int = 807_415_200_000
    muted_until_ms: int = 0


@dataclass(slots=True)
class Notice:
    notice_id: int
    text: str
    editor: int
    released_ms: int


@dataclass(slots=True)
class Group:
    group_id: int
    name: str
    alias: str
    created_ms: int
    members: dict[int, Member]
    muted: bool = False
    join_check: bool = True
    remark: str = ""
    picture: str = "http://r22.aiolet.xyz/config/default_group_icon.png"
    notice: Notice | None = None
    changed_ms: int = 1_766_114_002_864
    _order: list[int] = field(default_factory=list)
    _ordered: list[int] = field(default_factory=list)

    @property
    def host(self) -> int:
        """The uid of the member whose group it is, or 0 where a test has removed the host."""
        return next((member.uid for member in self.members.values() if member.role is Role.HOST), 0)

    def order_members(self) -> list[int]:
        """Return the uids in the order of the member list: host, managers, the others, each as they came.

        To sort a hundred thousand takes longer than a page should, so the order is kept until a person comes or goes. To compare
        who is here takes about a millisecond, and lets a test change ``members`` as it likes. Who only gets another rank stays
        in place until then.
        """
        here = list(self.members)
        if here != self._ordered:
            self._order = sorted(here, key=lambda uid: self.members[uid].role.value)
            self._ordered = here
        return self._order

    def add_member(self, uid: int, *, first: bool = False) -> None:
        """Let a person in: as the last of all, or as the ``first`` of those without a rank. A member stays as it is."""
        if uid in self.members:
            return
        newcomer = {uid: Member(uid, Role.MEMBER)}
        self.members = newcomer | self.members if first else self.members | newcomer
        self.changed_ms = now_ms()

    def drop_member(self, uid: int) -> bool:
        """Let a member go; False for the host, who cannot, and for one who is none."""
        member = self.members.get(uid)
        if member is None or member.role is Role.HOST:
            return False
        del self.members[uid]
        self.changed_ms = now_ms()
        return True


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A person asks to be the account's friend."""

    uid: int
    text: str
    asked_ms: int


#: ``groupReqType``: the account is invited, a person asks by the group's QR code (PROTOCOL.md, seen).
INVITE: Final = 1
QR_CODE: Final = 2
#: ``groupReqStatus`` (PROTOCOL.md, seen).
OPEN, AGREED, REFUSED, EXPIRED = range(4)


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """A person (``uid``) asks that a person (``target``), itself or another one, be a member of a group."""

    request_id: int
    group_id: int
    uid: int
    target: int
    text: str
    asked_ms: int
    changed_ms: int
    kind: int = QR_CODE
    status: int = OPEN


@dataclass(slots=True)
class World:
    """One account and everything it can see. Made by ``population.build_world``; the seed decides all that is random in it."""

    account: int
    people: dict[int, Person]
    contacts: dict[int, None]  # an ordered set
    groups: dict[int, Group]
    friend_requests: list[JoinRequest] = field(default_factory=list)
    group_requests: list[GroupRequest] = field(default_factory=list)
    api_url: str = "https://webbiz.qika.xyz"
    signature: str = "专业定制各类聊天软件自动化机器人"
    contacts_changed_ms: int = 1_766_113_547_565
    has_own_chat: bool = True
    """The account can write to itself: not known of a real bridge."""
    page_size: int = LARGEST_PAGE
    online_pause_seconds: float = ONLINE_PAUSE_SECONDS
    dice: random.Random = field(default_factory=lambda: random.Random(68))
    _last_message_id: int = 4_688_196_815
    _last_notice_id: int = 1_048_784
    _last_request_id: int = 90_017
    _asked_online: dict[int, float] = field(default_factory=dict)

    def person(self, uid: int) -> Person:
        """Raise ``Refusal`` for a person whom the service does not know."""
        person = self.people.get(uid)
        if person is None:
            raise Refusal(Refused.UNKNOWN)
        return person

    def group(self, group_id: int) -> Group:
        """Raise ``Refusal`` for a group that is not there or that the account is no member of."""
        group = self.groups.get(group_id)
        if group is None or self.account not in group.members:
            raise Refusal(Refused.UNKNOWN)
        return group

    def own_member(self, group: Group) -> Member:
        return group.members[self.account]

    def knows_chat(self, chat_type: ChatType, chat_id: int) -> bool:
        if chat_type == "group":
            return chat_id in self.groups
        return chat_id in self.contacts or (self.has_own_chat and chat_id == self.account)

    def may_write(self, chat_type: ChatType, chat_id: int) -> bool:
        """Say whether the service lets the account's message through: not into a mute of the group or of the account."""
        if chat_type == "friend":
            return True
        member = self.groups[chat_id].members.get(self.account)
        if member is None or member.muted_until_ms > now_ms():
            return False
        return member.role is not Role.MEMBER or not self.groups[chat_id].muted

    def moderated_group(self, group_id: int) -> Group:
        """Raise ``Refusal`` where the account is a plain member."""
        group = self.group(group_id)
        if self.own_member(group).role is Role.MEMBER:
            raise Refusal(Refused.NOT_PERMITTED)
        return group

    def set_notice(self, group_id: int, text: str) -> Notice:
        group = self.moderated_group(group_id)
        self._last_notice_id += 1
        group.notice = Notice(self._last_notice_id, text, editor=self.account, released_ms=now_ms())
        return group.notice

    def mute_member(self, group_id: int, uid: int, seconds: int) -> None:
        """Mute for ``seconds``; -1 lifts it, -2 is for ever (PROTOCOL.md, seen). Not the host, nor for 0 seconds."""
        group = self.moderated_group(group_id)
        member = group.members.get(uid)
        if member is None:
            raise Refusal(Refused.UNKNOWN)
        if member.role is Role.HOST:
            raise Refusal(Refused.NOT_PERMITTED)
        if seconds == -1:
            member.muted_until_ms = 0
        elif seconds == -2:
            member.muted_until_ms = FOR_EVER
        elif seconds > 0:
            member.muted_until_ms = now_ms() + seconds * 1000
        else:
            raise Refusal(Refused.INVALID)

    def add_contact(self, uid: int, *, first: bool = False) -> None:
        """Befriend a person: as the last of the contacts, or as the first."""
        self.contacts = {uid: None, **self.contacts} if first else {**self.contacts, uid: None}
        self.contacts_changed_ms = now_ms()

    def drop_contact(self, uid: int) -> bool:
        """End a friendship; False where there is none."""
        if uid not in self.contacts:
            return False
        del self.contacts[uid]
        self.contacts_changed_ms = now_ms()
        return True

    def ask_to_join(self, uid: int, group_id: int) -> None:
        """Let a person ask to be a member of a group; the newest request is the first."""
        self.add_group_request(group_id, uid, uid, QR_CODE)

    def invite_account(self, uid: int, group_id: int) -> None:
        """Let a member ask the account into a group."""
        self.add_group_request(group_id, uid, self.account, INVITE)

    def add_group_request(self, group_id: int, uid: int, target: int, kind: int) -> None:
        """Let ``uid`` ask that ``target`` be in a group."""
        self._last_request_id += 1
        now = now_ms()
        request = GroupRequest(self._last_request_id, group_id, uid, target, "我想加入", now, now, kind)
        self.group_requests.insert(0, request)

    def drop_group_request(self, request: GroupRequest) -> bool:
        """Let a request be answered or withdrawn; False where it is not there any more."""
        if request not in self.group_requests:
            return False
        self.group_requests.remove(request)
        return True

    def invite_members(self, group_id: int, uids: Iterable[int]) -> tuple[list[int], list[int]]:
        """Bring friends into a group. Return who is no friend, and who must be approved first: a plain member invites them."""
        group = self.group(group_id)
        strangers, waiting = [], []
        for uid in uids:
            if uid not in self.contacts:
                strangers.append(uid)
            elif uid in group.members:
                pass
            elif group.join_check and self.own_member(group).role is Role.MEMBER:
                waiting.append(uid)
            else:
                group.add_member(uid)
        return strangers, waiting

    def answer_group_request(self, request_id: int, *, agree: bool, invited: bool) -> None:
        """Judge a request that is open, as an auditor of its group or as the one ``invited``."""
        place = next((place for place, one in enumerate(self.group_requests) if one.request_id == request_id), None)
        if place is None:
            raise Refusal(Refused.UNKNOWN)
        request = self.group_requests[place]
        if request.status != OPEN:
            raise Refusal(Refused.INVALID)
        if not invited:
            self.moderated_group(request.group_id)
        elif request.target != self.account:
            raise Refusal(Refused.NOT_PERMITTED)
        status = AGREED if agree else REFUSED
        self.group_requests[place] = replace(request, status=status, changed_ms=now_ms())
        if agree:
            self.groups[request.group_id].add_member(request.target)

    def accept_friend(self, uid: int) -> None:
        """Accept a friend request."""
        request = next((one for one in self.friend_requests if one.uid == uid), None)
        if request is None:
            raise Refusal(Refused.UNKNOWN)
        self.friend_requests.remove(request)
        self.add_contact(uid)

    def next_message_id(self) -> int:
        self._last_message_id += 1
        return self._last_message_id

    def make_custom_id(self) -> str:
        """Make a ``custom_msg_id`` of the bridge's own: 11 digits, no leading 0."""
        return str(self.dice.randrange(10**10, 10**11))

    def ask_online(self, uids: Iterable[int]) -> bool:
        """Say whether these may be asked now: none was asked within ``online_pause_seconds``, refused calls not counted."""
        now = time.monotonic()
        asked = set(uids)
        if any(now - self._asked_online.get(uid, -math.inf) < self.online_pause_seconds for uid in asked):
            return False
        self._asked_online.update(dict.fromkeys(asked, now))
        return True


def now_ms() -> int:
    """Return the wall time as the bridge writes it: epoch milliseconds."""
    return time.time_ns() // 1_000_000
