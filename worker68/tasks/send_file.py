"""``worker68.send_file``: a file of the bridge's machine to a group or a friend.

Frame: ``sendFile``. [doc] Proof: as for a text; the account's own message shows the file's name. Permission: the path must lie
below the account's ALLOWED_FILE_ROOTS.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from worker68.jobs.fields import Chat
from worker68.jobs.outcome import Outcome, TryAgain
from worker68.jobs.task import JobClass, Task, message
from worker68.protocol.messages import FileMessage
from worker68.tasks.send_message import chat_of
from worker68.tasks.turn import Turn


class SendFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chat: Chat
    path: Annotated[str, Meta(min_length=1, max_length=4096)]


async def send_file(turn: Turn, fields: SendFile) -> Outcome | TryAgain:
    return await turn.send(FileMessage(fields.chat, fields.path))


TASK: Final = Task(
    "worker68.send_file",
    "Send a file of the bridge's machine to a group or a friend.",
    SendFile,
    JobClass.SEND,
    (message(send_file),),
    result="as for `send_message`",
    example={"chat": {"type": "friend", "id": 7237423}, "path": "C:/outbox/price list.pdf"},
    chat_of=chat_of,
    permission=lambda permissions, fields: permissions.why_not_file(fields.path),
    wait_seconds=60.0,
)
