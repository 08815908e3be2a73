"""``worker68.sync_groups``: the account's groups, brought into the table ``groups`` (getGroups [doc])."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from worker68.jobs.evidence import Evidence
from worker68.jobs.snapshot import GROUPS, GroupRow
from worker68.protocol.entries import decode_entry, read_notice, read_role
from worker68.protocol.values import read_id, read_int, read_text
from worker68.tasks.lists import list_task
from worker68.tasks.paging import ListSource
from worker68.tasks.turn import Turn


class _Group(msgspec.Struct):
    id: Any = None
    name: Any = None
    hostId: Any = None
    memberCount: Any = None
    memberType: Any = None
    bfShutup: Any = None
    groupNotice: Any = None


_group = msgspec.json.Decoder(_Group)


def read_group(raw: msgspec.Raw) -> GroupRow | None:
    """Return a group as getGroups gives it."""
    entry = decode_entry(raw, _group)
    group_id = read_id(entry.id) if entry else None
    if entry is None or group_id is None:
        return None
    return GroupRow(
        group_id,
        read_text(entry.name) or "",
        host_id=read_id(entry.hostId),
        member_count=read_int(entry.memberCount),
        role=read_role(entry.memberType),
        muted=entry.bfShutup is True,
        notice=read_notice(entry.groupNotice)[1],
    )


async def _ask(turn: Turn, _: int) -> Evidence:
    return await turn.call("getGroups", reply_shape=list[msgspec.Raw])


def _entries(data: Any) -> Sequence[msgspec.Raw] | None:
    return data if isinstance(data, list) and all(isinstance(entry, msgspec.Raw) for entry in data) else None


_SOURCE = ListSource(GROUPS, _ask, _entries, read_group, paged=False)

TASK: Final = list_task(
    "worker68.sync_groups",
    "Bring the account's groups into the database.",
    _SOURCE,
    "getGroups",
    sync_name="groups",
    through_api=False,
)
