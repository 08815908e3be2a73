"""Tasks that bring a whole list into the database: how the service's replies hold a list, and what these tasks have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from worker68.jobs.evidence import Evidence
from worker68.jobs.fields import NoFields
from worker68.jobs.snapshot import ListKind, Row
from worker68.jobs.task import JobClass, Task, read
from worker68.protocol.api import ApiCall
from worker68.tasks.paging import ListSource, read_list
from worker68.tasks.turn import Finding, Turn

#: What ``result`` of such a task holds.
CHANGES: Final = "`snapshot_id`, `count`, `added`, `removed`, `changed`"


class _Reply(msgspec.Struct):
    """What stands in each reply of the service that holds a list."""

    commonResult: Any = None
    count: Any = None
    lastUpdateTime: Any = None


def list_of_service(
    kind: ListKind,
    call: ApiCall,
    key: str,
    read_entry: Callable[[msgspec.Raw], Row | None],
    *,
    page_size: int | None = None,
) -> ListSource[Any]:
    """Return how a list is read that the replies to ``call`` hold under ``key``.

    ``page_size``: what is asked for; None where one reply holds the list. That of a group is asked for by the job's ``group_id``.
    """
    shape: Any = msgspec.defstruct(f"{call.type}Reply", [(key, list[msgspec.Raw] | None, None)], bases=(_Reply,))

    async def ask(turn: Turn, number: int) -> Evidence:
        fields: Any = turn.job.fields
        data = {"groupId": fields.group_id} if kind.by_group else {}
        if page_size is not None:
            data |= {"pageNum": number, "pageSize": page_size}
        return await turn.ask(call, data or None, reply_shape=shape)

    def find_entries(data: Any) -> Sequence[msgspec.Raw] | None:
        """An empty list is left out of the service's replies; data without the service's own result is none of them. [doc/seen]"""
        if not isinstance(data, shape):
            return None
        entries: list[msgspec.Raw] | None = getattr(data, key)
        return () if entries is None and data.commonResult is not None else entries

    return ListSource(kind, ask, find_entries, read_entry, page_size=page_size, paged=page_size is not None)


def list_task(
    name: str, summary: str, source: ListSource[Any], call: str, *, sync_name: str, through_api: bool = True
) -> Task:
    """Return the task that brings a list of the account into the database; its first call is of the kind ``call``."""

    async def sync(turn: Turn, fields: Any) -> Finding:
        return await read_list(turn, source, getattr(fields, "group_id", None))

    return Task(
        name,
        summary,
        NoFields,
        JobClass.SYNC,
        (read(sync, call, through_api=through_api),),
        result=CHANGES,
        sync_name=sync_name,
        wait_seconds=600.0,
    )
