"""What the bridge says: the bytes of one text message in, one typed frame out.

In: raw JSON as it came. Out: ``Hello``, ``Network``, ``Reply``, ``Sightings`` (verdicts or an own message), ``Notice`` (a refusal),
``Event`` or ``Malformed``. Never: an exception, whatever the bytes are; never state, time or I/O.

Every tolerance here answers a statement of PROTOCOL.md whose grade is given beside it.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from worker68.jobs.evidence import REFUSED_BY_FRIEND, REFUSED_BY_GROUP, BridgeError, Verdict
from worker68.jobs.fields import Chat
from worker68.protocol.values import NOT_JSON, read_id, read_id_text, read_int, read_time, repair

#: ``commonResult.errCode`` of a success; any other is a failure of the service, although there is no ``error`` [doc].
_SERVICE_SUCCESS = 200

#: ``chatType`` of a notice that a message was refused, and the codes in it whose meaning is known. [seen]
_REFUSED = 52
_NOTICES = REFUSED_BY_FRIEND | REFUSED_BY_GROUP.keys()

#: So much of an error's words reaches rows, replies and terminals: the documented ones have some forty characters.
MOST_WORDS = 2000

#: JSON that is longer is decoded in slices, as deep as this: whatever is nested deeper is small, or was made to be a nuisance.
SLICE_BYTES = 64 * 1024
_SLICED_LEVELS = 4

#: Entries of a verdict that are gone through at once; documented are one or a few.
_PART_ENTRIES = 500

#: So much of data that is no JSON is kept.
_QUOTABLE_BYTES = 1000

_BEGINS_WITH_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*"([^"\\]{1,100})"')


class Hello(msgspec.Struct, frozen=True):
    """The bridge's first frame [doc]: from now on it takes requests."""


class Network(msgspec.Struct, frozen=True):
    """The heartbeat that tells whether the client is logged in to its own server."""

    status: str


class Reply(msgspec.Struct, frozen=True):
    """The direct answer to a call. ``request_id`` is ``str(id)``: a number may come back for a string [seen].

    ``data`` is not decoded yet: only the call knows what it should be (``read_data``). Of a large reply it is: ``content``.
    ``unreadable``: ``data`` is what came, and nothing but the id could be read.
    """

    request_id: str
    data: msgspec.Raw
    error: BridgeError | None
    content: tuple[Any, BridgeError | None] | None = None
    unreadable: bool = False


class Sighting(msgspec.Struct, frozen=True):
    """One message of the account's own that the bridge spoke of.

    ``verdict`` comes from a verdict event, or is None for an own message seen again (``echo``), whose ``text`` is its content,
    or its file's name. ``message_id`` is the server's; an echo that is still pending, or not sent, has none. ``error``: why a
    message to a group was not sent, where a verdict says so. [open]
    """

    chat: Chat | None
    custom_msg_id: str | None
    verdict: Verdict | None
    message_id: int | None
    sent_at: dt.datetime | None
    text: str | None = None
    error: BridgeError | None = None

    @property
    def echo(self) -> bool:
        return self.verdict is None

    @property
    def proves_sent(self) -> bool:
        if self.verdict is None:
            return self.message_id is not None
        return self.verdict in (Verdict.SENT, Verdict.READ)


class Sightings(msgspec.Struct, frozen=True):
    """An unsolicited frame about messages of the account's own. ``unreadable`` entries of it had no meaning.

    ``raw`` is empty for a part of a frame: the whole frame is an ``Event`` behind its parts.
    """

    operator: str
    raw: bytes
    seen: tuple[Sighting, ...]
    unreadable: int = 0


class Event(msgspec.Struct, frozen=True):
    """An unsolicited frame that no request asked for, as it came."""

    operator: str
    raw: bytes


class Malformed(msgspec.Struct, frozen=True):
    """A frame that has no meaning in this protocol. ``reason`` quotes nothing of it: it may contain message text."""

    reason: str


class Notice(msgspec.Struct, frozen=True):
    """The client's word in a chat that it did not let a message of the account's through. It names no message of ours. [seen]"""

    operator: str
    raw: bytes
    chat: Chat
    error: BridgeError


Frame = Hello | Network | Reply | Sightings | Notice | Event | Malformed


class _Envelope(msgspec.Struct):
    id: Any = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: Any = None
    operator: Any = None
    message: Any = None


def decode(raw: bytes) -> Frame:
    """Read one frame. Unknown fields are ignored; whatever cannot be read is ``Malformed``.

    But where it begins with an id, as replies do [doc], it is a reply all the same, whose data ``read_data`` finds unreadable.
    """
    try:
        return _read(raw)
    except NOT_JSON:
        repaired = repair(raw)
    if repaired is not None:
        try:
            return _read(repaired)
        except NOT_JSON:
            pass
    begins_with_id = _BEGINS_WITH_ID.match(raw)
    if begins_with_id is None:
        return Malformed("not a JSON object")
    return Reply(begins_with_id[1].decode("utf-8", "replace"), msgspec.Raw(raw), None, unreadable=True)


def decode_large(raw: bytes, shapes: Mapping[str, Any]) -> list[Frame]:
    """Read a frame of any size, in the pool: whole, with the data of its reply, and in parts that take no long to go through.

    ``shapes``: what the data of the replies that are waited for should be, by request id. No single call of a library takes long,
    because it would hold the interpreter, and with it the loop, for as long.
    """
    frame = decode(raw)
    if isinstance(frame, Reply) and frame.request_id in shapes:
        try:
            return [replace(frame, content=read_data(frame, shapes[frame.request_id]))]
        except ValueError:
            return [replace(frame, data=msgspec.Raw(bytes(frame.data)[:_QUOTABLE_BYTES]), unreadable=True)]
    if not isinstance(frame, Sightings) or len(frame.seen) <= _PART_ENTRIES:
        return [frame]
    starts = range(0, len(frame.seen), _PART_ENTRIES)
    parts = [Sightings(frame.operator, b"", frame.seen[start : start + _PART_ENTRIES]) for start in starts]
    return [replace(parts[0], unreadable=frame.unreadable), *parts[1:], Event(frame.operator, raw)]


def _read(raw: bytes) -> Frame:
    envelope = msgspec.json.decode(raw, type=_Envelope)
    if isinstance(envelope.operator, str):
        return _read_unsolicited(envelope.operator, raw)
    if envelope.message == "Hello":
        return Hello()
    request_id = read_id_text(envelope.id)
    if request_id is None:
        return Malformed("neither an id nor an operator")
    return Reply(request_id, envelope.data, _read_error(envelope.error))


def read_data(reply: Reply, shape: Any = Any) -> tuple[Any, BridgeError | None]:
    """Return what a reply holds, as ``shape`` or, where it is something else, as plain JSON values; and its error.

    The error is the bridge's own, or the service's, which stands in the data. Raises ValueError where the data is no JSON.
    """
    if reply.content is not None:
        return reply.content
    if reply.unreadable:
        raise ValueError("not JSON")
    try:
        data = _decode_as(reply.data, shape)
    except NOT_JSON:
        repaired = repair(bytes(reply.data))
        if repaired is None:
            raise ValueError("not JSON") from None
        data = _decode_as(repaired, shape)
    return data, reply.error or _read_service_error(data)


def _decode_as(raw: bytes | msgspec.Raw, shape: Any) -> Any:
    if shape is Any:
        return _decode_sliced(raw)
    try:
        return _decoder(shape).decode(raw)
    except msgspec.ValidationError:
        return _decode_sliced(raw)


def _decode_sliced(raw: bytes | msgspec.Raw, levels: int = _SLICED_LEVELS) -> Any:
    """Decode JSON, what is large in slices: making its values takes five times as long as finding where they begin and end."""
    view = memoryview(raw)
    if len(view) <= SLICE_BYTES or levels == 0:
        return msgspec.json.decode(raw)
    try:
        entries = _decoder(list[msgspec.Raw]).decode(raw)
    except msgspec.ValidationError:
        pass
    else:
        return [_decode_sliced(entry, levels - 1) for entry in entries]
    try:
        fields = _decoder(dict[str, msgspec.Raw]).decode(raw)
    except msgspec.ValidationError:
        return msgspec.json.decode(raw)
    return {name: _decode_sliced(value, levels - 1) for name, value in fields.items()}


@functools.cache
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def _read_unsolicited(operator: str, raw: bytes) -> Frame:
    # The whole frame is decoded, not its data alone: an event passed on must be valid JSON, and the envelope's reader skips over
    # the names and the values that it does not want.
    frame = _decode_sliced(raw, _SLICED_LEVELS + 1)
    content = frame.get("data")
    if operator == "network":
        status = content.get("networkStatusType") if isinstance(content, dict) else None
        return Network(status) if isinstance(status, str) else Malformed("network without a status")
    if operator == "msgListPropertyUpdate":
        return _read_verdicts(operator, content, raw)
    if operator == "msgNew" and isinstance(content, dict):
        if read_int(content.get("chatType", content.get("ChatType"))) == _REFUSED:
            return _read_notice(operator, frame.get("operatorType"), content, raw) or Event(operator, raw)
        if content.get("isSelf") is True:
            return Sightings(operator, raw, (_read_echo(content),))
    return Event(operator, raw)


def _read_notice(operator: str, operator_type: Any, content: dict[str, Any], raw: bytes) -> Notice | None:
    """Return the refusal that a message of the client's own to its user tells; None for anything else."""
    code, chat = read_int(content.get("errorType")), _read_chat(content)
    if chat is None and (friend_id := read_id(content.get("targetId"))) is not None:
        chat = Chat("friend", friend_id)
    if operator_type != "notification" or chat is None or code not in _NOTICES:
        return None
    return Notice(operator, raw, chat, BridgeError(code, _in_words(content.get("errMsg"))))


def _read_verdicts(operator: str, content: Any, raw: bytes) -> Frame:
    if not isinstance(content, dict) or not isinstance(content.get("list"), list):
        return Malformed("a verdict without a list")
    chat = _read_chat(content)
    seen = [_read_verdict(chat, entry) for entry in content["list"]]
    readable = tuple(sighting for sighting in seen if sighting is not None)
    return Sightings(operator, raw, readable, unreadable=len(seen) - len(readable))


def _read_verdict(chat: Chat | None, entry: Any) -> Sighting | None:
    updated = entry.get("updated") if isinstance(entry, dict) else None
    if not isinstance(updated, dict):
        return None
    try:
        verdict = Verdict(read_int(updated.get("readStatus")))  # type: ignore[arg-type]  # None is a ValueError too
    except ValueError:
        return None
    return Sighting(
        chat=chat,
        custom_msg_id=read_id_text(entry.get("customMsgId")),
        verdict=verdict,
        message_id=read_id(updated.get("MsgID")),
        sent_at=_sent_time(updated),
        error=_read_reason(updated),
    )


def _read_reason(updated: dict[str, Any]) -> BridgeError | None:
    code = read_int(updated.get("errorType", updated.get("errorCode")))
    return BridgeError(code, _in_words(updated.get("errMsg"))) if code in REFUSED_BY_GROUP else None


def _read_echo(content: dict[str, Any]) -> Sighting:
    # [doc/seen] An own message with readStatus 1 and a MsgID is proof. Without a readStatus the MsgID says enough; with 0 or -1
    # beside it, it is not believed.
    on_its_way = read_int(content.get("readStatus", Verdict.SENT)) not in (Verdict.SENT, Verdict.READ)
    file_name = content.get("fileName")
    text = file_name if isinstance(file_name, str) else content.get("content")
    return Sighting(
        chat=_read_chat(content),
        custom_msg_id=read_id_text(content.get("customMsgId")),
        verdict=None,
        message_id=None if on_its_way else read_id(content.get("MsgID")),
        sent_at=_sent_time(content),
        text=text if isinstance(text, str) else None,
    )


def _read_chat(content: dict[str, Any]) -> Chat | None:
    match content.get("type"):
        case "friend":
            chat_id = read_int(content.get("id", content.get("friendId")))
            return None if chat_id is None else Chat("friend", chat_id)
        case "group":
            chat_id = read_int(content.get("id", content.get("groupId")))
            return None if chat_id is None else Chat("group", chat_id)
    return None


def _read_error(error: Any) -> BridgeError | None:
    """Return the reply's ``error``. The code may be missing, 0 or a string, the description an object [seen]."""
    if error is None or error is False or error == "":
        return None
    if not isinstance(error, dict):
        return BridgeError(None, _in_words(error))
    return BridgeError(_as_code(error.get("errorCode")), _in_words(error.get("errorDesc")))


def _read_service_error(data: Any) -> BridgeError | None:
    """Return the failure of the service that a reply without ``error`` carries in its data, if it does.

    ``commonResult.errCode`` other than 200 [doc]; a bare integer, for instance 1021 [seen].
    """
    if isinstance(data, int) and not isinstance(data, bool):
        return None if data == _SERVICE_SUCCESS else BridgeError(_as_code(data), "")
    common = data.get("commonResult") if isinstance(data, dict) else getattr(data, "commonResult", None)
    if not isinstance(common, dict) or "errCode" not in common:
        return None
    code = _as_code(common["errCode"])
    return None if code == _SERVICE_SUCCESS else BridgeError(code, _in_words(common.get("errMsg")))


def _as_code(value: Any) -> int | str | None:
    """Return a code as a 64-bit integer where it is one, else as what was seen; None where that is no code at all."""
    number = read_int(value)
    if number is not None:
        return number
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _in_words(value)
    return read_id_text(value)


def _in_words(value: Any) -> str:
    if value is None:
        return ""
    words = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return words if len(words) <= MOST_WORDS else f"{words[: MOST_WORDS - 1]}…"


def _sent_time(content: dict[str, Any]) -> dt.datetime | None:
    return read_time(content.get("time", content.get("sendTime")))
