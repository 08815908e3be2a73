"""The figures of a whole runtime tell what its parts do, and what lies in Redis and the database; each is in the docs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from tests.integration.observe.conftest import Stand
from tests.parts.jobs import message, send_fields
from tests.parts.metrics import values_of
from tests.parts.worker import wait_until
from worker68.broker import strays
from worker68.clock import utc_now
from worker68.embedded import EmbeddedRedis
from worker68.observe import figures
from worker68.observe.figures import make_registry
from worker68.store import pauses

#: The labels of the ends of jobs whose accounts there are not.
GHOSTS = ("other", "worker68.send_message", "failed", "unknown_account")


def test_figures_tell_what_the_parts_do(stand: Stand, redis_server: EmbeddedRedis) -> None:
    stand.bridge.faults.hold_verdicts = True
    stand.runtime.start()
    stand.wait_owned()
    with redis.Redis.from_url(redis_server.url) as client:
        # The first one waits for its verdict, and the others behind it.
        client.lpush("worker68.main", *(message(kwargs=send_fields(text=f"{number}")) for number in range(3)))
        client.lpush("worker68", message(kwargs=send_fields(account="ghost-" + "x" * 20)))
        client.lpush("worker68", message(kwargs=send_fields(account="ghost-2")))

        wait_until(lambda: stand.figures()["worker68_jobs"].get(("main", "worker68.send_message", "ready")) == 2)
        wait_until(lambda: stand.ended() == {GHOSTS: 2})

    figures = stand.figures()
    assert figures["worker68_up"] == {("database",): 1, ("redis",): 1}
    # Accounts that are not configured are one, however many names there are.
    assert stand.ended() == {GHOSTS: 2}
    assert figures["worker68_bridge_ready"] == {("main",): 1}
    assert figures["worker68_pace_ratio"] == {("main",): 1.0}
    assert set(figures["worker68_queue_length"]) == {("worker68",), ("worker68.main",)}
    assert {lease for (lease,) in figures["worker68_lease_held"]} == {"front", "account:main"}
    assert float(figures["worker68_oldest_ready_seconds"]["main",]) > 0
    labels = [label for figure in figures.values() for labels in figure for label in labels]
    assert not any("389284" in label or "ghost" in label for label in labels)


def test_what_was_counted_keeps_its_label_when_an_account_comes_or_goes(
    stand: Stand, redis_server: EmbeddedRedis
) -> None:
    stand.runtime.start()
    known = dict(stand.parts.accounts)
    registry = make_registry(dataclasses.replace(stand.parts, accounts=known), lambda: None)
    counted = {("main", "worker68.send_message", "succeeded", ""): 1, GHOSTS: 1}
    with redis.Redis.from_url(redis_server.url) as client:
        client.lpush("worker68.main", message(kwargs=send_fields()))
        client.lpush("worker68", message(kwargs=send_fields(account="ghost")))
        wait_until(lambda: values_of(registry.collect())["worker68_jobs_ended_total"] == counted)
    known["ghost"] = known.pop("main")
    assert values_of(registry.collect())["worker68_jobs_ended_total"] == counted


def test_what_is_overlooked_is_a_figure(stand: Stand, redis_server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.rpush("worker68:dead", "one", "two")
        client.lpush("worker68.ghost", message(), message())
        client.lpush("worker68.ghost:3", message())
        client.lpush("worker68.main:5", message(), message())
        client.lpush("celery", message(), message(task="others.task"), "no message")
        client.set("worker68.neighbour", "no list")
    stand.runtime.start()
    stand.wait_owned()
    wait_until(lambda: stand.parts.owned.owns_front)
    figures = stand.figures()
    assert figures["worker68_set_aside"] == {(): 2}
    assert figures["worker68_stray_messages"] == {("unknown_account",): 3, ("priority",): 2, ("celery",): 1}
    assert figures["worker68_jobs_without_account"] == {(): 0}
    assert figures["worker68_jobs_in_doubt_total"] == {("main",): 0}, "an increase needs a first value"
    assert "ghost" not in str(figures)


def test_strays_are_those_of_the_last_whole_round_while_the_next_one_goes_on(
    stand: Stand, redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "SCAN_STEPS", 1)
    monkeypatch.setattr(strays, "KEYS_PER_STEP", 1)
    with redis.Redis.from_url(redis_server.url) as client:
        client.lpush("worker68.ghost", message(), message())
        client.mset({f"key-{number}": "x" for number in range(10)})
    stand.runtime.start()
    wait_until(lambda: stand.parts.owned.owns_front)
    registry = make_registry(stand.parts, lambda: None)
    seen = [values_of(registry.collect())["worker68_stray_messages"]["unknown_account",] for _ in range(60)]
    assert set(seen) <= {0, 2}
    assert seen == sorted(seen)
    assert seen[-1] == 2


def test_a_worker_that_is_not_well_says_so_and_a_list_of_another_type_costs_its_own_figures_alone(
    stand: Stand, redis_server: EmbeddedRedis
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("worker68:dead", "no list")
        client.set("worker68.main", "no list")
    stand.runtime.start()
    stand.wait_owned()
    wait_until(lambda: stand.parts.owned.owns_front)
    problems: list[str] = []
    registry = make_registry(stand.parts, lambda: problems[0] if problems else None)
    assert values_of(registry.collect())["worker68_healthy"] == {(): 1}
    problems.append("the loop has stood still")
    found = values_of(registry.collect())
    assert found["worker68_healthy"] == {(): 0}
    assert "worker68_set_aside" not in found
    assert found["worker68_up"] == {("database",): 1, ("redis",): 1}
    assert found["worker68_queue_length"] == {("worker68",): 0, ("worker68.main",): 0}


def test_what_another_worker_holds_is_told_too(stand: Stand, redis_server: EmbeddedRedis) -> None:
    """A sum over workers is 0 where none holds the lease: a series that is not there would be no alert."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("worker68:lease:account:main", "other|1", px=60_000)
    stand.runtime.start()
    wait_until(lambda: stand.parts.owned.owns_front)
    assert stand.figures()["worker68_lease_held"] == {("front",): 1, ("account:main",): 0}


def test_only_the_owner_of_the_front_door_tells_of_accounts_that_it_does_not_hold(
    stand: Stand, redis_server: EmbeddedRedis
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        for lease in ("front", "account:main"):
            client.set(f"worker68:lease:{lease}", "other|1", px=60_000)
    stand.runtime.start()
    wait_until(lambda: stand.runtime.vitals.problem is None)
    assert stand.figures()["worker68_lease_held"] == {("front",): 0}


def test_every_figure_and_no_other_is_in_the_docs_and_alerts(stand: Stand) -> None:
    stand.runtime.start()
    stand.wait_owned()
    wait_until(lambda: stand.parts.owned.owns_front)
    text = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    listed = set(re.findall(r"^\| `(worker68_\w+)`", text, re.MULTILINE))
    assert listed == set(stand.figures())
    rules = text.partition("```yaml")[2].partition("```")[0]
    assert {name.removesuffix("_bucket") for name in re.findall(r"worker68_\w+", rules)} <= listed


def test_a_pause_is_a_figure(stand: Stand) -> None:
    stand.runtime.start()
    stand.wait_owned()
    assert stand.figures()["worker68_paused"] == {("main",): 0}
    pauses.pause(stand.parts.engine, "main", "the client shows a warning", "ann", utc_now())
    wait_until(lambda: stand.figures()["worker68_paused"] == {("main",): 1})


def test_figures_that_cannot_be_read_are_left_out(stand: Stand, redis_server: EmbeddedRedis) -> None:
    stand.runtime.start()
    stand.wait_owned()
    redis_server.kill()
    figures = stand.figures()
    redis_server.restart()
    assert figures["worker68_up"] == {("database",): 1, ("redis",): 0}
    assert "worker68_queue_length" not in figures
    assert "worker68_jobs" in figures


def test_a_figure_that_fails_costs_no_other(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.runtime.start()
    stand.wait_owned()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(figures, "count_outbox", broken)
    with capture_logs() as logs:
        found = stand.figures()
    assert "worker68_outbox" not in found
    assert {"worker68_pace_ratio", "worker68_writer_seconds", "worker68_jobs_ended_total"} <= set(found)
    assert [line["problem"] for line in logs if line["event"] == "figures_failed"] == ["a fault"]
