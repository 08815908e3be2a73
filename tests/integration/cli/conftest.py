"""The command line within the tests' own process, with a Redis and a database that are there, and rows of all kinds."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import Result

from tests.parts.jobs import NOW, message, send_fields
from tests.parts.ledger import Ledger
from tests.parts.lists import GROUP, Lists, contacts, member
from tests.unit.cli.conftest import Run, run
from worker68.cli import output
from worker68.clock import utc_now
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, failed
from worker68.jobs.snapshot import GROUP_MEMBERS
from worker68.observe.roster import AccountStatus, Roster, WorkerStatus
from worker68.store import pauses, waiting
from worker68.store.accounts import change_account
from worker68.store.migration import upgrade

__all__ = ["Run", "run"]

Ask = Callable[..., Result]

WORKER = "a-host-with-a-long-name.example.org-3f2a9c01d7e4"
REASON = "limit chat of the account's settings (20/m)"
LONG_ID = "invoice-of-the-customer-with-a-long-name-2026-11-29-000047110815"


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database as the migrations make it, which takes a while: each test gets a copy."""
    file = tmp_path_factory.mktemp("upgraded") / "worker68.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def ledger(sqlite_url: str, upgraded: Path) -> Iterator[Ledger]:
    shutil.copy(upgraded, sqlite_url.removeprefix("sqlite:///"))
    ledger = Ledger(sqlite_url)
    yield ledger
    ledger.engine.dispose()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def ask(run: Run, redis_url: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run a command on a terminal so wide; with 0 into a pipe."""

    def ask(width: int, *words: str) -> Result:
        monkeypatch.setattr(output, "WIDTH_WITHOUT_TERMINAL", width or 100_000)
        settings = {
            "REDIS_URL": redis_url,
            "DATABASE_URL": sqlite_url,
            "BRIDGE_URL": "ws://127.0.0.1:1",
            "LIMITS": "off",
        }
        return run(*words, **settings)

    return ask


@pytest.fixture
def backlog(ledger: Ledger, client: redis.Redis) -> list[Job]:
    """Two lanes of eleven jobs each, in turns, and why the first of each waits."""
    client.set("worker68:lease:account:main", f"{WORKER}|1")
    chats = [{"type": "group", "id": 2**62 + number % 2} for number in range(22)]
    jobs = ledger.arrive(
        *(message(kwargs=send_fields(chat=chat), task_id=str(uuid.uuid4())) for chat in chats), now=utc_now()
    )
    waiting.write_reasons(ledger.engine, {jobs[0].seq: REASON, jobs[1].seq: "the bridge is away"}, utc_now())
    return jobs


def put_account(ledger: Ledger, name: str, settings: Any) -> None:
    change_account(ledger.engine, name, lambda rows: settings, "ann", NOW)


def fill(ledger: Ledger, client: redis.Redis) -> None:
    """Let there be rows of all kinds, as long as they get."""
    for fields in (
        {"job_id": LONG_ID},
        {"job_id": "7b1f0c9e-3f0e-4a53-9d0f-6f3f6a2e1f57", "send_at": "2999-01-01T00:00:00Z"},
        {"account": "other", "job_id": "短" * 100},
    ):
        ledger.arrive(message(kwargs=send_fields(**fields), task_id=str(uuid.uuid4())))
    begun = ledger.send(chat={"type": "friend", "id": 2**63 - 1})
    ledger.settle(ledger.must_begin(begun), failed(ErrorCode.REFUSED, "no " * 200, 4711))
    ledger.must_begin(ledger.send(chat={"type": "friend", "id": 5}))
    pauses.pause(ledger.engine, "other", "the client shows a warning " * 5, "ann@a-host-with-a-name", NOW)
    lists = Lists(ledger)
    lists.see(contacts(1, 2))
    lists.see([member(1)], GROUP_MEMBERS, group=GROUP, announced=7)
    client.rpush("worker68:dead", json.dumps({"reason": "why " * 60, "queue": f"worker68.{'a' * 64}", "message": "{}"}))
    client.rpush("worker68:dead", "not an entry")
    client.lpush(f"worker68.{'z' * 64}", message())
    client.set("worker68:lease:account:main", f"{WORKER}|1")
    for name, settings in {
        "a" * 64: {
            "bridge_url": "wss://user:secret@" + "bridge-of-the-shop." * 5 + "example:5600/path",
            "label": "b" * 64,
        },
        "wrong": {"bridge_url": "ws://127.0.0.1:1/", "max_aeg": 5},
    }.items():
        client.set(f"worker68:lease:account:{name}", f"{WORKER}|1")
        put_account(ledger, name, settings)
    now = utc_now()
    account = AccountStatus("bridge not reachable: " + "x" * 100, 2**40, 2**40, 1234567.8, {})
    Roster(client).report(WorkerStatus(WORKER, 2**22, now, now, "scheduler: " + "y" * 100, True, {"main": account}))
