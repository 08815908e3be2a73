"""Links on the test's own loop, what they tell, and bridges to connect them to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.integration.bridge.servers import RawBridge, WellBehavedBridge, eventually
from tests.parts.onloop import let_run, one_loop, run
from worker68.bridge.correlation import LateEvidence
from worker68.bridge.exchange import LinkOptions, Listener
from worker68.bridge.health import Timing
from worker68.bridge.link import Bridges, Link
from worker68.bridge.session import MESSAGE_LIMIT
from worker68.loop import Loop

#: Comes back quickly after a failure; is otherwise as patient as in production. Most bridges here say only once that the client is
#: logged in.
QUICK = Timing(backoff_base=0.01, backoff_cap=0.05, login=3600.0)


@dataclass
class Worker:
    """Bridges, and everything that they have told."""

    loop: Loop
    changes: int = 0
    late: list[tuple[str, LateEvidence]] = field(default_factory=list)
    events: list[tuple[str, str, bytes]] = field(default_factory=list)
    made: list[Bridges] = field(default_factory=list)

    def bridges(self, *, message_limit: int = MESSAGE_LIMIT, **timing: float) -> Bridges:
        listener = Listener(
            on_change=self._note_change,
            on_late_evidence=lambda account, evidence: self.late.append((account, evidence)),
            on_event=lambda account, operator, raw: self.events.append((account, operator, raw)),
        )
        bridges = Bridges(self.loop, listener, message_limit=message_limit, timing=replace(QUICK, **timing))
        self.made.append(bridges)
        return bridges

    def link(
        self, url: str, *, options: LinkOptions | None = None, message_limit: int = MESSAGE_LIMIT, **timing: float
    ) -> Link:
        return self.bridges(message_limit=message_limit, **timing).open("main", url, options)

    def ready_link(self, url: str, **options: Any) -> Link:
        """Return a link that is ready and knows the API's address."""
        link = self.link(url, options=LinkOptions(**options))
        eventually(lambda: link.ready and link.api_url, "readiness")
        return link

    def _note_change(self, _account: str) -> None:
        self.changes += 1


@pytest.fixture
def worker() -> Iterator[Worker]:
    with one_loop() as loop:
        worker = Worker(loop)
        yield worker
        for bridges in worker.made:
            bridges.stop()
        # A try to connect that is given up hands over its socket all the same, which is closed on the loop.
        eventually(lambda: not any(thread.name == "bridge-dial" for thread in threading.enumerate()))
        run(let_run())


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
