"""The sockets of links on which no call is under way: read together, a moment late.

In: sockets, and what to call when one can be read. Out: these calls, for all that came in meanwhile. Each bridge says every three
seconds that its client is logged in: to be woken for each one costs an idle worker several times what reading it costs. Never: a
socket on which an answer is awaited.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import Final

from worker68.bridge.connection import Connection
from worker68.loop import Loop

#: How late these are read. No job waits for them: a link hears what has come in before it takes a call.
GATHER_SECONDS: Final = 0.1


class QuietSockets:
    """Those of one worker. On the loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._selector = selectors.DefaultSelector()  # epoll or kqueue, which the loop can wait for itself
        self._gathers = False
        self._closed = False

    def add(self, connection: Connection, on_ready: Callable[[], None]) -> None:
        """Call this when the connection can be read, until it is removed."""
        self._selector.register(connection, selectors.EVENT_READ, on_ready)
        self._wait()

    def remove(self, connection: Connection) -> None:
        self._selector.unregister(connection)

    def close(self) -> None:
        """Call nothing any more. Idempotent."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._selector.fileno())
            self._selector.close()

    def _wait(self) -> None:
        if not self._gathers:
            self._loop.add_reader(self._selector.fileno(), self._gather)

    def _gather(self) -> None:
        """One can be read: read it with those that come soon."""
        self._gathers = True
        self._loop.remove_reader(self._selector.fileno())
        self._loop.call_later(GATHER_SECONDS, self._read)

    def _read(self) -> None:
        self._gathers = False
        if self._closed:
            return
        self._wait()
        for key, _ in self._selector.select(0):
            key.data()
