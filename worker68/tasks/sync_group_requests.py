"""``worker68.sync_group_requests``: who asks to join a group, brought into the table ``group_requests`` (GroupReqList [doc]).

No reply with such requests is documented: they are read like their twins, the friend requests.
"""

from __future__ import annotations

from typing import Final

import msgspec

from worker68.jobs.evidence import Evidence
from worker68.jobs.fields import NoFields
from worker68.jobs.snapshot import GROUP_REQUESTS, GroupRequestRow
from worker68.jobs.task import JobClass, Task, read
from worker68.protocol import api
from worker68.protocol.entries import decode_entry, name_of
from worker68.protocol.values import read_id, read_text, read_time
from worker68.tasks.paging import ListSource, read_list
from worker68.tasks.sync_friend_requests import Requests, entries_of_requests, request_decoder
from worker68.tasks.turn import Finding, Turn

#: What the documented GroupReqList asks for. [doc]
REQUESTS_A_PAGE = 100


def read_group_request(raw: msgspec.Raw) -> GroupRequestRow | None:
    entry = decode_entry(raw, request_decoder)
    user_id = read_id(entry.userInfo.uid) if entry else None
    if entry is None or user_id is None:
        return None
    return GroupRequestRow(
        user_id,
        read_id(entry.groupId) or 0,
        name_of(entry.userInfo),
        group_name=read_text(entry.groupName),
        message=read_text(entry.msg),
        requested_at=read_time(entry.modifyTime),
    )


async def _ask(turn: Turn, number: int) -> Evidence:
    data = {"pageNum": number, "pageSize": REQUESTS_A_PAGE}
    return await turn.ask(api.GROUP_REQ_LIST, data, reply_shape=Requests)


_SOURCE = ListSource(GROUP_REQUESTS, _ask, entries_of_requests, read_group_request, first=0, page_size=REQUESTS_A_PAGE)


async def sync_group_requests(turn: Turn) -> Finding:
    return await read_list(turn, _SOURCE)


TASK: Final = Task(
    "worker68.sync_group_requests",
    "Bring the list of those who ask to join a group into the database.",
    NoFields,
    JobClass.SYNC,
    (read(sync_group_requests, api.GROUP_REQ_LIST.type),),
    result="`snapshot_id`, `count`, `added`, `removed`, `changed`",
    sync_name="group-requests",
    wait_seconds=600.0,
)
