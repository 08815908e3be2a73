"""The bridges and the worker's side of them that the tests of ``bridge`` use, and a simulated bridge with a link to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.bridge.conftest import Worker, bridge, worker
from tests.integration.bridge.servers import WellBehavedBridge
from worker68.bridge.link import Link
from worker68.simulator import Simulator, build_world

__all__ = ["bridge", "worker"]


@pytest.fixture
def link(worker: Worker, bridge: WellBehavedBridge) -> Link:
    return worker.ready_link(bridge.url)


@pytest.fixture
def simulated() -> Iterator[Simulator]:
    with Simulator(world=build_world(members=90), heartbeat_seconds=0.1, verdict_delay_seconds=0.0) as simulator:
        yield simulator


@pytest.fixture
def simulated_link(worker: Worker, simulated: Simulator) -> Link:
    return worker.ready_link(simulated.url)
