"""What comes in on a connection: in its order, whatever is large, and no more than can be heard."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.integration.bridge.servers import text
from worker68.bridge.calls import Call, Pending
from worker68.bridge.connection import Connection, Opcode, Received
from worker68.bridge.exchange import Exchange, LinkOptions, Listener
from worker68.bridge.frames import Event, Frame, Network, Reply
from worker68.bridge.inbox import LARGE_BYTES, Inbox
from worker68.clock import monotonic

LOGIN = {"operator": "network", "data": {"networkStatusType": "socketLogin"}}


class Pool:
    """Computes when the test wants it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], list[Frame]], Callable[[list[Frame]], None]]] = []

    def __call__(self, work: Callable[[], list[Frame]], then: Callable[[list[Frame]], None]) -> None:
        self.waiting.append((work, then))

    def go_on(self) -> None:
        work, then = self.waiting.pop(0)
        then(work())


class Stage:
    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        self.pool = Pool()
        listener = Listener(on_change=lambda _: None, on_late_evidence=lambda *_: None, on_event=lambda *_: None)
        self.exchange = Exchange("main", LinkOptions(), listener, ids_given_back=False)
        self.connection = Connection(ours, 64 * 1024 * 1024)
        self.inbox = Inbox(self.connection, self.exchange, self.pool)

    def say(self, *frames: Any) -> None:
        """Let the peer write, and read what the socket holds, until all of it is in."""
        self.peer.setblocking(False)
        data = memoryview(b"".join(frame if isinstance(frame, bytes) else text(frame) for frame in frames))
        while data:
            try:
                data = data[self.peer.send(data) :]
            except BlockingIOError:
                self.connection.read()
        self.connection.read()

    def take_all(self) -> list[Received | Frame]:
        return list(iter(self.inbox.take, None))


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.connection.close()
    stage.peer.close()


def large(number: int) -> dict[str, Any]:
    return {"operator": f"large {number}", "data": "x" * LARGE_BYTES}


def test_small_messages_are_frames_at_once(stage: Stage) -> None:
    stage.say(LOGIN, text(b"ping", opcode=9), LOGIN)
    assert stage.take_all() == [Network("socketLogin"), Received(Opcode.PING, b"ping"), Network("socketLogin")]
    assert stage.exchange.tally["messages_in"] == 2
    assert stage.inbox.wants_read
    assert not stage.inbox.has_more


def test_nothing_behind_a_large_message_is_heard_before_it(stage: Stage) -> None:
    stage.say(LOGIN, large(1), LOGIN, large(2))
    assert stage.take_all() == [Network("socketLogin")]
    assert (stage.inbox.wants_read, stage.inbox.has_more) == (False, False)
    stage.say(LOGIN)
    assert stage.take_all() == []

    stage.pool.go_on()
    assert stage.inbox.has_more
    heard = stage.take_all()
    assert isinstance(heard[0], Event)
    assert (heard[0].operator, heard[1:]) == ("large 1", [Network("socketLogin")])
    stage.pool.go_on()
    heard = stage.take_all()
    assert isinstance(heard[0], Event)
    assert (heard[0].operator, heard[1:]) == ("large 2", [Network("socketLogin")])
    assert (stage.inbox.wants_read, stage.inbox.has_more) == (True, False)


def test_a_large_reply_brings_its_data_in_the_shape_that_its_call_wants(stage: Stage) -> None:
    pending = Pending("r1", reply_shape=list[int])
    stage.exchange.add(Call(pending, b""))
    pending.note_written(monotonic())
    stage.say({"id": "r1", "data": list(range(LARGE_BYTES // 4))})
    assert stage.take_all() == []
    stage.pool.go_on()
    (reply,) = stage.take_all()
    assert isinstance(reply, Reply)
    assert reply.content == (list(range(LARGE_BYTES // 4)), None)
    stage.exchange.take(reply, monotonic())
    assert pending.evidence.data == list(range(LARGE_BYTES // 4))


def test_what_is_behind_reads_no_more(stage: Stage) -> None:
    stage.say(LOGIN, LOGIN)
    assert stage.inbox.take() is not None
    stage.inbox.behind = True
    assert (stage.inbox.wants_read, stage.inbox.has_more) == (False, True)
    stage.peer.sendall(text(LOGIN))
    stage.inbox.read()
    assert stage.take_all() == [Network("socketLogin")]
    stage.inbox.read()
    assert stage.take_all() == [Network("socketLogin")]


def test_what_came_before_the_end_is_heard(stage: Stage) -> None:
    stage.say(LOGIN, large(1), LOGIN)
    stage.peer.shutdown(socket.SHUT_WR)
    assert stage.take_all() == [Network("socketLogin")]
    stage.connection.read()
    assert stage.connection.lost == "closed by the bridge"
    assert not stage.inbox.wants_read
    stage.pool.go_on()
    assert len(stage.take_all()) == 2
    assert stage.inbox.wants_read, "all was heard"


def test_a_verdict_of_thousands_comes_in_parts(stage: Stage) -> None:
    entries = [{"customMsgId": str(number), "updated": {"readStatus": 1, "note": "n" * 200}} for number in range(1200)]
    frame = {"operator": "msgListPropertyUpdate", "data": {"id": 1, "type": "group", "list": entries}}
    assert len(json.dumps(frame)) > LARGE_BYTES
    stage.say(frame)
    assert stage.take_all() == []
    stage.pool.go_on()
    assert len(stage.take_all()) == 4


def batch(form: str, *events: Any) -> Any:
    """Write events in one message, in one of the two forms."""
    return list(events) if form == "array" else {"operator": "__batch__", "data": list(events)}


FORMS = pytest.mark.parametrize("form", ["array", "operator"])


@FORMS
def test_an_array_of_events_is_heard_as_its_parts(stage: Stage, form: str) -> None:
    one, other = {"operator": "groupUpdate", "data": {"id": 1}}, {"operator": "recall_msg", "data": {}}
    stage.say(batch(form, one, LOGIN, other), LOGIN)
    assert stage.take_all() == [
        Event("groupUpdate", json.dumps(one).encode()),
        Network("socketLogin"),
        Event("recall_msg", json.dumps(other).encode()),
        Network("socketLogin"),
    ]
    assert stage.exchange.tally["messages_in"] == 2


@FORMS
def test_while_its_parts_wait_nothing_more_is_read(stage: Stage, form: str) -> None:
    stage.say(batch(form, LOGIN, LOGIN))
    assert stage.inbox.take() == Network("socketLogin")
    assert (stage.inbox.wants_read, stage.inbox.has_more) == (False, True)
    assert stage.inbox.take() == Network("socketLogin")
    assert (stage.inbox.wants_read, stage.inbox.has_more) == (True, False)


@FORMS
def test_a_large_array_is_taken_apart_in_the_pool(stage: Stage, form: str) -> None:
    pending = Pending("r1", reply_shape=list[int])
    stage.exchange.add(Call(pending, b""))
    pending.note_written(monotonic())
    stage.say(batch(form, LOGIN, large(1), {"id": "r1", "data": [1, 2]}))
    assert stage.take_all() == []
    stage.pool.go_on()
    network, event, reply = stage.take_all()
    assert network == Network("socketLogin")
    assert isinstance(event, Event)
    assert isinstance(reply, Reply)
    assert (event.operator, reply.content) == ("large 1", ([1, 2], None))


def test_a_socket_that_takes_more_again_is_not_waited_for_where_nothing_waits_to_be_written(stage: Stage) -> None:
    """A frame that did not begin may be held or refused afterwards, and a writable socket would keep the loop busy."""
    stage.peer.setblocking(False)
    begun = True
    while begun:
        begun = stage.connection.begin(b"")
        assert not begun or stage.connection.flush()
    assert stage.connection.wants_write
    with suppress(BlockingIOError):
        while stage.peer.recv(1 << 20):
            pass
    assert stage.connection.flush()
    assert not stage.connection.wants_write
