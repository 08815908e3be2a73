"""What ``sendMsg`` and ``sendFile`` ask for: a frame in, the messages that go on their way out.

Never: a verdict; whether a message really goes out is decided by the one who carries it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from worker68.simulator.events import FILE, Message
from worker68.simulator.world import ChatType, World

#: ``new`` takes the caller's ``custom_msg_id`` and gives it back; ``old`` (all builds of the time of frames.json) makes its own.
Kind = Literal["new", "old"]

SENDS: Final = frozenset({"sendMsg", "sendFile"})


class BadSend(Exception):
    """The bridge refuses a send with an error reply; ``code`` is its ``errorCode``: 400 and 404 are ours, none is documented."""

    def __init__(self, code: int, description: str) -> None:
        self.code = code
        super().__init__(description)


class _Values(msgspec.Struct):
    content: str
    chatType: int = 0
    atUids: list[int] = []


class _Item(msgspec.Struct):
    type: str
    values: _Values


class _SendMsg(msgspec.Struct):
    id: int
    type: ChatType
    items: list[_Item] = msgspec.field(name="list")
    custom_msg_id: str | int | None = None


class _FileData(msgspec.Struct):
    file: str
    type: ChatType
    id: int


class _SendFile(msgspec.Struct):
    data: _FileData
    custom_msg_id: str | int | None = None


def read_send(world: World, frame: dict[str, Any], kind: Kind) -> list[Message]:
    """Read a send's messages: one for each item, the caller's id on the first. Raise ``BadSend`` where the bridge refuses."""
    parts: list[tuple[int, str, tuple[int, ...]]]
    try:
        if frame["type"] == "sendFile":
            asked_file = msgspec.convert(frame, _SendFile, strict=False)
            file = asked_file.data
            chat_type, chat_id, custom_id = file.type, file.id, asked_file.custom_msg_id
            parts = [(FILE, file.file, ())]
        else:
            asked = msgspec.convert(frame.get("data"), _SendMsg, strict=False)
            chat_type, chat_id, custom_id = asked.type, asked.id, asked.custom_msg_id
            parts = [
                (item.values.chatType, _unescape(item.values.content), tuple(item.values.atUids))
                for item in asked.items
            ]
    except msgspec.ValidationError as error:
        raise BadSend(400, "消息格式错误") from error
    if not parts:
        raise BadSend(400, "消息格式错误")
    if not world.knows_chat(chat_type, chat_id):
        raise BadSend(404, "会话不存在")
    refused = not world.may_write(chat_type, chat_id)
    messages = []
    for position, (content_type, text, at_uids) in enumerate(parts):
        is_callers = kind == "new" and custom_id is not None and position == 0
        own_id = str(custom_id) if is_callers else world.make_custom_id()
        message_id = world.next_message_id()
        messages.append(Message(chat_type, chat_id, text, own_id, message_id, content_type, at_uids, refused))
    return messages


def _unescape(content: str) -> str:
    """Turn backslash + n into the line feed that it stands for (PROTOCOL.md, doc)."""
    return content.replace("\\n", "\n")
