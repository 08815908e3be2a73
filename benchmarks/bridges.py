"""Bridges for many accounts in one process: ``python -m benchmarks.bridges CHATS VERDICT_SECONDS``.

Out: the address, as the first line of standard output; then it runs until it is ended. Each connection is an account of its own,
whatever its path, so ``ADDRESS/a``, ``ADDRESS/b``, … are the bridges of many accounts. All accounts have the same friends. A
``Simulator`` is one account: each of its clients sees all that happens, so it cannot stand for many. Nothing is recorded.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from benchmarks.rounds import at_least, seconds_from_zero
from tests.parts.worker import ROOT
from worker68.child import bound_to_parent, end_process
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


@contextmanager
def open_bridges(chats: int, verdict_seconds: float) -> Iterator[Bridges]:
    """Start the process; it ends with the block."""
    words = (sys.executable, "-m", "benchmarks.bridges", str(chats), str(verdict_seconds))
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
    asyncio.run(run(build_world(contacts=chats), verdict_seconds))


async def run(world: World, verdict_seconds: float) -> None:
    """Serve until the process ends."""
    loop = asyncio.get_running_loop()

    def later(seconds: float, call: Callable[[], object]) -> None:
        loop.call_later(seconds, call)

    async def handle(connection: ServerConnection) -> None:
        clients, faults = Clients(), Faults()
        client = clients.admit(connection)
        stream = EventStream(clients, lambda: faults.client, later)
        records = Records(NoJournal[Received](), NoJournal[Sent]())
        delivery = Delivery(world, faults, stream, records, later, lambda: verdict_seconds)
        exchange = Exchange("new", faults, clients, delivery, restart=clients.abort)
        client.post(events.HELLO)
        client.post(events.NETWORK_UP)
        heart = asyncio.create_task(beat(client))
        try:
            async for raw in connection:
                exchange.take(client, raw)
        except ConnectionClosed:
            pass
        finally:
            heart.cancel()

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
