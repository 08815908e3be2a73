"""What the parts of a worker count themselves, in the types of prometheus-client, and the page that serves it.

In: counts and seconds, from any thread. Out: Prometheus' text format on ``/metrics``. Never: a label whose values can grow with the
number of chats, jobs or reply names; a scrape that stops the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, start_http_server

from worker68.errors import SettingsError

#: Upper bounds in seconds: from one round trip to Redis up to a wait for a verdict.
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

#: Between two looks how late the loop is. Each wakes it, and to be woken is what an idle worker spends its time on.
LOOK_SECONDS: Final = 1.0


def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """Return a counter of one worker's; it is registered where that worker's page is made."""
    return Counter(name, text, labels, registry=None)


def histogram(name: str, text: str, labels: Sequence[str] = ()) -> Histogram:
    """Return a histogram of seconds of one worker's; it is registered where that worker's page is made."""
    return Histogram(name, text, labels, buckets=BOUNDS, registry=None)


class Page:
    """The HTTP server. It listens from the moment it is made, on all addresses. Raises ``SettingsError`` for a taken port."""

    def __init__(self, port: int, registry: CollectorRegistry) -> None:
        # Of the library's own, and not wanted: when each series began.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        try:
            self._server: WSGIServer
            self._server, self._thread = start_http_server(port, registry=registry)
        except OSError as error:
            raise SettingsError(
                f"WORKER68_METRICS_PORT: cannot listen on port {port}: {error.strerror}; give each worker of a host its own"
            ) from None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class LoopLag:
    """How late an event loop is: everything that waits on it waits so much longer.

    ``last_seconds``: by how much the last timer was late; any thread may read it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.seconds = histogram("worker68_loop_lag_seconds", "How late a timer of the event loop was.")
        self.last_seconds = 0.0

    def start(self) -> None:
        """Begin. On the loop; it ends with the loop."""
        due = self._loop.time() + LOOK_SECONDS
        self._loop.call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        self.last_seconds = max(0.0, self._loop.time() - due)
        self.seconds.observe(self.last_seconds)
        self.start()
