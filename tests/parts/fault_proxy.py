"""A TCP proxy with faults, between a worker and a server: connections cut in the middle of a command, or of a reply.

In: the port of a server on 127.0.0.1. Out: a port that leads there, until a test says otherwise. Never: a byte changed.
"""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Self

from tests.parts.listener import Listener

_CHUNK = 65536
#: Closing with this option set resets the connection: what was not delivered yet is lost.
_RESET = struct.pack("ii", 1, 0)


class FaultProxy:
    """Use as a context manager. May be told from any thread."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = Listener(self._connect)
        self.port = self._listener.port
        self._lock = threading.Lock()  # guards the two below
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._bytes_left: int | None = None
        self.cuts = 0

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.stop()
        self.cut()

    def cut(self) -> None:
        """Reset every connection now."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            _reset(*pair)

    def cut_after(self, size: int) -> None:
        """Let so many bytes more pass in both directions together, then reset the connection on which the next one comes."""
        with self._lock:
            self._bytes_left = size

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target_port))
        except OSError:
            client.close()
            return
        pair = (client, server)
        with self._lock:
            self._pairs.add(pair)
        threading.Thread(target=self._forward, args=(pair, server, client), daemon=True).start()
        self._forward(pair, client, server)

    def _forward(self, pair: tuple[socket.socket, socket.socket], source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(_CHUNK):
                passing = self._allow(len(data))
                target.sendall(data[:passing])
                if passing < len(data):
                    break
        except OSError:
            pass
        with self._lock:
            self._pairs.discard(pair)
        _reset(*pair)

    def _allow(self, size: int) -> int:
        with self._lock:
            if self._bytes_left is None:
                return size
            passing = min(size, self._bytes_left)
            self._bytes_left -= passing
            if passing < size:
                self._bytes_left = None
                self.cuts += 1
            return passing


def _reset(*connections: socket.socket) -> None:
    for connection in connections:
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was closed before
        connection.close()
