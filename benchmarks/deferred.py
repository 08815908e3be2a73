"""A million deferred jobs: what the owner asks of the waiting room with and without them, on PostgreSQL, and when due jobs leave.

    python3 -m benchmarks.deferred [--rounds 7] [--jobs 1000000]

Each verb is measured in turn in two databases of one server: one with the deferred jobs, one without; beside them each has the same
few thousand others. Then a worker runs on the full one, and jobs become due while it waits.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from statistics import median
from time import perf_counter

from sqlalchemy import Engine, text

from benchmarks.rounds import LEAST_ROUNDS, Figures, Report, at_least, in_turn, percentile, ratios
from benchmarks.stage import OFF, Stage, open_stage, to
from tests.parts.postgres import administer
from tests.parts.worker import wait_until
from worker68.clock import monotonic, utc_now
from worker68.execution.backlog import LANE_DEPTH
from worker68.execution.upkeep import LANES_AT_ONCE
from worker68.store import waiting
from worker68.store.engine import transaction
from worker68.store.lanes import find_lanes, load_lanes

CALLS = 5
FRIENDS = 200
READY = 2000
DUE = 100
GOAL_SECONDS = 1.0
GOAL_RATIO = 2.0

_FILL = """
INSERT INTO jobs (job_id, account, task, chat_type, chat_id, lane, job_class, priority, ordered, state, received_at, due_at,
    content_hash, fields, custom_msg_id, expires_at)
SELECT CAST(:kind AS varchar) || number, 'main', 'worker68.send_message', 'friend', 1 + number % 200,
    'send:friend:' || (1 + number % 200), 1, 0, true, CAST(:state AS varchar),
    now(), CASE WHEN CAST(:state AS varchar) = 'deferred' THEN now() + interval '1 hour' + number * interval '1 second' END, '',
    '{"chat": {"type": "friend", "id": ' || (1 + number % 200) || '}, "text": "hello"}', 10000000000 + :first + number,
    now() + interval '60 days'
FROM generate_series(1, :count) AS number
"""

#: What the owner asks each time around, every two seconds, every 30 seconds.
VERBS: dict[str, Callable[[Engine], object]] = {
    "next_due": lambda engine: waiting.next_due(engine, "main"),
    "release_due (nothing due)": lambda engine: waiting.release_due(engine, "main", utc_now()),
    "next_expiry": lambda engine: waiting.next_expiry(engine, "main"),
    "find_overdue": lambda engine: waiting.find_overdue(engine, "main", utc_now()),
    "find_parked": lambda engine: waiting.find_parked(engine, "main"),
    "find_lanes": lambda engine: find_lanes(engine, "main", "", LANES_AT_ONCE),
    "load_lanes (one)": lambda engine: load_lanes(engine, "main", LANE_DEPTH, ["send:friend:7"]),
    "count_waiting": lambda engine: waiting.count_waiting(engine, "main"),
}

#: It counts them, once in 30 seconds.
GROWS_WITH_THEM = {"count_waiting"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=7)
    parser.add_argument("--jobs", type=at_least(1), default=1_000_000)
    given = parser.parse_args()
    report = Report(f"Deferred jobs: {given.jobs:,} of them, and {READY:,} ready ones in {FRIENDS} lanes, PostgreSQL")
    with (
        open_stage("postgresql", 2, 0.1) as few,
        open_stage("postgresql", FRIENDS, 0.1, LIMITS=json.dumps(OFF), MAX_IN_FLIGHT=64, MAX_WAITING=2_000_000) as many,
    ):
        for stage in (few, many):
            fill(stage.engine, "ready", READY, 0)
        fill(many.engine, "deferred", given.jobs, READY)
        figures = in_turn(given.rounds, lambda: measure(few.engine, "few"), lambda: measure(many.engine, "many"))
        for verb in VERBS:
            report.say(verb)
            report.figure("without", figures[f"{verb} few"], "ms", 2)
            report.figure("with", figures[f"{verb} many"], "ms", 2)
            ratio = report.figure("ratio", ratios(figures[f"{verb} many"], figures[f"{verb} few"]), "", 2)
            if verb not in GROWS_WITH_THEM:
                report.goal(f"{verb}, with to without", ratio, at_most=GOAL_RATIO)
        late = release(many)
        report.figure(f"late of {DUE} jobs due at one time, all", late, "s", 3)
        report.goal("latest of them", max(late), at_most=GOAL_SECONDS)
        report.say(f"  p50 {percentile(late, 0.5):.3f} s, p95 {percentile(late, 0.95):.3f} s")
    return report.exit_code


def fill(engine: Engine, state: str, count: int, first: int) -> None:
    with transaction(engine) as connection:
        terms = {"kind": state, "state": state, "count": count, "first": first}
        connection.execute(text(_FILL), terms)
    administer(engine, "VACUUM ANALYZE jobs")


def measure(engine: Engine, name: str) -> Figures:
    """Return how long each verb took, the median of some calls."""
    return {f"{verb} {name}": median(take_time(call, engine) for _ in range(CALLS)) for verb, call in VERBS.items()}


def take_time(call: Callable[[Engine], object], engine: Engine) -> float:
    began = perf_counter()
    call(engine)
    return (perf_counter() - began) * 1000


def release(stage: Stage) -> list[float]:
    """Let jobs become due while a worker waits; return how many seconds after their time their frames reached the bridge."""
    with transaction(stage.engine) as connection:
        connection.execute(text("UPDATE jobs SET state = 'ended' WHERE state = 'ready'"))
    worker = stage.worker("worker")
    try:
        worker.start()
        worker.wait_ready()
        due = utc_now() + timedelta(seconds=6)
        due_at = monotonic() + 6
        stage.push(to(friend, "due", send_at=due.isoformat()) for friend in stage.friends[:DUE])
        wait_until(lambda: len(stage.sends()) >= DUE, lambda: worker.last_words, seconds=60)
        return [one.at - due_at for one in stage.sends()]
    finally:
        worker.kill()


if __name__ == "__main__":
    sys.exit(main())
