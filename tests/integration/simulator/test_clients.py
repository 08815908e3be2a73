"""When a connection counts as open: what its other end did matters, not when the simulator comes to notice it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.integration.simulator.peer import TIMEOUT_SECONDS
from worker68.simulator.clients import Clients

#: Connects, writes frames that stay unread, says so, and lives until it is killed.
_CLIENT = """
import sys, time
from websockets.sync.client import connect
with connect(sys.argv[1], compression=None) as client:
    for _ in range(50):
        client.send("{}")
    print("connected", flush=True)
    time.sleep(600)
"""


def say_goodbye(client: subprocess.Popen[bytes]) -> None:
    client.kill()
    client.wait()


def freeze(client: subprocess.Popen[bytes]) -> None:
    os.kill(client.pid, signal.SIGSTOP)


@pytest.mark.parametrize(("what", "overlaps"), [(say_goodbye, []), (freeze, [(2, 1)])], ids=["killed", "stopped"])
def test_a_client_that_is_not_read_any_more(
    what: Callable[[subprocess.Popen[bytes]], None], overlaps: list[tuple[int, int]]
) -> None:
    """The first client's end is not noticed, because nothing is read from it; all the same it counts only while it is open."""
    assert asyncio.run(asyncio.wait_for(meet(what), TIMEOUT_SECONDS * 3)) == overlaps


async def meet(what: Callable[[subprocess.Popen[bytes]], None]) -> list[tuple[int, int]]:
    clients, over = Clients(), asyncio.Event()

    async def handle(connection: ServerConnection) -> None:
        client = clients.admit(connection)
        if client.number == 1:
            assert isinstance(connection.transport, asyncio.ReadTransport)
            connection.transport.pause_reading()
        await connection.send("Hello")
        await over.wait()

    async with serve(handle, "127.0.0.1", 0, compression=None, close_timeout=0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        first = await asyncio.to_thread(start_client, url)
        try:
            await asyncio.to_thread(what, first)
            second = await connect(url, compression=None, close_timeout=0)
            await second.recv()
            found = [(one.newer, one.older) for one in clients.overlaps]
            second.transport.abort()
        finally:
            first.kill()
            first.wait()
            clients.abort()
            over.set()
    return found


def start_client(url: str) -> subprocess.Popen[bytes]:
    client = subprocess.Popen([sys.executable, "-c", _CLIENT, url], stdout=subprocess.PIPE)
    assert client.stdout is not None
    assert client.stdout.readline() == b"connected\n"
    client.stdout.close()
    return client
