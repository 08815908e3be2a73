"""The simulated world as it is built: the same for the same seed, and of the sizes asked for."""

from __future__ import annotations

from worker68.simulator import build_world
from worker68.simulator.population import MUTABLE_MEMBER


def test_world_is_the_same_for_the_same_seed() -> None:
    assert build_world(seed=1).people == build_world(seed=1).people
    assert build_world(seed=1).people != build_world(seed=2).people


def test_world_has_the_sizes_asked_for() -> None:
    world = build_world(contacts=5_000, groups=12, members=1_500)

    assert len(world.contacts) == 5_000
    assert len(world.groups) == 12
    assert [len(group.members) for group in list(world.groups.values())[2:]] == [1_500] * 10
    assert MUTABLE_MEMBER in world.groups[441298].members
