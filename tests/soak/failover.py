"""Kills or freezes the master of a Redis with a sentinel, again and again, while two workers have jobs, and counts.

    python -m tests.soak.failover --rounds 10 --how freeze

In: how many failovers, and of which kind. Out: a report in lines, and exit code 0 only if nothing that the replica had was lost,
nothing was sent twice, and the bridge never had two connections. Everything it starts is its own and ends with it; it listens on
127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import redis
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.parts.nursery import ForkedWorker, Nursery
from tests.parts.sentinel import Pair, connect, watched
from tests.parts.worker import wait_until
from worker68.broker.client import make_client
from worker68.clock import monotonic
from worker68.embedded import EmbeddedRedis
from worker68.simulator import Simulator
from worker68.simulator.population import FRIEND
from worker68.store.migration import upgrade

SEND: Final = "worker68.send_message"
SETTINGS: Final = {
    "LEASE_TTL": 2,
    "VERDICT_TIMEOUT": 10,
    "LIMITS": json.dumps(dict.fromkeys(("account", "chat", "send", "moderate", "read"), "1000/s+1000")),
}
#: Between two jobs.
PAUSE_SECONDS: Final = 0.02
ROUND_SECONDS: Final = 120.0
#: So many jobs are accepted before each failover.
LOAD: Final = 100


class Producer(threading.Thread):
    """Puts numbered jobs in, also over a failover; ``accepted`` are those that the replica had."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._redis = make_client(url, protocol=2, socket_timeout=2, socket_connect_timeout=2)
        self._stopping = threading.Event()
        self.accepted: list[str] = []

    def run(self) -> None:
        number = 0
        while not self._stopping.wait(PAUSE_SECONDS):
            number += 1
            try:
                self._push(f"job-{number}")
            except redis.RedisError:
                continue

    def _push(self, job_id: str) -> None:
        body = [[], {"chat": {"type": "friend", "id": FRIEND}, "text": job_id, "job_id": job_id}, {}]
        headers = {"task": SEND, "id": job_id, "ignore_result": True}
        message = {"headers": headers, "content-type": "application/json", "body": json.dumps(body)}
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.lpush("worker68.main", json.dumps(message))
            pipe.wait(1, 1000)
            _, copies = pipe.execute()
        if copies:
            self.accepted.append(job_id)

    def wait_for(self, count: int) -> None:
        """Wait until so many jobs are accepted."""
        wait_until(lambda: len(self.accepted) >= count, seconds=ROUND_SECONDS)

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def run(rounds: int, how: str) -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="worker68-soak-")))
        url = f"sqlite:///{folder / 'worker68.db'}"
        upgrade(url)
        master = stack.enter_context(EmbeddedRedis(append_only=True))
        pair = stack.enter_context(watched(master))
        if how == "freeze":
            demand_replica(pair)
        bridge = stack.enter_context(Simulator(heartbeat_seconds=0.5, verdict_delay_seconds=0.05))
        settings = SETTINGS | {"REDIS_URL": pair.url, "DATABASE_URL": url, "BRIDGE_URL": bridge.url}
        nursery = stack.enter_context(Nursery())
        workers = [nursery.worker(settings, folder / f"worker-{number}.log") for number in range(2)]
        for worker in workers:
            stack.callback(worker.kill)
            worker.start()
            worker.wait_ready()
        producer = Producer(pair.url)
        producer.start()
        for number in range(rounds):
            producer.wait_for(LOAD * (number + 1))
            pair = (freeze if how == "freeze" else kill)(pair, bridge, workers)
            print(f"failover {number + 1}: {len(producer.accepted)} jobs accepted so far", flush=True)
        producer.stop()
        problems = audit(url, producer.accepted, bridge)
        if overlaps := bridge.take_overlaps():
            problems.append(f"two connections at once: {overlaps[:3]}")
    print(f"problems  {problems or 'none: nothing lost, nothing doubled'}")
    return 1 if problems else 0


def demand_replica(pair: Pair) -> None:
    """As docs/redis.md says: a master that lives on takes no writes."""
    for server in (pair.master, pair.replica):
        with connect(server.url) as client:
            client.config_set("min-replicas-to-write", 1)
            client.config_set("min-replicas-max-lag", 2)


def freeze(pair: Pair, bridge: Simulator, workers: list[ForkedWorker]) -> Pair:
    """Stop the master in its tracks, and let it go on when another one is the master: it still believes that it is."""
    pair.master.pause()
    pair.wait_for_master(pair.replica)
    pair.master.resume()
    return await_service(pair, bridge, workers)


def kill(pair: Pair, bridge: Simulator, workers: list[ForkedWorker]) -> Pair:
    """Kill the master, wait until jobs are sent again, and let the old one come back."""
    began = monotonic()
    pair.fail_over()
    promoted, sent = monotonic(), len(bridge.sent)
    wait_until(lambda: len(bridge.sent) > sent, lambda: workers[0].last_words, ROUND_SECONDS)
    print(f"master away for {promoted - began:.1f} s, sending again {monotonic() - promoted:.1f} s later")
    pair.master.restart()
    return await_service(pair, bridge, workers)


def await_service(pair: Pair, bridge: Simulator, workers: list[ForkedWorker]) -> Pair:
    """Wait until the old master follows the new one, and jobs are sent; return them with their parts changed."""
    with connect(pair.master.url) as client:
        wait_until(lambda: _follows(client), seconds=ROUND_SECONDS)
    sent = len(bridge.sent)
    wait_until(lambda: len(bridge.sent) > sent, lambda: workers[0].last_words, ROUND_SECONDS)
    return replace(pair, master=pair.replica, replica=pair.master)


def _follows(client: redis.Redis) -> bool:
    try:
        info: Any = client.info("replication")
    except redis.ConnectionError:  # the sentinel cuts all connections of a master that it makes a replica
        return False
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")


def audit(url: str, accepted: list[str], bridge: Simulator) -> list[str]:
    """Return what is wrong once all is done."""
    database = create_engine(url, poolclass=NullPool)

    def read(query: str) -> list[Any]:
        with database.connect() as connection:
            return list(connection.execute(text(query)))

    problems = []
    there = "SELECT job_id FROM jobs WHERE state = 'ended'"
    try:
        wait_until(lambda: {row.job_id for row in read(there)} >= set(accepted), seconds=ROUND_SECONDS)
    except AssertionError:
        problems.append(f"lost: {sorted(set(accepted) - {row.job_id for row in read(there)})[:5]}")
    if wrong := read("SELECT job_id, status FROM jobs WHERE status <> 'succeeded' LIMIT 5"):
        problems.append(f"ended otherwise: {wrong}")
    if doubled := [words for words, count in Counter(one.text for one in bridge.sent.copy()).items() if count > 1]:
        problems.append(f"sent twice: {doubled[:5]}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.failover", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how many failovers")
    parser.add_argument("--how", choices=["kill", "freeze"], default="kill", help="what happens to the master")
    options = parser.parse_args()
    return run(options.rounds, options.how)


if __name__ == "__main__":
    sys.exit(main())
