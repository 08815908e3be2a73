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
from worker68.simulator.endpoints import CHANGES, ENDPOINTS, Busy, read_data
from worker68.simulator.events import Message
from worker68.simulator.paging import Paging
from worker68.simulator.sends import SENDS, BadSend, Kind, read_send
from worker68.simulator.shapes import Json
from worker68.simulator.world import Refusal, World

Effect = Literal["send", "change", "read", "restart"]

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
        return "change" if self.name in CHANGES else "read"


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
        done = endpoint.run(world, call.data, paging)
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
