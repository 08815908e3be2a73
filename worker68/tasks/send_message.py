"""``worker68.send_message``: a text to a group or a friend.

Frame: ``sendMsg`` with one text item. [doc] Proof: the verdict with the server's id, or the account's own message seen with one.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker68.jobs.fields import Chat, Id, Quote, Text
from worker68.jobs.outcome import Outcome, TryAgain
from worker68.jobs.task import JobClass, Task, message
from worker68.protocol.messages import TextMessage
from worker68.tasks.turn import Turn


class SendMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chat: Chat
    text: Text
    quote: Quote | None = None
    mentions: tuple[Id, ...] = ()


def chat_of(fields: Any) -> Chat:
    chat: Chat = fields.chat
    return chat


async def send_message(turn: Turn, fields: SendMessage) -> Outcome | TryAgain:
    return await turn.send(TextMessage(fields.chat, fields.text, fields.quote, fields.mentions))


TASK: Final = Task(
    "worker68.send_message",
    "Send a text to a group or a friend.",
    SendMessage,
    JobClass.SEND,
    (message(send_message),),
    result="`custom_msg_id`, `message_id` (the server's, or null), `sent_at`",
    example={"chat": {"type": "group", "id": 389284}, "text": "hello"},
    chat_of=chat_of,
    texts_of=lambda fields: {"text": fields.text},
    wait_seconds=60.0,
)
