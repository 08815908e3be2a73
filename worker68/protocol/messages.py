"""What is written to the bridge: one call or message in, the JSON text of one frame out.

In: a message for a chat, or the type and data of a call. Out: bytes that equal the documented frames (PROTOCOL.md; the examples
are in the tests). Never: sockets, ids of its own making, state.
"""

from __future__ import annotations

import ntpath
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from worker68.jobs.fields import Chat, Quote

Newline = Literal["escaped", "raw"]

#: ``chatType`` of the messages that worker68 writes. [doc]
_TEXT, _NOTICE, _GROUP_NOTICE_EVENT = 0, 8, 50

#: A text that contains one of them, its spaces left out, is never sent by the client. [seen]
_NEVER_SENT = ("eval(", "child_process", ".exec", "atob(")

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class TextMessage:
    """A text; ``mentions`` are user ids."""

    chat: Chat
    text: str
    quote: Quote | None = None
    mentions: tuple[int, ...] = ()


@dataclass(frozen=True)
class FileMessage:
    """A file. ``path`` is absolute, and on the bridge's machine [doc]."""

    chat: Chat
    path: str


@dataclass(frozen=True)
class NoticeAnnouncement:
    """Announces a new notice in its group: setting the notice alone does not [doc]."""

    group_id: int
    text: str

    @property
    def chat(self) -> Chat:
        return Chat("group", self.group_id)


@dataclass(frozen=True)
class MuteAnnouncement:
    """Announces in a group that it was muted, or is no longer [doc]."""

    group_id: int
    text: str
    muted: bool

    @property
    def chat(self) -> Chat:
        return Chat("group", self.group_id)


Message = TextMessage | FileMessage | NoticeAnnouncement | MuteAnnouncement


def encode_call(request_id: str, frame_type: str, data: Any = None) -> bytes:
    """Encode ``getGroups``, ``getApiUrl``, ``restart68``, or any other call; without data the field is left out."""
    frame = {"id": request_id, "type": frame_type}
    return _encode(frame if data is None else frame | {"data": data})


def request_data(request_type: str, url: str, data: Any = None, proto_type: str | None = None) -> dict[str, Any]:
    """Build the data of a ``request`` call. ``url`` is base and path; group member calls need a ``proto_type`` [doc]."""
    call: dict[str, Any] = {"type": request_type, "url": url}
    if proto_type is not None:
        call["protoType"] = proto_type
    if data is not None:
        call["data"] = data
    return call


def encode_message(request_id: str, message: Message, custom_msg_id: str | None, newline: Newline) -> bytes:
    """Encode a send. Without ``custom_msg_id`` the bridge makes an id of its own, as every older build does [doc]."""
    if isinstance(message, FileMessage):
        file: dict[str, Any] = {"id": request_id, "type": "sendFile", "data": _file_data(message)}
        return _encode(file if custom_msg_id is None else file | {"custom_msg_id": custom_msg_id})
    data = _chat_fields(message.chat) | {"list": [{"type": "text", "values": _values(message, newline)}]}
    if isinstance(message, TextMessage):
        data["quoteInfo"] = None if message.quote is None else _quote_info(message.quote, newline)
    if custom_msg_id is not None:
        data["custom_msg_id"] = custom_msg_id
    return encode_call(request_id, "sendMsg", data)


def wire_text(text: str, newline: Newline) -> str:
    """Return a text as the bridge wants its line breaks: backslash and n [doc], or as they are.

    A text that itself contains a backslash followed by n cannot be distinguished from an escaped line break.
    """
    text = text.replace("\r\n", "\n")
    return text.replace("\n", "\\n") if newline == "escaped" else text


def find_never_sent(text: str) -> str | None:
    """Return what a text contains that makes the client drop it without a word (PROTOCOL.md, seen); None for any other text."""
    without_spaces = text.replace(" ", "")
    return next((mark for mark in _NEVER_SENT if mark in without_spaces), None)


def expected_echo(message: Message, newline: Newline) -> frozenset[str]:
    """Return the texts by which the account's own message may be recognised: as written, or with its line breaks restored.

    A file comes back with an address as its content and its name beside it [doc].
    """
    if isinstance(message, FileMessage):
        return frozenset({ntpath.basename(message.path)})
    return frozenset({wire_text(message.text, newline), wire_text(message.text, "raw")})


def _chat_fields(chat: Chat) -> dict[str, Any]:
    return {"id": chat.id, "type": chat.type}


def _file_data(message: FileMessage) -> dict[str, Any]:
    return {"file": message.path} | _chat_fields(message.chat)


def _values(message: TextMessage | NoticeAnnouncement | MuteAnnouncement, newline: Newline) -> dict[str, Any]:
    content = wire_text(message.text, newline)
    match message:
        case TextMessage(mentions=mentions):
            plain: dict[str, Any] = {"chatType": _TEXT, "content": content}
            return plain | {"atUids": list(mentions)} if mentions else plain
        case NoticeAnnouncement():
            return {"chatType": _NOTICE, "content": content, "bfAll": True}
        case MuteAnnouncement(muted=muted):
            return {"chatType": _GROUP_NOTICE_EVENT, "content": content, "bfShutup": muted}


def _quote_info(quote: Quote, newline: Newline) -> dict[str, Any]:
    # [seen] Whether the quoted message is the account's own is not in the job; the field is for display in the client.
    info: dict[str, Any] = {
        "chatType": _TEXT,
        "content": wire_text(quote.text, newline),
        "MsgID": quote.message_id,
        "isSelf": False,
        "user": {"uid": quote.user_id, "nickName": quote.name},
    }
    if quote.custom_msg_id is not None:
        info["customMsgId"] = str(quote.custom_msg_id)
    return info
