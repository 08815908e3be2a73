from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.simulator.peer import Peer, connected
from worker68.simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator in no hurry to beat and none to wait with verdicts."""
    with Simulator(heartbeat_seconds=60, verdict_delay_seconds=0) as running:
        yield running


@pytest.fixture
def peer(simulator: Simulator) -> Iterator[Peer]:
    with connected(simulator) as one:
        yield one
