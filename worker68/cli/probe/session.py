"""A session of a probe with one bridge: calls, messages to the account itself, and what the frames that come back say.

In: what a question wants written. Out: replies, and what was seen of the messages. Never: what an answer means (``questions``).
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any, Final

from worker68.cli.probe.wire import Wire
from worker68.clock import Deadline
from worker68.protocol.api import ApiCall
from worker68.protocol.messages import request_data
from worker68.protocol.values import read_id

#: A reply comes within a fraction of a second, if one comes.
REPLY_SECONDS: Final = 4.0

TEXT: Final = "worker68 probe"


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
