"""A probe's bare connection to a bridge, and a session over it: calls, messages to the account itself, what comes back.

In: what a question wants written. Out: frames as they are, replies, what was seen of the messages. For one event loop. Never: a
retry; what an answer means (``questions``).
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from worker68.bridge.connection import Connection, Opcode
from worker68.bridge.dial import Dial
from worker68.clock import Deadline
from worker68.errors import Worker68Error
from worker68.protocol.api import ApiCall
from worker68.protocol.messages import encode_call, request_data
from worker68.protocol.values import cut_deep, read_id

#: A contact list has some megabytes.
MESSAGE_LIMIT: Final = 64 * 1024 * 1024

#: A reply comes within a fraction of a second, if one comes.
REPLY_SECONDS: Final = 4.0

#: What the account writes to itself.
TEXT: Final = "worker68 probe"

#: Between two tries to write to a socket that takes nothing now.
_WRITE_SECONDS: Final = 0.02

#: Notes what went over a connection: its number, the way ("in" or "out"), and the frame; None for one that is no JSON.
Tap = Callable[[int, str, Any], None]


class ProbeFailed(Worker68Error):
    """The bridge could not be asked. The message says why."""


class Wire:
    """An open connection. ``frames`` holds each event and reply that came in, those of a batch one by one."""

    def __init__(self, connection: Connection, url: str, number: int, tap: Tap) -> None:
        self.url = url
        self.tap = tap
        self._connection = connection
        self._number = number
        self._news = asyncio.Event()
        self.frames: list[dict[str, Any]] = []
        self.batch_forms: set[str] = set()
        self.pongs = 0
        asyncio.get_running_loop().add_reader(connection, self._read)
        self._read()  # what came behind the handshake

    @property
    def lost(self) -> str | None:
        """Why the connection can no longer be used; None while it can."""
        return self._connection.lost

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._connection)
        self._connection.close()

    async def ask(self, frame_type: str, data: Any = None, *, deadline: Deadline, **top: Any) -> dict[str, Any] | None:
        """Write a request and return its reply, None where none comes in time. ``top``: further fields of the frame."""
        request_id = f"probe-{secrets.token_hex(4)}"
        await self.write(json.loads(encode_call(request_id, frame_type, data)) | top)
        return await self.wait_for(lambda frame: str(frame.get("id")) == request_id, deadline)

    async def write(self, frame: dict[str, Any]) -> None:
        """Write one frame whole, unless the connection is lost."""
        while self.lost is None and not self._connection.flush():
            await asyncio.sleep(_WRITE_SECONDS)
        payload = json.dumps(frame, ensure_ascii=False).encode()
        while self.lost is None and not self._connection.begin(payload):
            await asyncio.sleep(_WRITE_SECONDS)
        self.tap(self._number, "out", frame)
        while self.lost is None and not self._connection.flush():
            await asyncio.sleep(_WRITE_SECONDS)

    async def ping(self, deadline: Deadline) -> bool:
        """Ping, and return whether a pong comes."""
        before = self.pongs
        self._connection.ping()
        self._connection.flush()
        await self._wait(lambda: self.pongs > before, deadline)
        return self.pongs > before

    async def wait_for(self, is_it: Callable[[dict[str, Any]], bool], deadline: Deadline) -> dict[str, Any] | None:
        """Return the first frame that fits, also one that is there already; None where none comes in time."""

        def find() -> dict[str, Any] | None:
            return next((frame for frame in self.frames if is_it(frame)), None)

        await self._wait(lambda: find() is not None, deadline)
        return find()

    async def _wait(self, holds: Callable[[], bool], deadline: Deadline) -> None:
        while not (holds() or deadline.passed or self.lost is not None):
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), deadline.remaining())
            except TimeoutError:
                return

    def _read(self) -> None:
        connection = self._connection
        connection.read()
        while (received := connection.next_message()) is not None:
            match received.opcode:
                case Opcode.PING:
                    connection.pong(received.payload)
                    connection.flush()
                case Opcode.PONG:
                    self.pongs += 1
                case Opcode.CLOSE:
                    connection.lose(received.close_reason())
                case _:
                    self._hear(received.payload)
        self._news.set()
        loop = asyncio.get_running_loop()
        if connection.lost is not None:
            loop.remove_reader(connection)
        elif connection.has_buffered:
            loop.call_soon(self._read)

    def _hear(self, payload: bytes) -> None:
        try:
            frame = json.loads(payload, parse_constant=str)
        except (ValueError, RecursionError):
            frame = None
        cut_deep(frame)
        self.tap(self._number, "in", frame)
        self.frames.extend(part for part in self._parts(frame) if isinstance(part, dict))

    def _parts(self, frame: Any) -> Iterator[Any]:
        if isinstance(frame, list):
            self.batch_forms.add("array")
            yield from frame
        elif isinstance(frame, dict) and frame.get("operator") == "__batch__" and isinstance(frame.get("data"), list):
            self.batch_forms.add("operator")
            yield from frame["data"]
        else:
            yield frame


async def connect(url: str, number: int, tap: Tap, seconds: float) -> Wire:
    """Open a connection. Raise ``ProbeFailed``."""
    loop = asyncio.get_running_loop()
    dialled: asyncio.Future[Connection | str] = loop.create_future()

    def settle(result: Connection | str) -> None:
        if not dialled.done():
            dialled.set_result(result)
        elif isinstance(result, Connection):
            result.close()

    def done(_: Dial, result: Connection | str) -> None:
        loop.call_soon_threadsafe(settle, result)

    dial = Dial(url, timeout_seconds=seconds, message_limit=MESSAGE_LIMIT, done=done)
    dial.start()
    try:
        result = await dialled
    except asyncio.CancelledError:
        dial.abandon()
        raise
    if isinstance(result, str):
        raise ProbeFailed(f"the bridge at {url} cannot be reached: {result}")
    return Wire(result, url, number, tap)


@dataclass
class SeenSend:
    """What was seen of one message to the account itself."""

    custom_msg_id: str
    reply: dict[str, Any] | None = None
    verdict_id: str | None = None
    pending_echo: bool = False


@dataclass
class Session:
    """One bridge, asked once. ``base``: the API's. ``sent``: what was seen of the messages sent, by the length of their ids."""

    wire: Wire
    base: str
    own_uid: int | None
    group: int | None
    deadline: Deadline
    sent: dict[int, SeenSend] = field(default_factory=dict)

    def within(self, seconds: float) -> Deadline:
        return Deadline.after(min(seconds, self.deadline.remaining()))

    async def call(self, call: ApiCall, data: Any = None) -> dict[str, Any] | None:
        request = request_data(call.type, self.base + call.path, data, call.proto_type)
        return await self.wire.ask("request", request, deadline=self.within(REPLY_SECONDS))


async def send(session: Session, digits: int, seconds: float) -> SeenSend:
    """Send the account a message of its own, and note what is said of it."""
    custom_msg_id = str(random.randrange(10 ** (digits - 1), 10**digits))
    seen = session.sent[digits] = SeenSend(custom_msg_id)

    def find_ids(frame: dict[str, Any]) -> list[str]:
        return [one for one in _verdict_ids(frame, session.own_uid) if one not in known]

    known = {one for frame in session.wire.frames for one in _verdict_ids(frame, session.own_uid)}
    item = {"type": "text", "values": {"chatType": 0, "content": TEXT}}
    data = {"id": session.own_uid, "type": "friend", "list": [item], "quoteInfo": None, "custom_msg_id": custom_msg_id}
    deadline = session.within(seconds)

    async def await_verdict() -> None:
        frame = await session.wire.wait_for(lambda frame: bool(find_ids(frame)), deadline)
        if frame is not None:
            ids = find_ids(frame)
            seen.verdict_id = custom_msg_id if custom_msg_id in ids else ids[0]

    waiting = asyncio.create_task(await_verdict())
    seen.reply = await session.wire.ask("sendMsg", data, deadline=session.within(REPLY_SECONDS))
    if kind_of(seen.reply) == "error":
        waiting.cancel()
    await asyncio.wait([waiting])
    seen.pending_echo = any(_is_pending_echo(frame, custom_msg_id) for frame in session.wire.frames)
    return seen


def kind_of(reply: dict[str, Any] | None) -> str:
    return "silence" if reply is None else "error" if reply.get("error") is not None else "reply"


def kind_of_id(seen: SeenSend) -> str:
    if kind_of(seen.reply) == "error":
        return "refused"
    if seen.verdict_id is None:
        return "no verdict"
    return "given back" if seen.verdict_id == seen.custom_msg_id else "another"


def is_success(reply: dict[str, Any]) -> bool:
    return kind_of(reply) == "reply" and field_of(field_in(reply, "commonResult"), "errCode") == 200


def field_in(reply: dict[str, Any], name: str) -> Any:
    return field_of(reply.get("data"), name)


def field_of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _verdict_ids(frame: dict[str, Any], chat_id: int | None) -> list[str]:
    """Return the ids of the messages in this chat that a frame is a verdict about."""
    if frame.get("operator") != "msgListPropertyUpdate" or read_id(field_in(frame, "id")) != chat_id:
        return []
    entries = field_in(frame, "list")
    return (
        [str(one.get("customMsgId")) for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    )


def _is_pending_echo(frame: dict[str, Any], custom_msg_id: str) -> bool:
    data = frame.get("data")
    own = isinstance(data, dict) and str(data.get("customMsgId")) == custom_msg_id
    return own and frame.get("operator") == "msgNew" and field_in(frame, "readStatus") == -1
