"""What lies in the outbox reaches Redis as the contract says, and only then leaves the outbox."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.parts.jobs import NOW, message, send_fields
from tests.parts.ledger import Ledger
from tests.parts.metrics import counted
from tests.parts.onloop import stop_service
from tests.parts.worker import wait_until
from worker68.execution import relay as relay_module
from worker68.execution.publishing import DEAD_KEY
from worker68.execution.relay import Relay
from worker68.jobs.outcome import ErrorCode, in_doubt
from worker68.loop import LoopThread
from worker68.store.tables import outbox

ORDERS = "worker68:replies:orders"


def wait_until_sent(sqlite: Ledger) -> None:
    wait_until(lambda: sqlite.count(outbox) == 0)


def read_list(reader: Any, key: str = ORDERS) -> list[Any]:
    return [json.loads(entry) for entry in reader.lrange(key, 0, -1)]


def test_a_reply_goes_on_its_list(relay: Relay, sqlite: Ledger, reader: Any) -> None:
    first = sqlite.settled(reply_to="orders", metadata={"n": 1})
    second = sqlite.settled(reply_to="orders")
    relay.wake()
    wait_until_sent(sqlite)
    replies = read_list(reader)
    assert [reply["job_id"] for reply in replies] == [first.job_id, second.job_id]
    assert replies[0]["metadata"] == {"n": 1}
    assert 0 < reader.ttl(ORDERS) <= 600


def test_a_reply_goes_on_its_stream(relay: Relay, sqlite: Ledger, reader: Any) -> None:
    job = sqlite.settled(reply_to="stream:orders")
    relay.wake()
    wait_until_sent(sqlite)
    ((_, fields),) = reader.xrange(f"{ORDERS}:stream")
    assert json.loads(fields["reply"])["job_id"] == job.job_id
    assert 0 < reader.ttl(f"{ORDERS}:stream") <= 600


def test_what_is_in_the_outbox_is_sent_without_a_wake_up(relay: Relay, sqlite: Ledger, reader: Any) -> None:
    sqlite.settled(reply_to="orders")
    wait_until_sent(sqlite)
    assert reader.llen(ORDERS) == 1


def test_celerys_result_is_stored_and_announced(relay: Relay, sqlite: Ledger, reader: Any) -> None:
    with reader.pubsub() as listener:
        listener.subscribe("celery-task-meta-t")
        wait_until(lambda: listener.get_message(timeout=0.1))
        (job,) = sqlite.arrive(message(task_id="t"))
        sqlite.settle(sqlite.must_begin(job))
        relay.wake()
        heard = wait_until(lambda: listener.get_message(timeout=0.1))
    stored = reader.get("celery-task-meta-t")
    assert heard["data"] == stored
    assert json.loads(stored)["status"] == "SUCCESS"
    assert 0 < reader.ttl("celery-task-meta-t") <= 600


def test_a_later_revision_overwrites_the_result(relay: Relay, sqlite: Ledger, reader: Any) -> None:
    (job,) = sqlite.arrive(message(task_id="t"))
    sqlite.settle(sqlite.must_begin(job), in_doubt(ErrorCode.NO_VERDICT, "?"))
    sqlite.revise(job.seq)
    relay.wake()
    wait_until_sent(sqlite)
    assert json.loads(reader.get("celery-task-meta-t"))["status"] == "SUCCESS"


def test_what_is_unreadable_lies_with_its_reason_on_the_dead_list(relay: Relay, sqlite: Ledger, reader: Any) -> None:
    sqlite.arrive(b"no message", b"\xff")
    relay.wake()
    wait_until_sent(sqlite)
    first, second = read_list(reader, DEAD_KEY)
    assert (first["message"], first["queue"]) == ("no message", "worker68")
    assert "is not JSON" in first["reason"]
    assert second["message_base64"] == "/w=="


@pytest.mark.parametrize("address", ["orders", "stream:orders"])
def test_a_reply_whose_key_is_of_another_type_is_set_aside_and_holds_nothing_up(
    relay: Relay, sqlite: Ledger, reader: Any, address: str
) -> None:
    key = ORDERS if address == "orders" else f"{ORDERS}:stream"
    reader.set(key, "somebody else's")
    job = sqlite.settled(reply_to=address)
    sqlite.settled(reply_to="fine")
    relay.wake()
    wait_until_sent(sqlite)
    assert reader.get(key) == "somebody else's"
    assert reader.llen("worker68:replies:fine") == 1
    (entry,) = read_list(reader, DEAD_KEY)
    assert entry["address"] == address
    assert entry["reason"].startswith("WRONGTYPE")
    assert json.loads(entry["message"])["job_id"] == job.job_id


def test_more_than_a_batch_is_sent_in_order(
    relay: Relay, sqlite: Ledger, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "BATCH", 7)
    sqlite.suppress("group", 389284)
    sqlite.arrive(*[message(kwargs=send_fields(reply_to="orders", job_id=f"{number}")) for number in range(40)])
    relay.wake()
    wait_until_sent(sqlite)
    assert [reply["job_id"] for reply in read_list(reader)] == [f"{number}" for number in range(40)]


def test_deferred_never_overwrites_a_result(relay: Relay, sqlite: Ledger, reader: Any) -> None:
    (job,) = sqlite.arrive(message(task_id="t"))
    sqlite.settle(sqlite.must_begin(job))
    relay.defer([("t", 0.0), ("other", 0.0)])
    wait_until(lambda: reader.get("celery-task-meta-other"))
    wait_until_sent(sqlite)
    relay.defer([("t", 0.0), ("last", 0.0)])
    wait_until(lambda: reader.get("celery-task-meta-last"))
    assert json.loads(reader.get("celery-task-meta-t"))["status"] == "SUCCESS"


def test_an_event_that_redis_refuses_holds_no_reply_up(relay: Relay, sqlite: Ledger, reader: Any) -> None:
    reader.set("worker68:events:main", "somebody else's")
    relay.publish_event("main", b"{}")
    relay.publish_event("other", b"{}")
    sqlite.settled(reply_to="orders")
    relay.wake()
    wait_until_sent(sqlite)
    wait_until(lambda: reader.xlen("worker68:events:other") == 1)
    wait_until(lambda: counted(relay.passing.events_dropped) == 1)
    sqlite.settled(reply_to="orders")
    wait_until_sent(sqlite)
    assert reader.llen(ORDERS) == 2


def test_the_last_entries_are_sent_before_the_relay_stops(
    relay: Relay, loop_thread: LoopThread, sqlite: Ledger, reader: Any
) -> None:
    sqlite.settled(reply_to="orders")
    stop_service(loop_thread, relay)
    assert reader.llen(ORDERS) == 1


def test_entries_of_an_account_with_another_owner_are_left_to_it(
    relay: Relay, loop_thread: LoopThread, sqlite: Ledger, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "utc_now", lambda: NOW)
    monkeypatch.setattr(relay.outbox._ownership, "others", lambda: None)
    sqlite.settled(account="other", reply_to="orders")
    sqlite.settled(reply_to="orders")
    wait_until(lambda: reader.llen(ORDERS) == 1)
    stop_service(loop_thread, relay)
    assert {entry.account for entry in sqlite.in_outbox()} == {"other"}
