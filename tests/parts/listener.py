"""A port of a test's own: what connects to it is served, each connection in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable


class Listener:
    """Listens at once on a free ``port`` of 127.0.0.1. ``serve`` gets each connection from ``start`` on, and closes it."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Take no connection any more. Those that are served are not touched."""
        self._socket.shutdown(socket.SHUT_RDWR)  # ends an accept that waits, which closing does not
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()
