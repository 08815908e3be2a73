"""What a worker, an account and a job cost Redis, PostgreSQL and the network, and what a large fleet would cost at that.

    python3 -m benchmarks.footprint [--rounds 5] [--seconds 10] [--accounts 50] [--jobs 100]
                                    [--fleet-workers 1000] [--fleet-accounts 10000] [--fleet-jobs 1000]

Each figure is a count: commands, transactions, bytes, connections, rows. One worker is left idle with two accounts and with
``--accounts``, so many rounds of ``--seconds``: the difference is that of the accounts, the rest that of the worker. Then so many
jobs a second come, spread evenly over the accounts, for as many rounds; what is above the idle cost is theirs, with one reply
list, and no Celery result. CPU is in it as well, and depends on the machine. At the end the figures are multiplied for a fleet:
what no single machine can show. What grows otherwise than in a line, the look of each worker at all others, is measured by
itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from time import sleep
from typing import Final, cast

import redis
from sqlalchemy import text

from benchmarks.accounts import PATIENCE_SECONDS, SETTLE_SECONDS, wait_for_accounts
from benchmarks.arrivals import Chat, arrival_times, push_and_wait
from benchmarks.bridges import open_bridges
from benchmarks.processes import children, cpu_seconds, parent, resident_megabytes
from benchmarks.rounds import LEAST_ROUNDS, Report, at_least, seconds
from benchmarks.stage import OFF, Stage, open_stage
from tests.parts.worker import WORKER68, WorkerProcess
from worker68.clock import monotonic
from worker68.embedded import EmbeddedRedis
from worker68.fleet.members import Members, Word
from worker68.fleet.spread import UNLABELLED, Member, spread

#: Of each account, so that no chat has two jobs at once.
CHATS: Final = 20
VERDICT_SECONDS: Final = 0.3
FEW_ACCOUNTS: Final = 2
#: Redis and PostgreSQL count in steps: a checkpoint, a statistic that is written late.
LATE_SECONDS: Final = 1.5

MOST_COMMANDS: Final = 16
#: Those that hear all others: some show what it costs.
SOME_WORKERS: Final = 50

#: What is counted, with its unit and digits.
COUNTS: Final = {
    "Redis: commands, those in scripts among them": ("", 2),
    "Redis: CPU": ("ms", 3),
    "Redis: bytes in": ("B", 0),
    "Redis: bytes out": ("B", 0),
    "Redis: bytes of the append-only file": ("B", 0),
    "PostgreSQL: transactions": ("", 2),
    "PostgreSQL: WAL": ("B", 0),
    "PostgreSQL: CPU": ("ms", 3),
    "PostgreSQL: rows written": ("", 2),
    "worker: CPU": ("ms", 3),
}
Figures = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=LEAST_ROUNDS)
    parser.add_argument("--seconds", type=seconds, default=10.0, help="how long a round is")
    parser.add_argument("--accounts", type=at_least(FEW_ACCOUNTS + 1), default=50)
    parser.add_argument("--jobs", type=at_least(1), default=100, help="jobs a second")
    parser.add_argument("--fleet-workers", type=at_least(1), default=1000)
    parser.add_argument("--fleet-accounts", type=at_least(1), default=10_000)
    parser.add_argument("--fleet-jobs", type=at_least(1), default=1000, help="jobs a second in the whole fleet")
    given = parser.parse_args()
    report = Report(f"The footprint of a worker, of an account and of a job ({given.jobs} jobs/s), PostgreSQL")
    report.say(f"load average {os.getloadavg()[0]:.1f} at the start")
    few = measure(given, FEW_ACCOUNTS, report, with_jobs=False)
    found = measure(given, given.accounts, report, with_jobs=True)
    more = given.accounts - FEW_ACCOUNTS
    alone, job = few["alone"], found["job"]
    account = {what: max(0.0, found["idle"][what] - few["idle"][what]) / more for what in COUNTS}
    worker = {what: max(0.0, few["idle"][what] - alone[what] - FEW_ACCOUNTS * account[what]) for what in COUNTS}
    report.say("each second of the servers alone, of an idle worker, of an idle account; each job")
    report.say(f"  {'':44}{'alone':>12}{'worker':>12}{'account':>12}{'job':>12}")
    for what, (unit, digits) in COUNTS.items():
        four = "".join(f"{of[what]:>12,.{digits}f}" for of in (alone, worker, account, job))
        report.say(f"  {what:44}{four} {unit}")
    fleet = {
        what: alone[what]
        + given.fleet_workers * worker[what]
        + given.fleet_accounts * account[what]
        + given.fleet_jobs * job[what]
        for what in COUNTS
    }
    report.say(
        f"computed, each second of {given.fleet_workers:,} workers with {given.fleet_accounts:,} accounts and "
        f"{given.fleet_jobs:,} jobs/s"
    )
    for what, (unit, _) in COUNTS.items():
        share = f"  {fleet[what] / 10:,.0f} % of a core" if unit == "ms" else ""
        report.say(f"  {what:44}{fleet[what]:>16,.0f} {unit:4}{share}")
    say_fleet(report, given.fleet_workers, given.fleet_accounts)
    report.say(f"load average {os.getloadavg()[0]:.1f} at the end")
    return report.exit_code


def say_fleet(report: Report, workers: int, accounts: int) -> None:
    """Print what a fleet of so many costs where each looks at all others, which no single worker shows."""
    word = Word("0123456789abcdef", 1, [], {UNLABELLED: accounts // workers})
    with EmbeddedRedis(append_only=True) as server, redis.Redis.from_url(server.url, protocol=2) as client:
        fleet = [Members(client, f"a-host-of-the-fleet-{number:06}", 3600.0) for number in range(workers)]

        def look(members: Sequence[Members], *, anew: bool) -> str:
            before, used = client.info("stats")["total_net_output_bytes"], cpu_seconds(server.pid)
            for one in members:
                one.look(word, anew=anew)
            used = (cpu_seconds(server.pid) - used) / len(members) * 1000
            sent = (client.info("stats")["total_net_output_bytes"] - before) / len(members)
            return f"{used:.3f} ms of Redis's CPU, {sent:,.0f} B"

        for number in range(2):  # at its second look each knows the others
            for one in fleet:
                one.look(word, anew=number == 0)
        report.say(f"a look of one of {workers:,} workers at the fleet, each once a second")
        report.say(f"  nothing has changed: {look(fleet, anew=False)}")
        report.say(f"  all is heard: {look(fleet[:SOME_WORKERS], anew=True)}")
    tenth = max(1, workers // 10)
    held = accounts // max(1, workers - tenth)
    members = [Member(f"{number:06}", held={UNLABELLED: held if number >= tenth else 0}) for number in range(workers)]
    began = monotonic()
    spread({UNLABELLED: accounts}, members)
    report.say(f"  the spread computed anew where {tenth:,} come: {(monotonic() - began) * 1000:.0f} ms in each worker")


def measure(given: argparse.Namespace, accounts: int, report: Report, *, with_jobs: bool) -> dict[str, Figures]:
    """Return what an idle second of a worker with so many accounts costs, and what a job costs above that."""
    with open_bridges(CHATS, VERDICT_SECONDS) as bridges:
        settings = {
            "BRIDGE_URL": "",
            "ACCOUNTS": json.dumps(bridges.accounts(accounts)),
            "LIMITS": json.dumps(OFF),
            "MAX_IN_FLIGHT": CHATS,
        }
        chats = [Chat(name, friend) for friend in bridges.friends for name in bridges.accounts(accounts)]
        with open_stage("postgresql", 2, 0.0, **settings) as stage:
            found = {"alone": middle([rest(stage, None, given.seconds) for _ in range(given.rounds)])}
            connections = connections_of(stage)
            worker = stage.worker("worker", WORKER68)
            worker.start()
            try:
                assert wait_for_accounts(stage, [worker], accounts), f"not ready after {PATIENCE_SECONDS:g} s"
                sleep(SETTLE_SECONDS)
                report.say(f"one worker with {accounts:,} accounts, idle")
                found["idle"] = middle([rest(stage, worker, given.seconds) for _ in range(given.rounds)])
                if with_jobs:
                    say_connections(report, stage, worker, connections)
                    found["job"] = run_jobs(report, stage, given, worker, chats, found["idle"])
                say_connections(report, stage, worker, connections)
                return found
            finally:
                worker.kill()


def run_jobs(
    report: Report,
    stage: Stage,
    given: argparse.Namespace,
    worker: WorkerProcess,
    chats: list[Chat],
    idle: Figures,
) -> Figures:
    """Let jobs come; print which commands and how many rows they need, and return what a job costs."""
    load(stage, worker, chats, given, idle, seed=0)  # warms up
    commands, sizes = commands_of(stage), sizes_of(stage)
    rounds = [load(stage, worker, chats, given, idle, seed=seed) for seed in range(1, given.rounds + 1)]
    jobs = sum(one["jobs"] for one in rounds)
    report.say(f"the same with {given.jobs} jobs/s: commands of Redis a job, those in scripts among them")
    for name, number in (commands_of(stage) - commands).most_common(MOST_COMMANDS):
        report.say(f"  {name:44}{number / jobs:>12,.2f}")
    report.say("rows and bytes of each table a job, with its indexes and what is not vacuumed yet")
    for table, (rows, size) in sizes_of(stage).items():
        before = sizes[table]
        if size > before[1] or rows > before[0]:
            report.say(f"  {table:44}{(rows - before[0]) / jobs:>12,.2f} {(size - before[1]) / jobs:>11,.0f} B")
    return middle(rounds)


def rest(stage: Stage, worker: WorkerProcess | None, seconds: float) -> Figures:
    """Return what a second without jobs costs."""
    began, before = monotonic(), count(stage, worker)
    sleep(seconds)
    return {what: (now - before[what]) / (monotonic() - began) for what, now in count(stage, worker).items()}


def load(
    stage: Stage, worker: WorkerProcess, chats: list[Chat], given: argparse.Namespace, idle: Figures, seed: int
) -> Figures:
    """Return what a job costs above an idle second's part; and how many there were."""
    times = arrival_times(given.seconds, given.jobs, seed)
    began, before = monotonic(), count(stage, worker)
    taken = push_and_wait(stage, chats, times, lambda: worker.last_words)
    assert not taken.missing, worker.last_words
    sleep(LATE_SECONDS)
    after, took = count(stage, worker), monotonic() - began
    return {what: (after[what] - before[what] - idle[what] * took) / len(times) for what in COUNTS} | {
        "jobs": float(len(times))
    }


def count(stage: Stage, worker: WorkerProcess | None) -> Figures:
    """Return how much of everything there has been so far. The benchmark's own pushes and reads of replies are among it."""
    info = stage.redis.info("all")
    with stage.engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_clear_snapshot()"))
        backend, committed, rows, wal = connection.execute(
            text(
                "SELECT pg_backend_pid(), xact_commit + xact_rollback, tup_inserted + tup_updated + tup_deleted,"
                " pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') FROM pg_stat_database WHERE datname = current_database()"
            )
        ).one()
    return {
        "Redis: commands, those in scripts among them": float(sum(commands_of(stage).values())),
        "Redis: CPU": cpu_seconds(stage.redis_server.pid) * 1000,
        "Redis: bytes in": float(info["total_net_input_bytes"]),
        "Redis: bytes out": float(info["total_net_output_bytes"]),
        "Redis: bytes of the append-only file": float(info["aof_current_size"]),
        "PostgreSQL: transactions": float(committed),
        "PostgreSQL: WAL": float(wal),
        "PostgreSQL: CPU": sum(map(cpu_seconds, children(str(parent(backend))))) * 1000,
        "PostgreSQL: rows written": float(rows),
        "worker: CPU": 0.0 if worker is None else cpu_seconds(worker.pid) * 1000,
    }


def commands_of(stage: Stage) -> Counter[str]:
    """Return how often each command was called, also from scripts."""
    stats = cast("dict[str, dict[str, int]]", stage.redis.info("commandstats"))
    return Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()})


def sizes_of(stage: Stage) -> dict[str, tuple[int, int]]:
    """Return the rows and bytes of each table."""
    with stage.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT relname, n_tup_ins, pg_total_relation_size(relid) FROM pg_stat_user_tables ORDER BY relname")
        )
        return {name: (int(number), int(size)) for name, number, size in rows}


def connections_of(stage: Stage) -> tuple[int, int]:
    """Return how many connections Redis and PostgreSQL have, this benchmark's own among them."""
    with stage.engine.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        return len(stage.redis.client_list()), int(connection.scalar(text(query)) or 0)


def say_connections(report: Report, stage: Stage, worker: WorkerProcess, before: tuple[int, int]) -> None:
    """Print the connections of one worker, and its memory."""
    to_redis, to_postgresql = (now - then for now, then in zip(connections_of(stage), before, strict=True))
    memory = f"{resident_megabytes(worker.pid):.0f} MB"
    report.say(f"  its connections to Redis {to_redis}, to PostgreSQL {to_postgresql}; its memory {memory}")


def middle(rounds: list[Figures]) -> Figures:
    return {what: statistics.median(one[what] for one in rounds) for what in COUNTS}


if __name__ == "__main__":
    sys.exit(main())
