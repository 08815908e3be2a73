"""The calls of one account on a connection whose other end is the test's."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

import pytest
from websockets.frames import Frame
from websockets.protocol import Protocol as Reader
from websockets.protocol import Side

from worker68.bridge.calls import Call, Guard, Pending, SendTerms, new_request_id
from worker68.bridge.connection import Connection
from worker68.bridge.correlation import LateEvidence
from worker68.bridge.exchange import Exchange, LinkOptions, Listener
from worker68.bridge.frames import decode
from worker68.clock import monotonic
from worker68.jobs.evidence import Confirm
from worker68.jobs.fields import Chat
from worker68.protocol.messages import encode_call

CHAT = Chat("group", 389284)


class Talk:
    """An exchange, what its listener heard, and what the bridge reads and says."""

    def __init__(self, options: LinkOptions) -> None:
        self.late: list[LateEvidence] = []
        self.events: list[str] = []
        self.exchange = Exchange(
            "main", options, Listener(self._change, self._hear_late, self._hear), ids_given_back=True
        )
        self.not_ready: Callable[[Call], str | None] = lambda call: None
        self.connect()

    def connect(self) -> None:
        ours, self._peer = socket.socketpair()
        self._peer.setblocking(False)
        self._reader = Reader(Side.SERVER, max_size=None)
        self.connection = Connection(ours, 1024 * 1024)

    def close(self) -> None:
        self.connection.close()
        self._peer.close()

    # What a session does

    def call(self, kind: str, data: Any = None, guard: Guard | None = None) -> Call:
        """Make a call, which is written with the next ``write``."""
        pending = Pending(new_request_id())
        call = Call(pending, encode_call(pending.request_id, kind, data), guard=guard, give_up=self.exchange.withdraw)
        self.exchange.add(call)
        return call

    def send(self, custom_msg_id: str, confirm: Confirm = "verdict") -> Call:
        """Make a call that sends a message, as far as the exchange sees it."""
        pending = Pending(new_request_id(), SendTerms(custom_msg_id, CHAT, frozenset({"hello"}), confirm))
        call = Call(pending, encode_call(pending.request_id, "sendMsg"), give_up=self.exchange.withdraw)
        self.exchange.add(call)
        return call

    def write(self, now: float | None = None) -> list[dict[str, Any]]:
        """Let what may be written go; return the frames that the bridge has read since then, and those before it."""
        self.exchange.write(self.connection, monotonic() if now is None else now, self.not_ready)
        return self.read()

    def hear(self, frame: dict[str, Any]) -> None:
        """Take a frame of the bridge."""
        self.exchange.take(decode(json.dumps(frame).encode()), monotonic())

    # What a bridge does

    def read(self) -> list[dict[str, Any]]:
        """Return the frames that have come whole since the last time."""
        with suppress(BlockingIOError):
            while data := self._peer.recv(1024 * 1024):
                self._reader.receive_data(data)
        return [json.loads(bytes(frame.data)) for frame in self._reader.events_received() if isinstance(frame, Frame)]

    def _change(self, account: str) -> None: ...

    def _hear_late(self, account: str, evidence: LateEvidence) -> None:
        self.late.append(evidence)

    def _hear(self, account: str, operator: str, raw: bytes) -> None:
        self.events.append(operator)


class MakeTalk(Protocol):
    def __call__(self, **options: Any) -> Talk: ...


@pytest.fixture
def make_talk() -> Iterator[MakeTalk]:
    made: list[Talk] = []

    def make(**options: Any) -> Talk:
        made.append(Talk(LinkOptions(**options)))
        return made[-1]

    yield make
    for talk in made:
        talk.close()


@pytest.fixture
def talk(make_talk: MakeTalk) -> Talk:
    return make_talk()
