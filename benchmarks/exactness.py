"""Exactness: how many sends reach the bridge in any second at 20/s, and how much of the rate is used, also over a takeover.

    python3 -m benchmarks.exactness [--rounds 5] [--seconds 10] [--database sqlite|postgresql]

Each round: two workers, more work than they can send; the owner is stopped (SIGTERM) in one half of the rounds and killed
(SIGKILL) in the other, and the second worker takes over. The times are those at which frames reached the simulator.
"""

from __future__ import annotations

import argparse
import bisect
import json
import sys
from collections.abc import Sequence
from itertools import pairwise

from benchmarks.rounds import LEAST_ROUNDS, Report, at_least, seconds
from benchmarks.stage import OFF, Stage, open_stage, to
from tests.parts.worker import WorkerProcess, wait_until
from worker68.simulator.records import Received

RATE = 20
FRIENDS = 60
MOST_IN_A_SECOND = RATE + 1
GOAL_USED = 0.95


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=LEAST_ROUNDS)
    parser.add_argument("--seconds", type=seconds, default=10.0, help="of sending, for each of the two workers")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    given = parser.parse_args()
    report = Report(f"Exactness: {RATE}/s with burst 1, {given.database}")
    windows, used, gaps, nearest = [], [], [], []
    limits = json.dumps(OFF | {"account": f"{RATE}/s"})
    for number in range(given.rounds):
        with open_stage(
            given.database, FRIENDS, 0.3, LIMITS=limits, MAX_IN_FLIGHT=60, LEASE_TTL=2, VERDICT_TIMEOUT=5
        ) as stage:
            frames = run(stage, given.seconds, kill=number % 2 == 1)
        times = [one.at for one in frames]
        windows.append(float(most_in_a_second(times)))
        nearest.append(min(later - earlier for earlier, later in pairwise(times)) * 1000)
        first, second = (
            [one.at for one in frames if one.connection == connection]
            for connection in sorted({one.connection for one in frames})
        )
        used += [share_used(first), share_used(second)]
        gaps.append(second[0] - first[-1])
    report.figure("most sends in any closed second", windows)
    report.figure("nearest two sends", nearest, "ms", 1)
    share = report.figure("rate used, for each worker", used, "", 3)
    report.figure("takeover: from the last send to the next", gaps, "s", 2)
    report.goal("most sends in a second, over all rounds", max(windows), at_most=MOST_IN_A_SECOND)
    report.goal("rate used", share, at_least=GOAL_USED)
    return report.exit_code


def run(stage: Stage, seconds: float, kill: bool) -> list[Received]:
    """Let two workers send for so long each; return the frames."""
    first, second = stage.worker("first"), stage.worker("second")
    stage.push(to(stage.friends[number % FRIENDS], f"message {number}") for number in range(round(RATE * seconds * 4)))
    try:
        first.start()
        wait_for_sends(stage, first, round(RATE * seconds / 4))
        second.start()
        second.wait_ready()
        wait_for_sends(stage, first, round(RATE * seconds))
        if kill:
            first.kill()
        else:
            first.ask_to_stop()
        seen = len(stage.sends())
        wait_for_sends(stage, second, seen + round(RATE * seconds))
        return stage.sends()
    finally:
        first.kill()
        second.kill()


def wait_for_sends(stage: Stage, worker: WorkerProcess, count: int) -> None:
    wait_until(lambda: len(stage.sends()) >= count, lambda: worker.last_words, seconds=120)


def most_in_a_second(times: Sequence[float]) -> int:
    """Return the most of these times in any closed window of one second."""
    return max(bisect.bisect_right(times, start + 1.0) - place for place, start in enumerate(times))


def share_used(times: Sequence[float]) -> float:
    """Return how much of the rate was used from the first to the last of these times."""
    return (len(times) - 1) / ((times[-1] - times[0]) * RATE)


if __name__ == "__main__":
    sys.exit(main())
