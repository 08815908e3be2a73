"""``worker68.mute_member``: mute a member of a group for some seconds, or lift it.

Frame: GroupMemberShutup. [doc] Read-back: ContactsDetail with the group shows how many seconds of the mute are left. [seen]
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from worker68.clock import utc_now
from worker68.jobs.fields import Id, in_group
from worker68.jobs.outcome import Outcome, TryAgain, succeeded
from worker68.jobs.task import JobClass, Task, change
from worker68.protocol import api
from worker68.protocol.values import read_int
from worker68.tasks.turn import Turn

#: ``shutupTime`` that lifts a mute, and ``groupShutupTime`` of a member who is not muted. [seen]
LIFT = -1

#: So much of a mute may be over when it is read back: all tries of a change, with a busy service, take no longer. A mute with less
#: left is another one.
LONGEST_TRIES_SECONDS = 300.0
#: The service's seconds are whole, and its clock is another one.
SLACK_SECONDS = 2.0


class MuteMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``seconds``: 0 lifts the mute."""

    group_id: Id
    user_id: Id
    seconds: Annotated[int, Meta(ge=0, le=2**31 - 1)]


async def mute_member(turn: Turn, fields: MuteMember) -> Outcome | TryAgain:
    data = {"targetUid": fields.user_id, "shutupTime": fields.seconds or LIFT, "groupId": fields.group_id}
    return await turn.change(api.GROUP_MEMBER_SHUTUP, data, succeeded({"seconds": fields.seconds}))


async def is_muted(turn: Turn, fields: MuteMember) -> Outcome | None:
    """Return the success where the member's detail shows the mute as it was asked for, None where it shows another or none.

    A detail without the field shows nothing: it is left out where there is no mute [seen], and by a service that does not know it.
    """
    data = {"targetUid": fields.user_id, "groupId": fields.group_id}
    base = (await turn.show(api.CONTACTS_DETAIL, data)).get("contactsDetailBase")
    left = read_int(base.get("groupShutupTime")) if isinstance(base, dict) else None
    if left is None:
        return None
    if fields.seconds == 0:
        as_asked = left in (LIFT, 0)
    else:
        as_asked = max(1, fields.seconds - _most_seconds_over(turn)) <= left <= fields.seconds
    return succeeded({"seconds": fields.seconds}) if as_asked else None


def _most_seconds_over(turn: Turn) -> float:
    """Return how long ago the change may have been made at most."""
    waited = (utc_now() - turn.job.received_at).total_seconds()
    return min(max(0.0, waited), LONGEST_TRIES_SECONDS) + SLACK_SECONDS


TASK: Final = Task(
    "worker68.mute_member",
    "Mute a member of a group for some seconds, or lift it.",
    MuteMember,
    JobClass.MODERATION,
    (change(mute_member, api.GROUP_MEMBER_SHUTUP.type, is_muted),),
    result="`seconds`",
    example={"group_id": 441298, "user_id": 7128348, "seconds": 600},
    chat_of=in_group,
    wait_seconds=150.0,
)
