"""A simulator of the 68 bridge, to develop and test against. It is not a chat client: no message reaches anybody."""

from worker68.simulator.faults import ALWAYS, Countdown, Faults, Trip
from worker68.simulator.population import build_world
from worker68.simulator.server import Simulator, SimulatorNotStarted
from worker68.simulator.world import World

__all__ = ["ALWAYS", "Countdown", "Faults", "Simulator", "SimulatorNotStarted", "Trip", "World", "build_world"]
