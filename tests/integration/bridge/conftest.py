"""A BridgeIO that tells the test what it tells the worker, and bridges to connect it to."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.integration.bridge.servers import RawBridge, WellBehavedBridge, eventually
from worker68.bridge.correlation import LateEvidence
from worker68.bridge.health import Timing
from worker68.bridge.link import Link, LinkOptions
from worker68.bridge.loop import BridgeIO

#: Comes back quickly after a failure; is otherwise as patient as in production.
QUICK = Timing(backoff_base=0.01, backoff_cap=0.05)


@dataclass
class Worker:
    """A BridgeIO and everything it has said."""

    states: list[tuple[str, str | None]] = field(default_factory=list)
    late: list[tuple[str, LateEvidence]] = field(default_factory=list)
    events: list[tuple[str, str, bytes]] = field(default_factory=list)
    made: list[BridgeIO] = field(default_factory=list)

    def io(self, *, frame_limit: int = 64 * 1024 * 1024, **timing: float) -> BridgeIO:
        io = BridgeIO(
            on_state=lambda account, problem: self.states.append((account, problem)),
            on_late_evidence=lambda account, evidence: self.late.append((account, evidence)),
            on_event=lambda account, operator, raw: self.events.append((account, operator, raw)),
            frame_limit=frame_limit,
            timing=replace(QUICK, **timing),
        )
        io.start()
        self.made.append(io)
        return io

    def link(
        self, url: str, *, options: LinkOptions | None = None, frame_limit: int = 64 * 1024 * 1024, **timing: float
    ) -> Link:
        return self.io(frame_limit=frame_limit, **timing).open("main", url, options)

    def ready_link(self, url: str, **options: Any) -> Link:
        """Return a link that is ready and knows the API's address."""
        link = self.link(url, options=LinkOptions(**options))
        eventually(lambda: link.ready and link.api_url, "readiness")
        return link


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    for io in worker.made:
        io.stop()
        assert not io._thread.is_alive()


@pytest.fixture
def bridge() -> Iterator[WellBehavedBridge]:
    bridge = WellBehavedBridge()
    yield bridge
    bridge.stop()


@pytest.fixture
def raw_bridge() -> Iterator[Callable[..., RawBridge]]:
    made: list[RawBridge] = []

    def make(*scripts: Callable[[socket.socket], None]) -> RawBridge:
        made.append(RawBridge(*scripts))
        return made[-1]

    yield make
    for bridge in made:
        bridge.stop()
