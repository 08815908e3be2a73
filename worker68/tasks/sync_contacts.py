"""``worker68.sync_contacts``: the list of contacts, brought into the table ``contacts`` (ContactsList [doc])."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker68.jobs.evidence import Evidence
from worker68.jobs.fields import NoFields
from worker68.jobs.snapshot import CONTACTS, ContactRow
from worker68.jobs.task import JobClass, Task, read
from worker68.protocol import api
from worker68.protocol.entries import User, decode_entry, is_friend, name_of
from worker68.protocol.values import read_id, read_text
from worker68.tasks.lists import Entries, ListReply, entries_of
from worker68.tasks.paging import ListSource, read_list
from worker68.tasks.turn import Finding, Turn

#: What the client itself asks for. Without number and size the first page comes. [seen]
CONTACTS_A_PAGE = 200


class _Contacts(ListReply):
    contactsList: list[msgspec.Raw] | None = None


class _Contact(msgspec.Struct):
    userInfo: User


_contact = msgspec.json.Decoder(_Contact)


def read_contact(raw: msgspec.Raw) -> ContactRow | None:
    entry = decode_entry(raw, _contact)
    user_id = read_id(entry.userInfo.uid) if entry else None
    if entry is None or user_id is None:
        return None
    user = entry.userInfo
    return ContactRow(user_id, name_of(user), read_text(user.identify), read_text(user.icon), is_friend(user))


async def _ask(turn: Turn, number: int) -> Evidence:
    data = {"pageNum": number, "pageSize": CONTACTS_A_PAGE}
    return await turn.ask(api.CONTACTS_LIST, data, reply_shape=_Contacts)


def _entries(data: Any) -> Entries | None:
    return entries_of(data, data.contactsList) if isinstance(data, _Contacts) else None


_SOURCE = ListSource(CONTACTS, _ask, _entries, read_contact, page_size=CONTACTS_A_PAGE)


async def sync_contacts(turn: Turn) -> Finding:
    return await read_list(turn, _SOURCE)


TASK: Final = Task(
    "worker68.sync_contacts",
    "Bring the list of contacts into the database.",
    NoFields,
    JobClass.SYNC,
    (read(sync_contacts, api.CONTACTS_LIST.type),),
    result="`snapshot_id`, `count`, `added`, `removed`, `changed`",
    sync_name="contacts",
    wait_seconds=600.0,
)
