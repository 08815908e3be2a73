"""Links without a call under way are read together and late; none of their calls notices."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from tests.integration.bridge.conftest import Worker
from tests.integration.bridge.servers import WellBehavedBridge, eventually
from tests.parts.onloop import PATIENCE_SECONDS, evidence_of, one_loop
from worker68.bridge import quiet
from worker68.bridge.connection import Connection
from worker68.bridge.quiet import QuietSockets
from worker68.loop import Loop

Pair = tuple[Connection, socket.socket]


@pytest.fixture
def loop() -> Iterator[Loop]:
    with one_loop() as loop:
        yield loop


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(3)]
    yield [(Connection(ours, 1024), theirs) for ours, theirs in made]
    for pair in made:
        for one in pair:
            one.close()


def test_what_comes_at_several_sockets_is_read_until_they_are_removed(loop: Loop, pairs: list[Pair]) -> None:
    sockets, read = QuietSockets(loop), list[int]()
    for number, (connection, theirs) in enumerate(pairs):
        sockets.add(connection, lambda number=number: read.append(number))  # type: ignore[misc]
        theirs.send(b"x")
    sockets.remove(pairs[0][0])
    eventually(lambda: {1, 2} <= set(read))
    assert 0 not in read
    sockets.close()
    sockets.close()


def test_a_call_hears_first_that_its_connection_was_lost(
    worker: Worker, bridge: WellBehavedBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = worker.ready_link(bridge.url)
    eventually(lambda: link.session.is_quiet)
    monkeypatch.setattr(quiet, "GATHER_SECONDS", 3600.0)
    connection = link.session.connection
    assert connection is not None
    bridge.drop()
    assert select.select([connection], [], [], PATIENCE_SECONDS)[0]
    call = link.call("getGroups")
    assert not evidence_of(call).written
    assert "lost" in (call.refusal or "")


def test_the_answer_to_a_call_is_not_late(
    worker: Worker, bridge: WellBehavedBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = worker.ready_link(bridge.url)
    eventually(lambda: link.session.is_quiet)
    monkeypatch.setattr(quiet, "GATHER_SECONDS", 3600.0)
    bridge.answer = lambda frame: [{"id": frame["id"], "type": "getGroups", "data": []}]
    assert evidence_of(link.call("getGroups")).replied
    assert link.session.is_quiet
