"""The connections that are open now: JSON values in, WebSocket frames out. For the event loop's thread only.

Never: what a frame means, or when it is due.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import msgspec
from websockets.asyncio.server import ServerConnection, broadcast

from worker68.simulator.garbage import Garbage
from worker68.simulator.shapes import Json

#: A client that leaves this much unread is dropped, so that a stuck test cannot eat the machine; far above the huge frame.
UNREAD_BYTES: Final = 128 * 1024 * 1024

_encoder: Final = msgspec.json.Encoder()


class Client:
    """One open connection, numbered from 1."""

    def __init__(self, number: int, connection: ServerConnection) -> None:
        self.number = number
        self._connection = connection
        self.is_cut = False

    @property
    def _transport(self) -> asyncio.WriteTransport:
        return cast(asyncio.WriteTransport, self._connection.transport)

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
    """All open connections."""

    def __init__(self) -> None:
        self._clients: set[Client] = set()
        self._greeted = 0

    def __len__(self) -> int:
        return len(self._clients)

    def admit(self, connection: ServerConnection) -> Client:
        self._greeted += 1
        client = Client(self._greeted, connection)
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
