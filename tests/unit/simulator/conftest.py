from __future__ import annotations

import pytest

from worker68.simulator import build_world
from worker68.simulator.world import World


@pytest.fixture
def world() -> World:
    return build_world()
