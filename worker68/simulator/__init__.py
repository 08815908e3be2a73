"""A simulator of the 68 bridge, to develop and test against. It is not a chat client: no message reaches anybody."""

from worker68.simulator.faults import Faults
from worker68.simulator.knobs import ALWAYS, Countdown, Trip
from worker68.simulator.paging import Paging
from worker68.simulator.population import build_world
from worker68.simulator.server import Simulator, SimulatorNotStarted
from worker68.simulator.spelling import Spelling
from worker68.simulator.world import World

__all__ = [
    "ALWAYS",
    "Countdown",
    "Faults",
    "Paging",
    "Simulator",
    "SimulatorNotStarted",
    "Spelling",
    "Trip",
    "World",
    "build_world",
]
