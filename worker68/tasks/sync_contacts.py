"""``worker68.sync_contacts``: the list of contacts, brought into the table ``contacts`` (ContactsList [doc])."""

from __future__ import annotations

from typing import Final

import msgspec

from worker68.jobs.snapshot import CONTACTS, ContactRow
from worker68.protocol import api
from worker68.protocol.entries import User, decode_entry, is_friend, name_of
from worker68.protocol.values import read_id, read_text
from worker68.tasks.lists import list_of_service, list_task


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


#: Pages as large as the client itself asks for. Without number and size the first page comes. [seen]
_SOURCE = list_of_service(CONTACTS, api.CONTACTS_LIST, "contactsList", read_contact, page_size=200)

TASK: Final = list_task(
    "worker68.sync_contacts",
    "Bring the list of contacts into the database.",
    _SOURCE,
    api.CONTACTS_LIST.type,
    sync_name="contacts",
)
