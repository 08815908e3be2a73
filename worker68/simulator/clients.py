"""The connections that are open now: JSON values in, WebSocket frames out. For the event loop's thread only.

Never: what a frame means, or when it is due.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import structlog
from websockets.asyncio.server import ServerConnection, broadcast

from worker68.clock import monotonic
from worker68.simulator.garbage import Garbage
from worker68.simulator.shapes import Json

log = structlog.get_logger(__name__)

#: A client that leaves this much unread is dropped, so that a stuck test cannot eat the machine; far above the huge frame.
UNREAD_BYTES: Final = 128 * 1024 * 1024

#: All sockets of this machine, also the clients' own: "NUMBER: LOCAL_ADDRESS REMOTE_ADDRESS STATE ...".
_SOCKETS: Final = Path("/proc/net/tcp")
_ESTABLISHED: Final = "01"

_encoder: Final = msgspec.json.Encoder()


@dataclass(frozen=True)
class Overlap:
    """Two connections were open at the same moment: ``newer`` when it was greeted (``at``, monotonic seconds), and ``older`` still.

    A connection is open from its greeting until a process closes one of its ends, or is killed. Of a client on this machine the
    kernel is asked for that: what the simulator has read, and the FIN that is on its way to it, may be some tens of milliseconds
    late on a crowded machine.
    """

    at: float
    newer: int
    older: int


class Client:
    """One open connection, numbered from 1."""

    def __init__(self, number: int, connection: ServerConnection) -> None:
        self.number = number
        self._connection = connection
        self.is_cut = False

    @property
    def _transport(self) -> asyncio.WriteTransport:
        return cast(asyncio.WriteTransport, self._connection.transport)

    @property
    def is_open(self) -> bool:
        """Whether neither end is closed now."""
        return not self.is_cut and not self._transport.is_closing() and _is_far_end_open(self._transport)

    def post(self, frame: Json) -> None:
        """Put a frame on its way; to a connection that is gone, nothing happens."""
        self.write(_encoder.encode(frame))

    def post_garbage(self, garbage: Garbage) -> None:
        self.write(garbage.payload, text=garbage.text)

    def drop(self) -> None:
        """Cut the connection without a closing handshake, after what is already on its way."""
        self.is_cut = True
        self._transport.close()

    def abort(self) -> None:
        """Cut the connection at once."""
        self.is_cut = True
        self._transport.abort()

    def write(self, payload: bytes, *, text: bool = True) -> None:
        if self._transport.is_closing():
            return
        broadcast([self._connection], payload, text=text)
        if self._transport.get_write_buffer_size() > UNREAD_BYTES:
            self.abort()


class Clients:
    """All open connections. ``overlaps``: which were open at the same moment; any thread may take some out."""

    def __init__(self) -> None:
        self._clients: set[Client] = set()
        self._greeted = 0
        self.overlaps: deque[Overlap] = deque()

    def __len__(self) -> int:
        return len(self._clients)

    def admit(self, connection: ServerConnection) -> Client:
        self._greeted += 1
        client = Client(self._greeted, connection)
        older = sorted(one.number for one in self._clients if one.is_open)
        if older and client.is_open:
            self.overlaps.extend(Overlap(monotonic(), client.number, number) for number in older)
            log.warning("simulator_clients_overlap", newer=client.number, older=older)
        self._clients.add(client)
        return client

    def forget(self, client: Client) -> None:
        self._clients.discard(client)

    def post(self, frame: Any) -> int:
        """Put a frame on its way to all clients; return how many there are."""
        return self._write(_encoder.encode(frame))

    def post_garbage(self, garbage: Garbage) -> int:
        return self._write(garbage.payload, text=garbage.text)

    def drop(self) -> int:
        """Cut all connections; return how many there were."""
        for client in self._clients:
            client.drop()
        return len(self._clients)

    def abort(self) -> None:
        for client in self._clients:
            client.abort()

    def _write(self, payload: bytes, *, text: bool = True) -> int:
        for client in self._clients:
            client.write(payload, text=text)
        return len(self._clients)


def _is_far_end_open(transport: asyncio.WriteTransport) -> bool:
    """Whether the client has not closed its end. That of a client on another machine cannot be seen, and counts as open."""
    ends = [transport.get_extra_info(name) for name in ("peername", "sockname")]
    if None in ends:
        return False
    if not _SOCKETS.exists() or not all(end[0].startswith("127.") for end in ends):
        return True
    return " ".join([*map(_as_listed, ends), _ESTABLISHED]) in _SOCKETS.read_text()


def _as_listed(end: tuple[str, int]) -> str:
    host, port = end
    return f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
