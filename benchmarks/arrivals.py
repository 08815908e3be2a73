"""Jobs that come at random times, and how long each takes from its push to its reply.

In: a stage, the chats to write to, a mean rate. Out: a list of milliseconds. Evenly spaced jobs would meet whatever else is done
from time to time either always or never.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Final, NamedTuple, cast

import redis

from benchmarks.stage import Stage, to
from tests.parts.worker import wait_until
from worker68.clock import monotonic

_REPLIES: Final = "arrivals"
#: A reply that has not come so long after the last push counts as if it came then.
PATIENCE_SECONDS: Final = 60.0


class Chat(NamedTuple):
    account: str
    friend: int


@contextmanager
def arriving(push: Callable[[], object], per_second: float) -> Iterator[None]:
    """Call ``push`` at random times, so often a second, while the block lasts; in a thread of its own."""
    over, chance = threading.Event(), random.Random(0)

    def go_on() -> None:
        while not over.wait(chance.expovariate(per_second)):
            push()

    producer = threading.Thread(target=go_on, name="producer", daemon=True)
    producer.start()
    try:
        yield
    finally:
        over.set()
        producer.join()


class Taken(NamedTuple):
    """What a number of jobs took, in milliseconds; ``missing`` of them had no reply in time."""

    milliseconds: list[float]
    missing: int


def arrival_times(seconds: float, per_second: float, seed: int) -> list[float]:
    """Return the times of a Poisson process, in seconds from its beginning."""
    times, at, chance = list[float](), 0.0, random.Random(seed)
    while (at := at + chance.expovariate(per_second)) < seconds:
        times.append(at)
    return times


def push_and_wait(stage: Stage, chats: Sequence[Chat], times: Sequence[float], explain: Callable[[], str]) -> Taken:
    """Push a job at each of these times, to the chats in turn; wait for the replies, each of which must be a success.

    ``explain`` says what the worker wrote last.
    """
    mark, pushed = uuid.uuid4().hex[:8], dict[str, float]()
    with read_replies(stage) as (replied, statuses):
        began = monotonic()
        for number, (at, chat) in enumerate(zip(times, cycle(chats), strict=False)):
            time.sleep(max(0.0, began + at - monotonic()))
            name = f"{mark}-{number}"
            pushed[name] = monotonic()
            fields = to(chat.friend, f"message {number}", job_id=name, reply_to=_REPLIES)
            stage.push([fields], queue=f"worker68.{chat.account}")
        give_up = monotonic() + PATIENCE_SECONDS
        wait_until(lambda: pushed.keys() <= replied.keys() or monotonic() > give_up, explain, PATIENCE_SECONDS + 10)
    assert statuses <= {"succeeded"}, f"{statuses}: {explain()}"
    took = [(replied.get(name, give_up) - at) * 1000 for name, at in pushed.items()]
    return Taken(took, len(pushed.keys() - replied.keys()))


@contextmanager
def read_replies(stage: Stage) -> Iterator[tuple[dict[str, float], set[str]]]:
    """Read replies in a thread while the block lasts; give when each came, by its job, and the statuses."""
    replied, statuses, over = dict[str, float](), set[str](), threading.Event()

    def read() -> None:
        with redis.Redis.from_url(stage.redis_server.url, protocol=2) as client:
            while not over.is_set():
                popped = cast("tuple[bytes, bytes] | None", client.blpop([f"worker68:replies:{_REPLIES}"], timeout=1))
                if popped is not None:
                    reply = json.loads(popped[1])
                    replied[reply["job_id"]] = monotonic()
                    statuses.add(reply["status"])

    reader = threading.Thread(target=read, name="replies", daemon=True)
    reader.start()
    try:
        yield replied, statuses
    finally:
        over.set()
        reader.join()
