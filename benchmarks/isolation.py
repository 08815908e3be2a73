"""Isolation: what an account with trouble costs the others: its bridge is dead, slow, flapping or busy, or very many jobs wait.

    python3 -m benchmarks.isolation [--rounds 5] [--seconds 10] [--accounts 10] [--jobs 30] [--waiting 200000] [--chats 20000]
                                    [--kinds healthy,dead,slow,flapping,busy,full]

Quick: ``--seconds 1 --waiting 2000 --chats 200``. PostgreSQL. In each round a worker is started with the other accounts alone, and
with them and one such neighbour of each kind, in turn; the neighbour gets jobs all the while. Then jobs of the others come at
random times: from push to reply, their verdicts at once. Their p95 beside the neighbour is compared with alone, round by round.
A healthy neighbour, which sends as often as the full one may, shows what the work itself costs on this machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.arrivals import Chat, arrival_times, arriving, push_and_wait
from benchmarks.bridges import Bridges, Notes, open_bridges
from benchmarks.lanes import SLOTS_PER_SECOND, fill
from benchmarks.rounds import LEAST_ROUNDS, Figures, Report, at_least, in_turn, percentile, ratios, seconds
from benchmarks.stage import OFF, Stage, open_stage, to
from tests.parts.worker import ROOT, WORKER68, WorkerProcess, wait_until
from worker68.child import bound_to_parent, end_process
from worker68.clock import monotonic
from worker68.simulator import build_world

ALONE: Final = "alone"
FULL: Final = "full"
HEALTHY: Final = "healthy"
#: The neighbour's: friends to write to, jobs a second, and jobs that wait from the start.
FRIENDS: Final = 40
PER_SECOND: Final = 5
AT_THE_START: Final = 100
#: Before anything is measured: by then the neighbour's jobs have met what is wrong with its bridge.
WARM_UP_SECONDS: Final = 3.0

GOAL: Final = 1.2

#: By kind of neighbour, the faults of its simulated bridge.
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    HEALTHY: (),
    "slow": ("--fault", "reply_delay_seconds=20s", "--fault", "extra_verdict_delay_seconds=25s"),
    "flapping": ("--scenario", "{flapping}"),
    "busy": ("--fault", "busy_sends=always", "--fault", "busy_reads=always", "--fault", "busy_changes=always"),
    FULL: (),
}
#: With something under way.
_FLAPPING: Final = """
words = "each second the connection drops"
repeat_every = "1s"
[[steps]]
after = "0s"
faults = { drop_before_answer = 1 }
"""
KINDS: Final = (HEALTHY, "dead", *(kind for kind in _OPTIONS if kind != HEALTHY))


def kinds(word: str) -> list[str]:
    """Return kinds of neighbours for argparse, like ``dead,slow``."""
    names = word.split(",")
    if wrong := [name for name in names if name not in KINDS]:
        raise argparse.ArgumentTypeError(f"no neighbour is {wrong[0]!r}: {', '.join(KINDS)}")
    return names


@dataclass(frozen=True)
class Scene:
    """What all measurements have in common: the other accounts, and what was asked for. ``notes``: of the others' bridges."""

    bridges: Bridges
    notes: Notes
    others: dict[str, dict[str, str]]
    given: argparse.Namespace

    @property
    def chats(self) -> list[Chat]:
        return [Chat(account, friend) for friend in self.bridges.friends for account in self.others]

    def friends(self, kind: str) -> list[int]:
        """Return the friends of the neighbour: all in the world of its simulator."""
        count = self.given.chats if kind == FULL else FRIENDS
        return sorted(build_world(contacts=count).contacts)[:count]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=LEAST_ROUNDS)
    parser.add_argument("--seconds", type=seconds, default=10.0, help="how long jobs of the others come")
    parser.add_argument("--accounts", type=at_least(1), default=10, help="how many others there are")
    parser.add_argument("--jobs", type=at_least(1), default=30, help="jobs of the others a second, in all")
    parser.add_argument("--waiting", type=at_least(1), default=200_000, help="jobs of the full neighbour")
    parser.add_argument("--chats", type=at_least(2), default=20_000, help="chats of the full neighbour")
    parser.add_argument("--kinds", type=kinds, default=list(KINDS))
    given = parser.parse_args()
    report = Report(f"{given.accounts} accounts with {given.jobs} jobs/s in all beside one with trouble, PostgreSQL")
    report.say(f"load average {os.getloadavg()[0]:.1f} at the start")
    figures = measure_all(given)
    alone = say(report, ALONE, figures)
    for kind in given.kinds:
        beside = say(report, kind, figures)
        ratio = report.figure("p95 of the others: to alone", ratios(beside, alone), "", 2)
        if kind != HEALTHY:
            report.goal(f"beside a neighbour that is {kind}, p95 to alone", ratio, at_most=GOAL)
    report.say(f"load average {os.getloadavg()[0]:.1f} at the end")
    return report.exit_code


def measure_all(given: argparse.Namespace) -> dict[str, list[float]]:
    with ExitStack() as stack:
        notes = Path(stack.enter_context(TemporaryDirectory(prefix="worker68-notes-"))) / "notes"
        bridges = stack.enter_context(open_bridges(max(2, 400 // given.accounts), 0.0, notes))
        scene = Scene(bridges, Notes(notes), bridges.accounts(given.accounts), given)
        settings = {"BRIDGE_URL": "", "LIMITS": json.dumps(OFF), "MAX_WAITING": 1_000_000}
        stage = stack.enter_context(open_stage("postgresql", 2, 0.0, **settings))
        things = [measure(scene, stage, ALONE)]
        for kind in given.kinds:
            if kind == FULL:  # in a database of its own: alone is alone
                stage = stack.enter_context(open_stage("postgresql", 2, 0.0, **settings))
                fill(stage.engine, scene.friends(FULL), given.waiting)
            things.append(measure(scene, stage, kind))
        return in_turn(given.rounds, *things)


def measure(scene: Scene, stage: Stage, kind: str) -> Callable[[], Figures]:
    seed = 0

    def run() -> Figures:
        nonlocal seed
        seed += 1
        with open_neighbour(scene, stage, kind) as accounts, open_worker(stage, accounts, scene) as worker:
            serve(scene, stage, worker, WARM_UP_SECONDS, 0)
            took = serve(scene, stage, worker, scene.given.seconds, seed)
        return {f"p50 {kind}": percentile(took, 0.5), f"p95 {kind}": percentile(took, 0.95)}

    return run


def serve(scene: Scene, stage: Stage, worker: WorkerProcess, seconds: float, seed: int) -> list[float]:
    """Return how many milliseconds each job of the others takes."""
    times = arrival_times(seconds, scene.given.jobs, seed)
    return push_and_wait(stage, scene.chats, times, lambda: worker.last_words).milliseconds


@contextmanager
def open_neighbour(scene: Scene, stage: Stage, kind: str) -> Iterator[dict[str, dict[str, object]]]:
    """Give the tables of all accounts: the others, and the one with trouble, which gets jobs while the block lasts."""
    accounts: dict[str, dict[str, object]] = {name: dict(table) for name, table in scene.others.items()}
    if kind == ALONE:
        yield accounts
        return
    friends = scene.friends(kind)
    with open_bad_bridge(len(friends), stage, kind) as url:
        accounts[kind] = {"bridge_url": url}
        if kind == FULL:
            accounts[kind]["limits"] = OFF | {"account": f"{SLOTS_PER_SECOND}/s"}
        else:
            stage.push(jobs_to(friends, range(AT_THE_START)), queue=f"worker68.{kind}")
        with producing(friends, stage, kind, SLOTS_PER_SECOND if kind == HEALTHY else PER_SECOND):
            yield accounts


@contextmanager
def open_bad_bridge(contacts: int, stage: Stage, kind: str) -> Iterator[str]:
    """Give the address of the bridge; a dead one takes connections and says nothing."""
    if kind == "dead":
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield f"ws://127.0.0.1:{server.getsockname()[1]}"
        return
    scenario = stage.folder / "flapping.toml"
    scenario.write_text(_FLAPPING)
    options = [option.format(flapping=scenario) for option in _OPTIONS[kind]]
    words = (sys.executable, "-m", "worker68", "simulator", "--port", "0", "--contacts", str(contacts))
    process = subprocess.Popen(
        bound_to_parent((*words, *options), signal.SIGKILL),
        cwd=ROOT,
        env=os.environ | {"WORKER68_LOG_LEVEL": "error"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        said = process.stdout.readline().decode()
        assert "ws://" in said, f"the simulator did not start: {said}"
        yield said.split()[-1]
    finally:
        end_process(process, signal.SIGTERM)
        process.stdout.close()


def jobs_to(friends: list[int], numbers: Iterable[int]) -> Iterator[dict[str, object]]:
    for number in numbers:
        yield to(friends[number % min(FRIENDS, len(friends))], f"message {number}")


@contextmanager
def producing(friends: list[int], stage: Stage, account: str, per_second: int) -> Iterator[None]:
    """Give the neighbour jobs at random times while the block lasts."""
    jobs = jobs_to(friends, itertools.count())
    with arriving(lambda: stage.push([next(jobs)], queue=f"worker68.{account}"), per_second):
        yield


@contextmanager
def open_worker(stage: Stage, accounts: Mapping[str, object], scene: Scene) -> Iterator[WorkerProcess]:
    """Start a worker with these accounts; give it once the others are connected."""
    worker = stage.worker("worker", WORKER68)
    worker.settings["ACCOUNTS"] = json.dumps(accounts)
    began = monotonic()
    worker.start()
    try:
        wait_until(lambda: scene.others.keys() <= connected_since(scene, began), lambda: worker.last_words)
        yield worker
    finally:
        worker.kill()
        # It would be waited for, and the next one has its accounts at once.
        for key in [
            *stage.redis.scan_iter("worker68:lease:*"),
            *stage.redis.scan_iter("worker68:worker*"),
            "worker68:fleet",
        ]:
            stage.redis.delete(key)


def connected_since(scene: Scene, began: float) -> set[str]:
    return {note.account for note in scene.notes.read() if note.what == "connected" and note.at > began}


def say(report: Report, name: str, figures: dict[str, list[float]]) -> list[float]:
    """Print the figures; return the p95 of each round."""
    report.say(name)
    report.figure("the others, p50", figures[f"p50 {name}"], "ms", 1)
    report.figure("the others, p95", figures[f"p95 {name}"], "ms", 1)
    return figures[f"p95 {name}"]


if __name__ == "__main__":
    sys.exit(main())
