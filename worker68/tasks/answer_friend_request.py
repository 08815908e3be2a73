"""``worker68.answer_friend_request``: accept a friend request.

Frame: UpdateContactsApply ``op`` 8. [seen] Read-back: ContactsDetail shows whether the user is a friend. [doc] ContactsApplyList
cannot prove it: what becomes there of a request that is accepted is [open].
"""

from __future__ import annotations

from typing import Any, Final

from worker68.jobs.fields import Chat, OneUser
from worker68.jobs.outcome import Outcome, TryAgain, succeeded
from worker68.jobs.task import JobClass, Task, change
from worker68.protocol import api
from worker68.tasks.sync_contact import sync_contact
from worker68.tasks.turn import Turn

#: ``op`` of UpdateContactsApply. [seen]
ACCEPT = 8

_ACCEPTED = succeeded({"accepted": True})


async def accept(turn: Turn, fields: OneUser) -> Outcome | TryAgain:
    data = {"applyUid": fields.user_id, "op": ACCEPT}
    return await turn.change(api.UPDATE_CONTACTS_APPLY, data, _ACCEPTED)


async def is_accepted(turn: Turn, fields: OneUser) -> Outcome | None:
    """Return the success where the user is a friend, None where not, or nothing shows it."""
    contact = await sync_contact(turn, fields)
    if not isinstance(contact, Outcome) or contact.result is None:
        return None
    return _ACCEPTED if contact.result["contact"]["friend"] else None


def _chat_of(fields: Any) -> Chat:
    return Chat("friend", fields.user_id)


TASK: Final = Task(
    "worker68.answer_friend_request",
    "Accept a friend request.",
    OneUser,
    JobClass.MODERATION,
    (change(accept, api.UPDATE_CONTACTS_APPLY.type, is_accepted),),
    result="`accepted` (true)",
    example={"user_id": 5138518},
    chat_of=_chat_of,
    experimental=True,
    wait_seconds=150.0,
)
