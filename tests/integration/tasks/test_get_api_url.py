"""``worker68.get_api_url`` at a simulated bridge."""

from __future__ import annotations

from tests.integration.tasks.acting import act, result
from worker68.bridge.link import Link
from worker68.simulator import Simulator


def test_api_url(simulated_link: Link, simulated: Simulator) -> None:
    assert result(act(simulated_link, "get_api_url")) == {"api_url": simulated.world.api_url}
