"""A real ``celery worker`` on our transport and pool: it runs what is delivered, and stays Celery in everything else."""

# mypy: disallow-untyped-calls=False
# because kombu's functions are not typed.

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import pools

from tests.parts.events import hear_events
from worker68.clock import Deadline
from worker68.embedded import EmbeddedRedis

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
WITHIN = 90.0


class Worker:
    """A worker process and a plain Celery client that knows nothing of our transport."""

    def __init__(self, redis_url: str, log: Path) -> None:
        self._redis_url = redis_url
        self._log = log
        self.app = self._connect()
        self.client = redis.Redis.from_url(redis_url, decode_responses=True)
        self.process: subprocess.Popen[bytes] | None = None

    def _connect(self) -> Celery:
        app = Celery("client", broker=self._redis_url, set_as_current=False)
        app.conf.broker_connection_retry_on_startup = True
        return app

    def reconnect(self) -> None:
        """Forget the client's connections, which a restart of Redis has cut."""
        self.app.close()
        pools.reset()
        self.app = self._connect()

    def start(self) -> None:
        environment = {
            **os.environ,
            "DELIVERING_REDIS_URL": self._redis_url,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "default",
        }
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "delivering_app",
            "worker",
            "--hostname",
            "w@test",
            "--loglevel",
            "INFO",
        ]
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=output, stderr=subprocess.STDOUT)
        self.wait(lambda: b"w@test ready." in self._log.read_bytes())

    def send(self, task: str, *args: Any, **options: Any) -> None:
        self.app.send_task(task, args, queue="worker68", **options)

    def notes(self) -> list[str]:
        return [str(note) for note in self.client.lrange("notes", 0, -1)]

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds; fail with the worker's log if it does not, or the worker ends before."""
        assert self.process is not None
        deadline = Deadline.after(WITHIN)
        pause = threading.Event()
        while not condition():
            assert not deadline.passed, self._log.read_text(errors="replace")
            assert self.process.poll() is None, self._log.read_text(errors="replace")
            pause.wait(0.02)

    def wait_for_end(self) -> int:
        assert self.process is not None
        try:
            return self.process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            pytest.fail(self._log.read_text(errors="replace"))

    def inspect(self, method: str) -> Any:
        replies = getattr(self.app.control.inspect(["w@test"], timeout=WITHIN, limit=1), method)()
        return replies["w@test"]

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.client.close()
        self.app.close()


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(redis_url, tmp_path / "worker.log")
    worker.start()
    yield worker
    worker.close()


def test_what_producers_send_runs_in_order_and_leaves_nothing_behind(worker: Worker) -> None:
    for n in range(20):
        worker.send("record", str(n))
    worker.wait(lambda: len(worker.notes()) == 20)

    assert sorted(worker.notes(), key=int) == [str(n) for n in range(20)]
    keys = {str(key) for key in worker.client.scan_iter()}
    assert not {key for key in keys if "unacked" in key or key.startswith("worker68")}


def test_remote_control_is_stock(worker: Worker) -> None:
    worker.send("wait_for_release")
    worker.wait(lambda: worker.notes() == ["waiting"])

    assert worker.inspect("ping") == {"ok": "pong"}
    assert [task["name"] for task in worker.inspect("active")] == ["wait_for_release"]
    assert [queue["name"] for queue in worker.inspect("active_queues")] == ["worker68"]
    assert worker.inspect("conf")["broker_transport"] == "worker68"
    stats = worker.inspect("stats")
    assert stats["pool"]["implementation"] == "worker68.broker.pool:TaskPool"
    assert stats["pool"]["max-concurrency"] == 4
    assert stats["broker"]["transport"] == "redis"
    worker.client.rpush("release", "now")
    worker.wait(lambda: "released" in worker.notes())

    worker.app.control.shutdown()

    assert worker.wait_for_end() == 0


def test_a_cancelled_consumer_takes_nothing_until_it_is_added_again(worker: Worker) -> None:
    worker.app.control.cancel_consumer("worker68", reply=True, timeout=WITHIN, limit=1)
    worker.send("record", "later")
    worker.wait(lambda: not worker.client.llen("worker68"))
    worker.wait(lambda: worker.inspect("active_queues") == [])
    assert worker.notes() == []

    worker.app.control.add_consumer("worker68", reply=True, timeout=WITHIN, limit=1)

    worker.wait(lambda: worker.notes() == ["later"])


def test_task_events_are_seen(worker: Worker) -> None:
    with hear_events(worker.app, worker.client) as events:
        worker.send("record", "hello")
        events.hear_until(lambda: "task-succeeded" in [event["type"] for event in events.seen])

    types = [event["type"] for event in events.seen if event["type"].startswith("task-")]
    assert types == ["task-received", "task-started", "task-succeeded"]


def test_a_task_that_exits_fails_and_the_worker_goes_on(worker: Worker) -> None:
    for _ in range(8):
        worker.send("leave")
    worker.wait(lambda: worker.notes() == ["leaving"] * 8)
    worker.send("record", "after")
    worker.wait(lambda: "after" in worker.notes())

    worker.wait(lambda: worker.inspect("active") == [])


def test_a_restart_of_redis_interrupts_but_does_not_end_delivery(worker: Worker, redis_server: EmbeddedRedis) -> None:
    worker.send("wait_for_release")
    worker.send("record", "before")
    worker.wait(lambda: set(worker.notes()) == {"waiting", "before"})

    redis_server.kill()
    redis_server.restart()
    worker.reconnect()
    worker.send("record", "after")

    worker.wait(lambda: "after" in worker.notes())
    worker.wait(lambda: worker.inspect("ping") == {"ok": "pong"})
    assert worker.notes().count("before") == 1


def test_sigterm_lets_a_running_task_end(worker: Worker) -> None:
    worker.send("wait_for_release")
    worker.wait(lambda: worker.notes() == ["waiting"])
    assert worker.process is not None

    worker.process.send_signal(signal.SIGTERM)
    worker.wait(lambda: b"Warm shutdown" in worker._log.read_bytes())
    worker.client.rpush("release", "now")

    assert worker.wait_for_end() == 0
    assert worker.notes() == ["waiting", "released"]
