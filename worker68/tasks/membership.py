"""Who is in a group: what adding and removing members, and answering requests, have in common."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from msgspec import Meta

from worker68.jobs.fields import Id
from worker68.jobs.outcome import Outcome, TryAgain
from worker68.jobs.snapshot import ListSeen, MemberRow
from worker68.protocol import api
from worker68.tasks.sync_group_members import read_members
from worker68.tasks.turn import Turn

#: ``op`` of GroupMember. [seen]
ADD, REMOVE = 0, 1


class SomeMembers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    group_id: Id
    user_ids: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=200)]

    @property
    def wanted(self) -> list[int]:
        """The users, each once."""
        return list(dict.fromkeys(self.user_ids))


async def change_members(turn: Turn, fields: SomeMembers, op: int) -> Outcome | TryAgain:
    data = {"op": op, "groupId": fields.group_id, "members": fields.wanted}
    return await turn.change(api.GROUP_MEMBER, data)


async def find_members(turn: Turn, fields: SomeMembers) -> set[int] | None:
    """Return which of them are members of the group; None where its list could not be read as a whole."""
    seen = await read_members(turn, fields.group_id)
    if not isinstance(seen, ListSeen) or not seen.whole:
        return None
    return await asyncio.to_thread(_among, seen, frozenset(fields.wanted))


def _among(seen: ListSeen, wanted: frozenset[int]) -> set[int]:
    return {row.user_id for row in seen.rows if isinstance(row, MemberRow) and row.user_id in wanted}
