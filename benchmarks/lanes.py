"""What waiting chats cost: 200,000 waiting jobs of one account in 10 and in 20,000 chats, and another account's jobs beside them.

    python3 -m benchmarks.lanes [--rounds 5] [--seconds 10] [--waiting 200000] [--chats 10,20000]

Quick: ``--waiting 2000 --chats 10,200 --seconds 1``. PostgreSQL. The full account may send 20 times a second. In each round a
worker is started beside no waiting jobs, and beside those of each number of chats, in turn: from its start to the first send of the
full account; then the jobs of the other account, which come at random times, from push to reply; meanwhile the share of the full
account's slots that was used; at the end the worker's memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from sqlalchemy import Engine, text

from benchmarks.arrivals import Chat, arrival_times, push_and_wait
from benchmarks.processes import children, resident_megabytes
from benchmarks.rounds import LEAST_ROUNDS, Figures, Report, at_least, counts, in_turn, percentile, ratios, seconds
from benchmarks.stage import OFF, Stage, open_stage
from tests.parts.postgres import administer
from tests.parts.worker import WORKER68
from worker68.clock import monotonic
from worker68.simulator import Simulator, build_world
from worker68.store.engine import transaction

#: Of the other account.
FRIENDS: Final = 40
PER_SECOND: Final = 10
#: Of the full account. The other one's verdicts come at once: what it waits is the worker's doing.
SLOTS_PER_SECOND: Final = 20
VERDICT_SECONDS: Final = 0.1
ALONE: Final = "alone"

GOAL_LATENCY: Final = 1.5
GOAL_FIRST_SECONDS: Final = 2.0
GOAL_MEGABYTES: Final = 150
GOAL_SLOTS: Final = 0.99

_FILL: Final = """
INSERT INTO jobs (job_id, account, task, chat_type, chat_id, lane, job_class, priority, ordered, state, received_at, content_hash,
    fields, custom_msg_id)
SELECT 'waiting-' || number, 'full', 'worker68.send_message', 'friend', chats[1 + number % :chats],
    'send:friend:' || chats[1 + number % :chats], 1, 0, true, 'ready', now(), '',
    '{"chat": {"type": "friend", "id": ' || chats[1 + number % :chats] || '}, "text": "hello"}', 10000000000 + number
FROM generate_series(1, :count) AS number, (SELECT CAST(:friends AS bigint[]) AS chats) AS all_of_them
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=LEAST_ROUNDS)
    parser.add_argument("--seconds", type=seconds, default=10.0, help="how long jobs of the other account come")
    parser.add_argument("--waiting", type=at_least(1), default=200_000)
    parser.add_argument("--chats", type=counts, default=[10, 20_000])
    given = parser.parse_args()
    report = Report(f"{given.waiting:,} waiting jobs of one account, and another account beside them, PostgreSQL")
    report.say(f"load average {os.getloadavg()[0]:.1f} at the start")
    names = {f"{chats:,} chats": chats for chats in given.chats}
    with ExitStack() as stack:
        alone = stack.enter_context(open_two_accounts(2, 0))
        full = {name: stack.enter_context(open_two_accounts(chats, given.waiting)) for name, chats in names.items()}
        figures = in_turn(
            given.rounds,
            measure(ALONE, *alone, given.seconds, waits=False),
            *(measure(name, *stage, given.seconds, waits=True) for name, stage in full.items()),
        )
    for name in (ALONE, *names):
        say(report, name, figures)
    report.say(f"load average {os.getloadavg()[0]:.1f} at the end")
    return report.exit_code


@contextmanager
def open_two_accounts(chats: int, waiting: int) -> Iterator[tuple[Stage, Simulator]]:
    """Open a stage with the account ``main`` and the account ``full``, which has its waiting jobs; give its bridge too."""
    world = build_world(contacts=max(2, chats))
    bridge = Simulator(world=world, heartbeat_seconds=1.0, verdict_delay_seconds=VERDICT_SECONDS)
    with bridge:
        full = {"bridge_url": bridge.url, "limits": OFF | {"account": f"{SLOTS_PER_SECOND}/s"}}
        settings = {"ACCOUNTS": json.dumps({"full": full}), "LIMITS": json.dumps(OFF), "MAX_WAITING": 1_000_000}
        with open_stage("postgresql", FRIENDS, 0.0, **settings) as stage:
            fill(stage.engine, sorted(world.contacts)[:chats], waiting)
            yield stage, bridge


def fill(engine: Engine, friends: list[int], count: int) -> None:
    with transaction(engine) as connection:
        connection.execute(text(_FILL), {"friends": friends, "chats": len(friends), "count": count})
    administer(engine, "VACUUM ANALYZE jobs")


def measure(name: str, stage: Stage, bridge: Simulator, seconds: float, *, waits: bool) -> Callable[[], Figures]:
    worker = stage.worker("worker", WORKER68)
    chats = [Chat("main", friend) for friend in stage.friends]

    def serve(seconds: float, seed: int) -> list[float]:
        times = arrival_times(seconds, PER_SECOND, seed)
        return push_and_wait(stage, chats, times, lambda: worker.last_words).milliseconds

    def run() -> Figures:
        figures = {}
        bridge.received.clear()
        before, began = children(), monotonic()
        worker.start()
        try:
            (pid,) = children() - before
            if waits:
                worker.wait(lambda: sends_of(bridge))
                figures["first send"] = sends_of(bridge)[0] - began
            serve(1.0, seed=0)  # warms up
            since = monotonic()
            took = serve(seconds, seed=1)
            if waits:
                until = since + seconds
                used = sum(since <= at < until for at in sends_of(bridge))
                figures["slots used"] = used / (SLOTS_PER_SECOND * seconds)
            figures |= {"p50": percentile(took, 0.5), "p95": percentile(took, 0.95), "memory": resident_megabytes(pid)}
            worker.stop()
        finally:
            worker.kill()
        return {f"{what} {name}": figure for what, figure in figures.items()}

    return run


def sends_of(bridge: Simulator) -> list[float]:
    """Return when each message reached the bridge."""
    return [one.at for one in bridge.received if one.frame["type"] == "sendMsg"]


def say(report: Report, name: str, figures: dict[str, list[float]]) -> None:
    report.say(name)
    report.figure("the other account, p50", figures[f"p50 {name}"], "ms", 1)
    report.figure("the other account, p95", figures[f"p95 {name}"], "ms", 1)
    memory = report.figure("memory of the worker", figures[f"memory {name}"], "MB")
    if name == ALONE:
        return
    ratio = report.figure(
        "the other account, p95: to alone", ratios(figures[f"p95 {name}"], figures[f"p95 {ALONE}"]), "", 2
    )
    first = report.figure("from the start to the first send", figures[f"first send {name}"], "s", 2)
    slots = report.figure("slots used", figures[f"slots used {name}"], "", 3)
    report.goal(f"{name}, the other account's p95 to alone", ratio, at_most=GOAL_LATENCY)
    report.goal(f"{name}, seconds to the first send", first, at_most=GOAL_FIRST_SECONDS)
    report.goal(f"{name}, megabytes", memory, at_most=GOAL_MEGABYTES)
    report.goal(f"{name}, slots used", slots, at_least=GOAL_SLOTS)


if __name__ == "__main__":
    sys.exit(main())
