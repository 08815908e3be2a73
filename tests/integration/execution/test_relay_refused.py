"""Redis refuses a key or a command for good: each entry stands for itself, is published once, and what is refused is named."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.integration.execution.conftest import OneWorker, hurry
from tests.parts.jobs import message, send_fields
from tests.parts.ledger import Ledger, open_ledger
from tests.parts.metrics import counted
from tests.parts.onloop import serve, stop_service
from tests.parts.postgres import administer
from tests.parts.worker import wait_until
from worker68.clock import utc_now
from worker68.errors import DatabaseAway, RedisNotNow
from worker68.execution import relay as relay_module
from worker68.execution import unread as unread_module
from worker68.execution.refusals import Refusals
from worker68.execution.relay import Relay
from worker68.execution.unread import Unread
from worker68.jobs.outcome import ErrorCode, in_doubt
from worker68.loop import LoopThread
from worker68.store import outbox as store_outbox
from worker68.store.engine import Engine, open_engine
from worker68.store.statements.outcomes import OutboxEntry
from worker68.store.tables import metadata, outbox

ORDERS = "worker68:replies:orders"
DEAD = "worker68:dead"
RESULTS = "celery-task-meta-*"
USER = "narrow"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is tried again soon."""
    monkeypatch.setattr(relay_module, "RETRY_SECONDS", 0.01)


@pytest.fixture
def narrow_url(redis_url: str, reader: Any) -> Iterator[str]:
    """The URL of a user who may do everything with the keys of worker68, and with no others."""
    reader.acl_setuser(
        USER, enabled=True, reset=True, passwords=["+p"], keys=["worker68:*"], channels=["*"], commands=["+@all"]
    )
    yield f"redis://{USER}:p@{urlsplit(redis_url).netloc}"
    reader.acl_deluser(USER)


@pytest.fixture
def narrow(
    sqlite: Ledger, narrow_url: str, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Relay]:
    """A running relay of that user."""
    hurry(monkeypatch)
    monkeypatch.setattr(relay_module, "BATCH", 20)
    client = Redis.from_url(narrow_url, protocol=2, socket_timeout=60, retry=Retry(NoBackoff(), 0))
    relay = Relay(sqlite.engine, client, 600, OneWorker(), loop_thread.loop)
    serve(loop_thread, relay)
    yield relay
    stop_service(loop_thread, relay)
    client.close()


def let_pass(relay: Relay, passes: int = 5) -> None:
    """Wait until the relay has gone round so often."""
    for _ in range(passes):
        before = relay.passed_at
        relay.wake()
        wait_until(lambda before=before: relay.passed_at != before)  # type: ignore[misc]


def count_refused(ledger: Ledger) -> int:
    return ledger.count(metadata.tables["refused"])


def test_a_reply_is_published_once_where_another_entry_cannot_be_set_aside(
    relay: Relay, sqlite: Ledger, reader: Any
) -> None:
    reader.set(DEAD, "x")
    sqlite.arrive(b"not json")
    sqlite.settled(reply_to="orders")
    wait_until(lambda: reader.llen(ORDERS))
    let_pass(relay)
    assert reader.llen(ORDERS) == 1
    assert [(one.key, one.what) for one in relay.refusals.now()] == [(DEAD, "dead")]
    reader.delete(DEAD)
    wait_until(lambda: reader.llen(DEAD) == 1)
    wait_until(lambda: count_refused(sqlite) == 0)
    wait_until(lambda: not relay.refusals.now())
    assert (sqlite.count(outbox), reader.llen(ORDERS)) == (0, 1)


@pytest.mark.parametrize("address", ["orders", "stream:orders"])
def test_a_reply_that_can_neither_be_published_nor_set_aside_waits(
    relay: Relay, sqlite: Ledger, reader: Any, address: str
) -> None:
    key = ORDERS if address == "orders" else f"{ORDERS}:stream"
    reader.mset({DEAD: "x", key: "x"})
    job = sqlite.settled(reply_to=address)
    sqlite.settled(reply_to="fine")
    wait_until(lambda: count_refused(sqlite) == 1)
    let_pass(relay)
    assert reader.llen("worker68:replies:fine") == 1
    assert {one.key for one in relay.refusals.now()} == {DEAD, key}
    reader.delete(DEAD)
    (entry,) = wait_until(lambda: reader.lrange(DEAD, 0, -1))
    assert json.loads(json.loads(entry)["message"])["job_id"] == job.job_id
    wait_until(lambda: count_refused(sqlite) == 0)


def test_replies_are_published_once_while_the_database_cannot_write(
    postgres_url: str, redis_url: str, loop_thread: LoopThread, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    name = urlsplit(postgres_url).path.lstrip("/")
    with open_ledger(postgres_url) as ledger, Redis.from_url(redis_url, protocol=2) as client:
        for number in range(5):
            ledger.settled(reply_to="orders" if number else "stream:orders")
        switch(ledger, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        engine = open_engine(postgres_url)
        relay = Relay(engine, client, 600, OneWorker(), loop_thread.loop)
        serve(loop_thread, relay)
        try:
            wait_until(lambda: reader.llen(ORDERS) == 4)
            let_pass(relay)
            assert (reader.llen(ORDERS), reader.xlen(f"{ORDERS}:stream")) == (4, 1)
            assert ledger.count(outbox) == 10
            switch(ledger, f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
            wait_until(lambda: ledger.count(outbox) == 0)
            assert (reader.llen(ORDERS), reader.xlen(f"{ORDERS}:stream")) == (4, 1)
        finally:
            stop_service(loop_thread, relay)
            engine.dispose()


def switch(ledger: Ledger, statement: str) -> None:
    """Change what new connections to the database may do, and end all that there are."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    administer(ledger.engine, "SET default_transaction_read_only = off", statement, others)
    ledger.engine.dispose()


def test_results_that_are_refused_for_good_starve_nothing_and_come_once_they_may(
    narrow: Relay, sqlite: Ledger, reader: Any
) -> None:
    sqlite.suppress("group", 389284)
    asked = [f"job-{number}" for number in range(60)]
    # Results that are older than REPLY_TTL would not be kept.
    sqlite.arrive(*[message(kwargs=send_fields(job_id=key), task_id=key) for key in asked], now=utc_now())
    sqlite.arrive(message(kwargs=send_fields(job_id="last", reply_to="orders"), task_id="last"), now=utc_now())
    narrow.defer([("waiting", 0.0)])
    narrow.publish_event("main", b"{}")
    wait_until(lambda: reader.llen(ORDERS) == 1)
    wait_until(lambda: reader.xlen("worker68:events:main") == 1)
    wait_until(lambda: (sqlite.count(outbox), count_refused(sqlite)) == (0, 61))
    (refused,) = narrow.refusals.now()
    assert (refused.key, refused.problem.split()[0]) == (RESULTS, "NOPERM")
    assert counted(narrow.refusals.counted, "result") >= 61
    assert counted(narrow.refusals.counted, "deferred") == 1

    reader.execute_command("ACL", "SETUSER", USER, "~celery-task-meta-*")

    wait_until(lambda: count_refused(sqlite) == 0)
    assert all(reader.get(f"celery-task-meta-{key}") for key in [*asked, "last"])
    wait_until(lambda: not narrow.refusals.now())
    assert reader.llen(ORDERS) == 1


def test_an_older_result_that_was_refused_does_not_overwrite_the_newer_one(
    narrow: Relay, sqlite: Ledger, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the database fails after Redis has taken the newer one, until the older one's turn has come."""
    failed, retried = threading.Event(), threading.Event()
    settle, fetch_due = store_outbox.settle_outbox, store_outbox.fetch_due

    def fail(engine: Engine, taken: Sequence[OutboxEntry], *others: Any) -> None:
        if any(entry.kind == "result" for entry in taken) and not retried.is_set():
            failed.set()
            raise DatabaseAway("for a moment")
        settle(engine, taken, *others)

    def fetch_after_that(*arguments: Any) -> list[OutboxEntry]:
        due = fetch_due(*arguments) if failed.is_set() else []
        if due:
            retried.set()
        return due

    monkeypatch.setattr(relay_module, "settle_outbox", fail)
    monkeypatch.setattr(relay_module, "fetch_due", fetch_after_that)
    job = sqlite.send()
    # A result that is older than REPLY_TTL would not be kept.
    assert sqlite.settle(sqlite.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "no verdict"), utc_now())
    wait_until(lambda: count_refused(sqlite) == 1)
    reader.execute_command("ACL", "SETUSER", USER, "~celery-task-meta-*")
    assert sqlite.revise(job.seq)
    narrow.wake()
    wait_until(lambda: (sqlite.count(outbox), count_refused(sqlite)) == (0, 0))
    let_pass(narrow)
    assert json.loads(reader.get(f"celery-task-meta-{job.task_id}"))["status"] == "SUCCESS"


def test_a_result_is_stored_once_where_its_channel_is_refused(narrow: Relay, sqlite: Ledger, reader: Any) -> None:
    reader.execute_command("ACL", "SETUSER", USER, "~*", "resetchannels")
    sqlite.settled(reply_to="orders")
    wait_until(lambda: sqlite.count(outbox) == 0)
    let_pass(narrow)
    stats = reader.info("commandstats")
    assert count_refused(sqlite) == 0
    assert reader.llen(ORDERS) == 1
    assert [(one.key, one.what) for one in narrow.refusals.now()] == [(f"channel {RESULTS}", "announcement")]
    assert stats["cmdstat_publish"]["rejected_calls"] >= 1


def test_a_reply_is_pushed_once_where_its_expiry_is_refused(narrow: Relay, sqlite: Ledger, reader: Any) -> None:
    reader.execute_command("ACL", "SETUSER", USER, "~*", "-expire")
    sqlite.settled(reply_to="orders")
    sqlite.settled(reply_to="stream:orders")
    narrow.publish_event("main", b"{}")
    wait_until(lambda: sqlite.count(outbox) == 0)
    wait_until(lambda: reader.xlen("worker68:events:main") == 1)
    let_pass(narrow)
    assert (reader.llen(ORDERS), reader.xlen(f"{ORDERS}:stream")) == (1, 1)
    assert {one.key for one in narrow.refusals.now()} == {ORDERS, f"{ORDERS}:stream", "worker68:events:main"}


def test_a_list_that_may_not_be_looked_at_leaves_the_others_to_the_next_look(
    narrow_url: str, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run was to bring the script."""
    monkeypatch.setattr(unread_module, "LOOK_SECONDS", 0.0)
    reader.rpush(ORDERS, "a")
    with Redis.from_url(narrow_url, protocol=2) as client:
        unread = Unread(client, 600, Refusals())
        unread.note("somebody-elses")
        unread.note(ORDERS)
        reader.script_flush()
        with pytest.raises(RedisNotNow):
            unread.look()
        assert unread.keys == {ORDERS}
        unread.look()
    assert reader.exists(f"{ORDERS}:marks")


def test_the_care_of_a_list_that_is_refused_holds_up_no_other(
    relay: Relay, sqlite: Ledger, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread_module, "LOOK_SECONDS", 1e9)
    monkeypatch.setattr(unread_module, "LOOKS", 1e-9)
    sqlite.settled(reply_to="stuck")
    sqlite.settled(reply_to="orders")
    sqlite.settled(reply_to="stream:orders")
    wait_until(
        lambda: sqlite.count(outbox) == 0
    )  # it may know the lists before: from the jobs that it finds at its start
    wait_until(lambda: len(relay.unread.keys) == 3)
    reader.set("worker68:replies:stuck", "x")
    with structlog.testing.capture_logs() as logs:
        monkeypatch.setattr(unread_module, "LOOK_SECONDS", 0.0)
        wait_until(lambda: reader.exists(f"{ORDERS}:marks"))
        wait_until(lambda: relay.unread.keys == {ORDERS, f"{ORDERS}:stream"})
        let_pass(relay)
    assert [(one["event"], one.get("key")) for one in logs] == [("redis_refused", "worker68:replies:stuck")], logs
    assert [(one.key, one.what) for one in relay.refusals.now()] == [("worker68:replies:stuck", "care")]
