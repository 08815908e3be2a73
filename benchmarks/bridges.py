"""Bridges for many accounts in one process: ``python -m benchmarks.bridges CHATS VERDICT_SECONDS [NOTES]``.

Out: the address, as the first line of standard output; then it runs until it is ended. Each path is an account of its own, so
``ADDRESS/a``, ``ADDRESS/b``, … are the bridges of many accounts. All accounts have the same friends. A ``Simulator`` is one
account, so it cannot stand for many. Nothing is recorded; but a file of notes, if there is to be one, gets each connection and
each send, with account and time (monotonic seconds).
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import structlog
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from benchmarks.rounds import at_least, seconds_from_zero
from tests.parts.worker import ROOT
from worker68.child import bound_to_parent, end_process
from worker68.clock import monotonic
from worker68.simulator import Faults, World, build_world, events
from worker68.simulator.clients import Client, Clients
from worker68.simulator.delivery import Delivery
from worker68.simulator.exchange import Exchange
from worker68.simulator.queues import EventStream
from worker68.simulator.records import Journal, Received, Record, Records, Sent
from worker68.simulator.server import HEARTBEAT_SECONDS


class NoJournal(Journal[Record]):
    """A journal that keeps nothing."""

    def append(self, record: Record) -> None:
        pass


@dataclass
class Bridges:
    """The process, as the benchmark sees it. ``friends`` are chats of every account."""

    url: str
    friends: list[int]

    def accounts(self, count: int) -> dict[str, dict[str, str]]:
        """Return the tables of so many accounts, each with a bridge of its own."""
        return {name: {"bridge_url": f"{self.url}/{name}"} for name in (f"a{number:04}" for number in range(count))}


@dataclass(frozen=True)
class Note:
    """Something that happened at the bridge of an account: ``connected``, ``gone``, ``sent`` with its text, or ``overlap``."""

    at: float
    account: str
    what: str
    text: str = ""


@dataclass
class Notes:
    """The notes of a process of bridges, from its file."""

    file: Path
    seen: list[Note] = field(default_factory=list)
    _read_to: int = 0

    def read(self) -> list[Note]:
        """Return all notes so far, in their order."""
        with self.file.open("rb") as notes:
            notes.seek(self._read_to)
            for line in notes:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                self.seen.append(Note(*json.loads(line)))
        return self.seen


@contextmanager
def open_bridges(chats: int, verdict_seconds: float, notes: Path | None = None) -> Iterator[Bridges]:
    """Start the process; it ends with the block. ``notes``: the file to write them to."""
    words = [sys.executable, "-m", "benchmarks.bridges", str(chats), str(verdict_seconds)]
    words += [] if notes is None else [str(notes)]
    process = subprocess.Popen(
        bound_to_parent(words, signal.SIGKILL), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().decode().strip()
        assert url, "the bridges did not start"
        yield Bridges(url, friends_of(build_world(contacts=chats), chats))
    finally:
        end_process(process, signal.SIGTERM)
        process.stdout.close()


def friends_of(world: World, chats: int) -> list[int]:
    return sorted(world.contacts)[:chats]


def main() -> None:
    chats, verdict_seconds = at_least(2)(sys.argv[1]), seconds_from_zero(sys.argv[2])
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with ExitStack() as stack:
        notes = [stack.enter_context(Path(name).open("ab", buffering=0)) for name in sys.argv[3:]]
        asyncio.run(run(build_world(contacts=chats), verdict_seconds, notes[0] if notes else None))


class Bridge:
    """The bridge of one account. ``note``: a word about it, for the file of notes; None where there is none."""

    def __init__(self, world: World, verdict_seconds: float, note: Callable[..., None] | None) -> None:
        faults = Faults()
        self.clients = Clients()
        self._note = note
        stream = EventStream(self.clients, lambda: faults.client, later)
        records = Records(NoJournal[Received](), NoJournal[Sent]())
        delivery = Delivery(world, faults, stream, records, later, lambda: verdict_seconds)
        self._exchange = Exchange("new", faults, self.clients, delivery, restart=self.clients.abort)

    async def serve(self, connection: ServerConnection) -> None:
        """Serve one client until it is gone."""
        client = self.clients.admit(connection)
        self.note("connected")
        while self.clients.overlaps:
            self.clients.overlaps.popleft()
            self.note("overlap")
        client.post(events.HELLO)
        client.post(events.NETWORK_UP)
        heart = asyncio.create_task(beat(client))
        try:
            async for raw in connection:
                if self._note is not None and (text := text_of(raw)) is not None:
                    self.note("sent", text)
                self._exchange.take(client, raw)
        except ConnectionClosed:
            pass
        finally:
            heart.cancel()
            self.clients.forget(client)
            self.note("gone")

    def note(self, what: str, text: str = "") -> None:
        if self._note is not None:
            self._note(what, text)


def text_of(raw: str | bytes) -> str | None:
    """Return the text of a frame that sends a message, None for any other frame."""
    frame: Any = json.loads(raw)
    return frame["data"]["list"][0]["values"]["content"] if frame["type"] == "sendMsg" else None


def write_note(file: BinaryIO, account: str, what: str, text: str) -> None:
    file.write(json.dumps([monotonic(), account, what, text]).encode() + b"\n")


def later(seconds: float, call: Callable[[], object]) -> None:
    asyncio.get_running_loop().call_later(seconds, call)


async def run(world: World, verdict_seconds: float, notes: BinaryIO | None) -> None:
    """Serve until the process ends."""
    bridges: dict[str, Bridge] = {}

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        account = connection.request.path.strip("/")
        if account not in bridges:
            note = None if notes is None else partial(write_note, notes, account)
            bridges[account] = Bridge(world, verdict_seconds, note)
        await bridges[account].serve(connection)

    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


async def beat(client: Client) -> None:
    """Say that the account is logged in, in a bridge's own rhythm; the bridges do not beat together."""
    await asyncio.sleep(random.random() * HEARTBEAT_SECONDS)
    while True:
        client.post(events.NETWORK_UP)
        await asyncio.sleep(HEARTBEAT_SECONDS)


if __name__ == "__main__":
    main()
