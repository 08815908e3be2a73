"""Changes accounts of the database at random while jobs go through and workers are killed, and counts what became of every job.

    python -m tests.soak.accounts --seconds 100 --database postgresql [--workers 2 --kills]

In: how long, which database, whether workers are killed too. Out: a report in lines, and exit code 0 only if nothing was lost or
doubled, every chat kept its order, and no bridge ever had two connections. Everything it starts is its own and ends with it; it
listens on 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import redis
from click.testing import CliRunner
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.parts.nursery import Nursery
from tests.parts.postgres import PostgresServer
from tests.parts.worker import wait_until
from worker68.cli.main import main
from worker68.clock import Deadline
from worker68.embedded import EmbeddedRedis
from worker68.simulator import Simulator
from worker68.store.migration import upgrade

ACCOUNTS: Final = ("shop", "kiosk")
#: More than accounts, so that a bridge is given up by one and taken by the other.
BRIDGES: Final = 3
CHAT: Final = {"type": "group", "id": 389284}
#: Each account gets another job this often: fewer than it sends, so that nothing is left in the end.
PAUSE_SECONDS: Final = 0.5
#: A bridge that was left a moment ago is refused until its worker has closed the connection.
TRY_SECONDS: Final = 0.3
SETTINGS: Final[dict[str, object]] = {"VERDICT_TIMEOUT": 20, "LEASE_TTL": 3, "LIMITS": "off"}


class Soak:
    """One run."""

    def __init__(self, options: argparse.Namespace, url: str, stack: ExitStack, folder: Path) -> None:
        self.options = options
        self.chance = random.Random(options.seed)
        server = stack.enter_context(EmbeddedRedis(append_only=True))
        self.redis = redis.Redis.from_url(server.url)
        self.bridges = [
            stack.enter_context(Simulator(heartbeat_seconds=0.5, verdict_delay_seconds=0.2)) for _ in range(BRIDGES + 1)
        ]
        self.database = create_engine(url, poolclass=NullPool)
        settings = SETTINGS | {"REDIS_URL": server.url, "DATABASE_URL": url, "BRIDGE_URL": self.bridges[0].url}
        self.env = {f"WORKER68_{name}": str(value) for name, value in settings.items()}
        nursery = stack.enter_context(Nursery())
        self.workers = [nursery.worker(settings, folder / f"worker-{number}.log") for number in range(options.workers)]
        for worker in self.workers:
            stack.callback(worker.kill)
        self.done: Counter[str] = Counter()
        self.produced = 0
        self._stop = threading.Event()

    def run(self) -> list[str]:
        """Go on for so long; return what was found wrong."""
        for worker in self.workers:
            worker.start()
        for name in ACCOUNTS:
            self._add(name)
        producer = threading.Thread(target=self._produce)
        producer.start()
        deadline = Deadline.after(self.options.seconds)
        while not deadline.passed:
            self._change(self.chance.choice(ACCOUNTS))
            if self.options.kills and self.chance.random() < 0.15:
                worker = self.chance.choice(self.workers)
                worker.kill()
                worker.start()
                self.done["killed"] += 1
        self._stop.set()
        producer.join()
        ended = "SELECT count(*) FROM jobs WHERE state = 'ended'"
        wait_until(lambda: self._rows(ended)[0][0] == len(ACCOUNTS) * self.produced, lambda: self._rows(ended))
        return list(self._audit())

    def _change(self, name: str) -> None:
        """Move an account to another bridge, change it otherwise, or remove it and add it again."""
        what = self.chance.random()
        if what < 0.6:
            self._cli("set", name, f"bridge_url={self._bridge()}")
        elif what < 0.75:
            self._cli("set", name, f"max_in_flight={self.chance.randint(1, 9)}")
        else:
            self._cli("remove", name, "--force")
            self._add(name)

    def _add(self, name: str) -> None:
        while self._cli("add", name, "--bridge-url", self._bridge()) != 0:
            time.sleep(TRY_SECONDS)

    def _bridge(self) -> str:
        return self.chance.choice(self.bridges[1:]).url

    def _cli(self, *words: str) -> int:
        done = CliRunner(env=self.env).invoke(main, ["accounts", *words])
        self.done[f"{words[0]}: {'done' if done.exit_code == 0 else 'refused'}"] += 1
        return done.exit_code

    def _produce(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            for name in ACCOUNTS:
                words = f"{name} {self.produced:05}"
                fields: dict[str, Any] = {"chat": CHAT, "text": words, "job_id": words}
                headers = {"task": "worker68.send_message", "id": words}
                body = json.dumps([[], fields, {}])
                message = {"headers": headers, "content-type": "application/json", "body": body}
                self.redis.lpush(f"worker68.{name}", json.dumps(message))
            self.produced += 1

    def _rows(self, query: str) -> list[Any]:
        with self.database.connect() as connection:
            return list(connection.execute(text(query)))

    def _audit(self) -> Iterator[str]:
        sent = sorted((one.at, one.text) for bridge in self.bridges for one in bridge.sent)
        words = Counter(text for _, text in sent)
        doubtful = {
            row.job_id for row in self._rows("SELECT job_id FROM jobs WHERE status = 'in_doubt' OR revision > 1")
        }
        self.done["in doubt"] = len(doubtful)
        yield from (f"sent twice: {text}" for text, times in words.items() if times > 1)
        for name in ACCOUNTS:
            asked = {f"{name} {number:05}" for number in range(self.produced)}
            yield from (f"not sent: {text}" for text in sorted(asked - words.keys() - doubtful))
            order = [text for _, text in sent if text.startswith(name)]
            if order != sorted(order):
                yield f"{name}: out of order"
        failed = "SELECT job_id, status FROM jobs WHERE status NOT IN ('succeeded', 'in_doubt')"
        yield from (f"ended as {row.status}: {row.job_id}" for row in self._rows(failed))
        if doubtful and not self.options.kills:
            yield f"in doubt without a kill: {sorted(doubtful)}"
        for number, bridge in enumerate(self.bridges):
            yield from (f"two connections of bridge {number}: {overlap}" for overlap in bridge.take_overlaps())


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", action="store_true", help="kill workers, too")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def run() -> int:
    options = read_options()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder / 'worker68.db'}"
        if options.database == "postgresql":
            url = stack.enter_context(stack.enter_context(PostgresServer()).database())
        upgrade(url)
        soak = Soak(options, url, stack, folder)
        problems = soak.run()
    print(f"jobs      {len(ACCOUNTS) * soak.produced}")
    for what, times in sorted(soak.done.items()):
        print(f"{what:16} {times}")
    print(f"problems  {problems or 'none: nothing lost, nothing doubled, never two connections'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run())
