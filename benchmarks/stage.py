"""The stage of benchmarks of a whole worker: Redis, a database, a simulated bridge with many friends, and worker processes.

In: settings by their names in the contract. Out: what the bridge saw and what the tables hold. Everything ends with the block.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis
from sqlalchemy import Engine

from tests.parts.postgres import PostgresServer
from tests.parts.worker import CELERY, WorkerProcess
from worker68.embedded import EmbeddedRedis
from worker68.simulator import Simulator
from worker68.simulator.population import build_world
from worker68.simulator.records import Received
from worker68.store.engine import open_engine
from worker68.store.migration import upgrade

SEND: Final = "worker68.send_message"
OFF: Final = dict.fromkeys(("account", "chat", "send", "moderate", "read"), "off")

#: Messages pushed in one command.
_PUSHED_AT_ONCE: Final = 500


@dataclass
class Stage:
    """What is around the workers. ``friends`` are chats that can be written to."""

    folder: Path
    redis_server: EmbeddedRedis
    redis: redis.Redis
    engine: Engine
    bridge: Simulator
    settings: dict[str, object]
    friends: list[int]

    def worker(self, name: str, command: tuple[str, ...] = CELERY) -> WorkerProcess:
        """Return a worker process that is not started yet."""
        return WorkerProcess(self.settings, self.folder / f"{name}.log", command)

    def push(self, jobs: Iterable[dict[str, Any]], task: str = SEND, queue: str = "worker68.main") -> None:
        """Push jobs in their order."""
        messages = [
            json.dumps(
                {
                    "headers": {"task": task, "id": str(uuid.uuid4()), "ignore_result": True},
                    "content-type": "application/json",
                    "body": json.dumps([[], fields, {}]),
                }
            )
            for fields in jobs
        ]
        for start in range(0, len(messages), _PUSHED_AT_ONCE):
            self.redis.lpush(queue, *messages[start : start + _PUSHED_AT_ONCE])

    def sends(self) -> list[Received]:
        """Return the frames of messages in the order in which they reached the bridge."""
        return [one for one in self.bridge.received if one.frame["type"] == "sendMsg"]


def to(friend: int, text: str, **fields: Any) -> dict[str, Any]:
    """Return the fields of a message to a friend."""
    return {"chat": {"type": "friend", "id": friend}, "text": text, **fields}


@contextmanager
def open_stage(database: str, friends: int, verdict_delay_seconds: float, **settings: object) -> Iterator[Stage]:
    """Set the stage; ``database`` is ``sqlite`` or ``postgresql``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="worker68-benchmark-")))
        url = f"sqlite:///{folder / 'worker68.db'}"
        if database == "postgresql":
            url = stack.enter_context(stack.enter_context(PostgresServer()).database())
        upgrade(url)
        engine = open_engine(url)
        stack.callback(engine.dispose)
        server = stack.enter_context(EmbeddedRedis(append_only=True))
        client = stack.enter_context(redis.Redis.from_url(server.url, protocol=2))
        world = build_world(contacts=max(2, friends))
        bridge = stack.enter_context(
            Simulator(world=world, heartbeat_seconds=1.0, verdict_delay_seconds=verdict_delay_seconds)
        )
        given = {"REDIS_URL": server.url, "DATABASE_URL": url, "BRIDGE_URL": bridge.url} | settings
        yield Stage(folder, server, client, engine, bridge, given, sorted(world.contacts)[:friends])
