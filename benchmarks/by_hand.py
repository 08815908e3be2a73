"""What one would write without worker68: a Celery application for the benchmarks to compare with, ``celery -A benchmarks.by_hand``.

Three tasks, each on a queue of its own, all with Celery's stock transport, threads pool and acks_late:

- ``noop``: nothing at all. Celery's own cost, and so a limit for whatever runs in it.
- ``connection``: a connection to the bridge for each task, the verdict awaited, one row through the ORM.
- ``shared``: one connection for all threads with a reader that wakes them, one row through the ORM for each task.

Neither of the two keeps limits, order, idempotency or replies, resolves a crash, or knows what a verdict that does not come means.
Settings by environment: ``BENCHMARK_REDIS_URL``, ``BENCHMARK_DATABASE_URL``, ``BENCHMARK_BRIDGE_URL``. Each time that
``BENCHMARK_EXPECTED`` tasks have ended, a word is pushed on the list ``benchmark:done``.
"""

# mypy: disallow-untyped-calls=False, disallow-untyped-decorators=False
# because Celery is not typed.

from __future__ import annotations

import itertools
import json
import os
import secrets
import threading
from functools import cache
from typing import Any

import redis
from celery import Celery
from celery.signals import worker_ready
from sqlalchemy import create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from websocket import create_connection

REDIS_URL = os.environ["BENCHMARK_REDIS_URL"]
VERDICT_SECONDS = 30

app = Celery("by_hand", broker=REDIS_URL)
app.conf.update(task_acks_late=True, task_ignore_result=True, broker_connection_retry_on_startup=True)


@cache
def client() -> redis.Redis:
    return redis.Redis.from_url(REDIS_URL)


_ended = itertools.count(1)


@worker_ready.connect
def say_ready(**_: Any) -> None:
    client().rpush("benchmark:ready", "ready")


def count_end() -> None:
    """Tell when a round is over, without a round trip for each task."""
    expected = int(os.environ["BENCHMARK_EXPECTED"])
    if next(_ended) % expected == 0:
        client().rpush("benchmark:done", "all")


# The ledger by hand


class Base(DeclarativeBase):
    pass


class Sent(Base):
    """What was sent, and what the bridge said."""

    __tablename__ = "sent"
    id: Mapped[int] = mapped_column(primary_key=True)
    chat_id: Mapped[int]
    text: Mapped[str]
    custom_msg_id: Mapped[str]
    read_status: Mapped[int]


_engine_lock = threading.Lock()


def engine() -> Any:
    with _engine_lock:
        return _make_engine()


@cache
def _make_engine() -> Any:
    made = create_engine(os.environ["BENCHMARK_DATABASE_URL"], pool_size=16, max_overflow=200)
    if made.dialect.name == "sqlite":
        event.listen(made, "connect", _keep_what_was_committed)
    Base.metadata.create_all(made)
    return made


def _keep_what_was_committed(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 30000"):
        connection.execute(f"PRAGMA {pragma}")


def write_down(chat: int, text: str, custom_msg_id: str, read_status: int) -> None:
    with Session(engine()) as session:
        session.add(Sent(chat_id=chat, text=text, custom_msg_id=custom_msg_id, read_status=read_status))
        session.commit()


# The bridge by hand


def message(chat: int, text: str, custom_msg_id: str) -> str:
    item = {"type": "text", "values": {"chatType": 0, "content": text}}
    data = {"id": chat, "type": "friend", "list": [item], "quoteInfo": None, "custom_msg_id": custom_msg_id}
    return json.dumps({"id": custom_msg_id, "type": "sendMsg", "data": data})


def verdicts(frame: Any) -> list[tuple[str, int]]:
    """Return what a frame says about sent messages."""
    if frame.get("operator") != "msgListPropertyUpdate":
        return []
    return [(str(entry["customMsgId"]), entry["updated"]["readStatus"]) for entry in frame["data"]["list"]]


def new_id() -> str:
    return str(10**10 + secrets.randbelow(9 * 10**10))


class Shared:
    """One connection for all threads."""

    def __init__(self) -> None:
        self._socket = create_connection(os.environ["BENCHMARK_BRIDGE_URL"], timeout=VERDICT_SECONDS)
        self._writing = threading.Lock()
        self._waiting: dict[str, tuple[threading.Event, list[int]]] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, chat: int, text: str) -> tuple[str, int]:
        name, arrived = new_id(), threading.Event()
        seen: list[int] = []
        self._waiting[name] = (arrived, seen)
        with self._writing:
            self._socket.send(message(chat, text, name))
        arrived.wait(VERDICT_SECONDS)
        return name, seen[0]

    def _read(self) -> None:
        while True:
            for name, status in verdicts(json.loads(self._socket.recv())):
                waiting = self._waiting.pop(name, None)
                if waiting is not None:
                    waiting[1].append(status)
                    waiting[0].set()


_shared_lock = threading.Lock()


@cache
def _make_shared() -> Shared:
    return Shared()


def shared_connection() -> Shared:
    with _shared_lock:
        return _make_shared()


# The tasks


@app.task(name="noop")
def noop(chat: int, text: str) -> None:
    count_end()


@app.task(name="connection")
def connection(chat: int, text: str) -> None:
    name = new_id()
    bridge = create_connection(os.environ["BENCHMARK_BRIDGE_URL"], timeout=VERDICT_SECONDS)
    try:
        bridge.send(message(chat, text, name))
        status = None
        while status is None:
            status = dict(verdicts(json.loads(bridge.recv()))).get(name)
    finally:
        bridge.close()
    write_down(chat, text, name, status)
    count_end()


@app.task(name="shared")
def shared(chat: int, text: str) -> None:
    name, status = shared_connection().send(chat, text)
    write_down(chat, text, name, status)
    count_end()
