"""What the bridge does on one request: a frame in, an ``Answer`` out, the world changed where the request says so.

The answer holds the reply's body, the messages now on their way, the events that a change raises. Never: a socket, a wait, a
fault. Only ``Malformed`` is raised; whatever else is wrong with a request is said in the reply's body, as the bridge would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from worker68.simulator import shapes
from worker68.simulator.endpoints import ENDPOINTS, Busy, read_data
from worker68.simulator.events import FILE, Message
from worker68.simulator.paging import Paging
from worker68.simulator.shapes import Json
from worker68.simulator.world import ChatType, Refusal, World

#: ``new`` takes the caller's ``custom_msg_id`` and gives it back; ``old`` (all builds of the time of frames.json) makes its own.
Kind = Literal["new", "old"]

Effect = Literal["send", "change", "read", "restart"]

SENDS: Final = frozenset({"sendMsg", "sendFile"})

SUCCESS: Final = 200
#: A bad request and an unknown path are answered with these; no such code of a real bridge is known, only 300.
BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404
BUSY: Final = 300
#: The documented words of error 300.
BUSY_ERROR: Final[Json] = {"errorCode": BUSY, "errorDesc": "很抱歉，服务繁忙，请联系客服 #A0030"}


class Malformed(Exception):
    """A frame that is no request: no JSON object, no type, no id. It cannot be answered."""


@dataclass(frozen=True, slots=True)
class Request:
    """A readable frame. ``name`` is the service's request type for ``request`` frames, else the frame's own type."""

    id: str | int
    type: str
    name: str
    frame: Json

    @property
    def effect(self) -> Effect:
        if self.type in SENDS:
            return "send"
        if self.type == "restart68":
            return "restart"
        endpoint = ENDPOINTS.get(self.name)
        return "change" if endpoint is not None and endpoint.changes else "read"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request led to. ``body`` is ``{"data": ...}`` or ``{"error": ...}``; None: no reply, ever."""

    body: Json | None
    messages: Sequence[Message] = ()
    events: Sequence[Json] = ()
    restart: bool = False


def read_request(frame: object) -> Request:
    """Raise ``Malformed`` for what is no request."""
    if not isinstance(frame, dict):
        raise Malformed("not a JSON object")
    request_id, request_type = frame.get("id"), frame.get("type")
    if not isinstance(request_type, str):
        raise Malformed("no type")
    if not isinstance(request_id, str | int):
        raise Malformed("no id")
    name: object = request_type
    if request_type == "request":
        data = frame.get("data")
        name = data.get("type") if isinstance(data, dict) else None
    return Request(request_id, request_type, name if isinstance(name, str) else "", frame)


def respond(
    world: World,
    request: Request,
    *,
    kind: Kind = "new",
    check_api_base: bool = False,
    paging: Paging | None = None,
) -> Answer:
    """Carry a request out. An unknown type is never answered (PROTOCOL.md, seen)."""
    if request.type in SENDS:
        try:
            return Answer({"data": "success"}, messages=read_send(world, request.frame, kind))
        except BadSend as error:
            return refuse(error.code, str(error))
    match request.type:
        case "request":
            return _call_service(world, request, paging or Paging(), check_api_base=check_api_base)
        case "getGroups":
            own = [group for group in world.groups.values() if world.account in group.members]
            return Answer({"data": [shapes.listed_group(world, group) for group in own]})
        case "getApiUrl":
            return Answer({"data": world.api_url})
        case "restart68":
            return Answer(None, restart=True)
    return Answer(None)


class _Call(msgspec.Struct):
    type: str
    url: str
    protoType: str = ""
    data: dict[str, Any] = {}


def _call_service(world: World, request: Request, paging: Paging, *, check_api_base: bool) -> Answer:
    endpoint = ENDPOINTS.get(request.name)
    if endpoint is None:
        return Answer(None)
    try:
        call = read_data(request.frame["data"], _Call)
    except Refusal:
        return refuse(BAD_REQUEST, "请求格式错误")
    base, path = _split(call.url)
    if path != endpoint.path or (check_api_base and base != world.api_url):
        return refuse(NOT_FOUND, "接口不存在")
    if endpoint.is_group_proto and call.protoType != "group":
        return refuse(BAD_REQUEST, "protoType 错误")
    try:
        done = endpoint.run(world, read_data(call.data, endpoint.shape), paging)
    except Busy:
        return Answer({"error": BUSY_ERROR})
    except Refusal as refusal:
        return Answer({"data": {"commonResult": {"errCode": refusal.reason.value}}})
    body = {"data": {"commonResult": {"errCode": SUCCESS}, **done.fields}}
    return Answer(body, events=() if done.event is None else (done.event,))


def _split(url: str) -> tuple[str, str]:
    """Split into base and path; what is no URL has neither."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return f"{parts.scheme}://{parts.netloc}", parts.path


def refuse(code: int, description: str) -> Answer:
    """Answer with an error reply."""
    return Answer({"error": {"errorCode": code, "errorDesc": description}})


# -- what sendMsg and sendFile ask for


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
