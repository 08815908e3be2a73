"""``worker68.rename_group``: give a group another name.

Frame: GroupUpdate ``op`` 7 with ``groupName``. [seen] Read-back: GroupDetail shows the name.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from worker68.jobs.fields import Id, in_group
from worker68.jobs.outcome import Outcome, TryAgain, succeeded
from worker68.jobs.task import JobClass, Task, change
from worker68.protocol import api
from worker68.tasks.turn import Turn

#: ``op`` of GroupUpdate. [doc/seen]
RENAME = 7


class RenameGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    #: How long a name may be is not known: the service refuses one that is too long.
    group_id: Id
    name: Annotated[str, Meta(min_length=1, max_length=200)]


async def rename(turn: Turn, fields: RenameGroup) -> Outcome | TryAgain:
    data = {"op": RENAME, "groupParam": {"groupName": fields.name, "groupId": fields.group_id}}
    return await turn.change(api.GROUP_UPDATE, data, succeeded({"name": fields.name}))


async def is_renamed(turn: Turn, fields: RenameGroup) -> Outcome | None:
    """Return the success where GroupDetail shows the name, None where it shows another or none."""
    group = (await turn.show(api.GROUP_DETAIL, {"groupId": fields.group_id})).get("group")
    shown = group.get("name") if isinstance(group, dict) else None
    return succeeded({"name": fields.name}) if shown == fields.name else None


TASK: Final = Task(
    "worker68.rename_group",
    "Give a group another name.",
    RenameGroup,
    JobClass.MODERATION,
    (change(rename, api.GROUP_UPDATE.type, is_renamed),),
    result="`name`",
    example={"group_id": 389284, "name": "Opening hours"},
    chat_of=in_group,
    experimental=True,
    wait_seconds=150.0,
)
