"""The contestants of a race: a worker of ours, and workers of ``benchmarks.by_hand`` beside it on the same Redis.

In: a stage. Out: for each contestant a callable that lets it do a number of jobs and says how long that took, from the first push
to the last end: for ours the last published reply, for the others the end of the last task.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from time import perf_counter, sleep
from typing import Final, Protocol, cast

from benchmarks.processes import children
from benchmarks.stage import Stage, to
from tests.parts.worker import ROOT, WORKER68
from worker68.child import bound_to_parent, end_process

REPLIES: Final = "benchmark"
_REPLIES_KEY: Final = f"worker68:replies:{REPLIES}"
DONE: Final = "benchmark:done"
PATIENCE_SECONDS: Final = 300


class Contestant(Protocol):
    name: str
    pid: int

    def run(self, jobs: int) -> float:
        """Do so many jobs; return the seconds."""
        ...


class Ours:
    """A worker68 worker, with replies wanted."""

    def __init__(self, stage: Stage, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self._stage = stage

    def run(self, jobs: int) -> float:
        fields = [to(friend, f"message {number}", reply_to=REPLIES) for number, friend in _numbered(self._stage, jobs)]
        began = perf_counter()
        self._stage.push(fields)
        if jobs == 1:
            return self._wait_for_one(began)
        while self._stage.redis.llen(_REPLIES_KEY) < jobs:
            assert perf_counter() - began < PATIENCE_SECONDS, "worker68 does not get through"
            sleep(0.005)
        seconds = perf_counter() - began
        replies = cast("list[bytes]", self._stage.redis.lrange(_REPLIES_KEY, 0, -1))
        self._stage.redis.delete(_REPLIES_KEY)
        statuses = {json.loads(reply)["status"] for reply in replies}
        assert statuses == {"succeeded"}, statuses
        return seconds

    def _wait_for_one(self, began: float) -> float:
        """Wait as a reader of replies would, who is woken."""
        reply = wait_for_word(self._stage, _REPLIES_KEY)
        seconds = perf_counter() - began
        assert json.loads(reply)["status"] == "succeeded"
        return seconds


class ByHand:
    """One task of ``benchmarks.by_hand``, on a queue of its own."""

    def __init__(self, stage: Stage, task: str, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self._stage = stage
        self._task = task

    def run(self, jobs: int) -> float:
        messages = [_message(self._task, friend, number) for number, friend in _numbered(self._stage, jobs)]
        began = perf_counter()
        for start in range(0, jobs, 500):
            self._stage.redis.lpush(queue_of(self._task), *messages[start : start + 500])
        wait_for_word(self._stage, DONE)
        return perf_counter() - began


def wait_for_word(stage: Stage, key: str) -> bytes:
    """Take what is pushed on a list, as soon as it is."""
    give_up = perf_counter() + PATIENCE_SECONDS
    while True:
        # Shorter than the client's own patience.
        popped = cast("tuple[bytes, bytes] | None", stage.redis.blpop([key], timeout=1))
        if popped is not None:
            return popped[1]
        assert perf_counter() < give_up, f"nothing comes on {key}"


@contextmanager
def our_worker(stage: Stage, name: str) -> Iterator[Ours]:
    """Start a worker of ours and wait until it is idle and ready."""
    worker = stage.worker("ours", WORKER68)
    before = children()
    worker.start()
    (pid,) = children() - before
    try:
        worker.wait_for_log("bridge_ready", seconds=PATIENCE_SECONDS)
        worker.wait_ready()
        yield Ours(stage, name, pid)
    finally:
        worker.stop()


@contextmanager
def worker_by_hand(stage: Stage, task: str, name: str, threads: int, expected: int) -> Iterator[ByHand]:
    """Start a worker of ``benchmarks.by_hand`` for one task and wait until it is ready."""
    log = stage.folder / f"{task}-{uuid.uuid4().hex[:6]}.log"
    settings = {
        "BENCHMARK_REDIS_URL": stage.settings["REDIS_URL"],
        "BENCHMARK_DATABASE_URL": stage.settings["DATABASE_URL"],
        "BENCHMARK_BRIDGE_URL": stage.bridge.url,
        "BENCHMARK_EXPECTED": expected,
        "PYTHONPATH": ROOT,
    }
    words = [sys.executable, "-m", "celery", "-A", "benchmarks.by_hand", "worker", "-P", "threads", "-c", str(threads)]
    words += ["-Q", queue_of(task), "-n", f"{task}-{uuid.uuid4().hex[:6]}@%h"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            bound_to_parent(words, signal.SIGKILL),
            env=os.environ | {key: str(value) for key, value in settings.items()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for_word(stage, "benchmark:ready")
        yield ByHand(stage, task, name, process.pid)
    finally:
        end_process(process, signal.SIGTERM)


def queue_of(task: str) -> str:
    return f"by-hand-{task}"


def _numbered(stage: Stage, jobs: int) -> Iterator[tuple[int, int]]:
    return enumerate(islice(cycle(stage.friends), jobs))


def _message(task: str, friend: int, number: int) -> str:
    """Return a message as Celery's client would write it."""
    name = str(uuid.uuid4())
    return json.dumps(
        {
            "headers": {"task": task, "id": name, "root_id": name, "lang": "py", "retries": 0},
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "properties": {
                "body_encoding": "utf-8",
                "delivery_tag": name,
                "delivery_info": {"exchange": "", "routing_key": queue_of(task)},
                "priority": 0,
            },
            "body": json.dumps([[friend, f"message {number}"], {}, {}]),
        }
    )
