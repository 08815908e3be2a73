"""``worker68.sync_online_status``: who of a group is online (GroupMemberOnLineStatusList [doc]).

A few users a call, and none of them again too soon.
Both bounds are [seen] (PROTOCOL.md, Requests and replies). A huge group takes minutes, because each call takes its slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from worker68.clock import monotonic
from worker68.jobs.evidence import Evidence, judge_request
from worker68.jobs.fields import Id
from worker68.jobs.outcome import ErrorCode, Outcome, failed, succeeded
from worker68.jobs.snapshot import ListSeen, MemberRow
from worker68.jobs.task import JobClass, Task, read
from worker68.protocol import api
from worker68.protocol.values import read_id
from worker68.tasks.sync_group_members import read_members
from worker68.tasks.turn import Finding, Turn, is_success

USERS_A_CALL = 40
#: The same user may be asked for again after this; a little more than the bound, because the service's clock is another one.
PAUSE_SECONDS = 3.2


class RecentlyAsked:
    """The users of one account whose online status was asked for a moment ago: two groups may share a user. On the loop."""

    def __init__(self) -> None:
        self._asked: dict[int, float] = {}

    def ask(self, user_ids: Iterable[int]) -> float:
        """Take note that they are asked for now and return 0; or return how many seconds to wait, and note nothing."""
        wanted = list(user_ids)
        now = monotonic()
        self._asked = {user_id: at for user_id, at in self._asked.items() if now - at < PAUSE_SECONDS}
        newest = max((self._asked[user_id] for user_id in wanted if user_id in self._asked), default=None)
        if newest is not None:
            return newest + PAUSE_SECONDS - now
        self._asked |= dict.fromkeys(wanted, now)
        return 0.0


class OnlineStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``user_ids`` left out: all known members."""

    group_id: Id
    #: More in one job would make a reply that is too large to carry.
    user_ids: Annotated[tuple[Id, ...], Meta(max_length=100_000)] | None = None


class _Reply(msgspec.Struct):
    commonResult: Any = None
    userOnLineStatusList: list[Any] | None = None


async def sync_online_status(turn: Turn, fields: OnlineStatus) -> Finding:
    """Ask for the given users, or for all known members; where none is known, the group's member list is read first."""
    wanted = await _whom(turn, fields)
    if not isinstance(wanted, list):
        return wanted
    online: list[int] = []
    offline: list[int] = []
    for number, part in enumerate(_cut(wanted)):
        ask = partial(_ask, turn, fields.group_id, part)
        finding = judge_request(await ask()) if number == 0 else await turn.ask_on(ask, pause_seconds=PAUSE_SECONDS)
        if not isinstance(finding, Outcome) or not is_success(finding):
            return finding
        assert finding.result is not None
        reply = finding.result["data"]
        if not isinstance(reply, _Reply) or reply.commonResult is None:
            return failed(ErrorCode.REFUSED, "the bridge's reply holds no list of online statuses")
        for status in reply.userOnLineStatusList or ():
            if isinstance(status, dict) and (user_id := read_id(status.get("uid"))) is not None:
                (online if status.get("online") is True else offline).append(user_id)
        await turn.context.note_progress(f"checked {min((number + 1) * USERS_A_CALL, len(wanted))} of {len(wanted)}")
    return succeeded({"online": online, "offline": offline, "checked": len(online) + len(offline)})


async def _whom(turn: Turn, fields: OnlineStatus) -> list[int] | Finding:
    if fields.user_ids is not None:
        return list(dict.fromkeys(fields.user_ids))
    known = await turn.context.known_members(fields.group_id)
    if known:
        return known
    seen = await read_members(turn, fields.group_id)
    if not isinstance(seen, ListSeen):
        return seen
    return await asyncio.to_thread(_members, seen)


def _members(seen: ListSeen) -> list[int]:
    return list(dict.fromkeys(row.user_id for row in seen.rows if isinstance(row, MemberRow)))


async def _ask(turn: Turn, group_id: int, user_ids: list[int]) -> Evidence:
    """Ask once the slot is there: while it is waited for, another job may ask for the same users."""
    await turn.hold_slot("read", api.GROUP_MEMBER_ONLINE.type)
    recently_asked = turn.context.account_memory(RecentlyAsked)
    while (seconds := recently_asked.ask(user_ids)) > 0:
        turn.forgo_slot()
        await turn.context.pause(seconds)
        await turn.hold_slot("read", api.GROUP_MEMBER_ONLINE.type)
    data = {"groupId": group_id, "uids": user_ids}
    return await turn.ask(api.GROUP_MEMBER_ONLINE, data, reply_shape=_Reply)


def _cut(user_ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(user_ids), USERS_A_CALL):
        yield user_ids[start : start + USERS_A_CALL]


TASK: Final = Task(
    "worker68.sync_online_status",
    "Ask who of a group is online.",
    OnlineStatus,
    JobClass.SYNC,
    (read(sync_online_status, api.GROUP_MEMBER_ONLINE.type),),
    result="`online` (ids), `offline` (ids), `checked`",
    example={"group_id": 389284},
    subject_of=lambda fields: str(fields.group_id),
    sync_name="online",
    wait_seconds=3600.0,
)
