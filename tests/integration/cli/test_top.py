"""``worker68 top`` shows each account as it is now: who owns it, its bridge, what waits, its pace; and what is wrong, in words."""

from __future__ import annotations

import datetime as dt
import json
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from tests.integration.cli.conftest import Ask, put_account
from tests.parts.jobs import message
from tests.parts.ledger import Ledger
from worker68.clock import utc_now
from worker68.limits.pace import Pace
from worker68.observe.roster import AccountStatus, Roster, WorkerStatus
from worker68.store import pauses
from worker68.store.tables import outbox

HOUR = dt.timedelta(hours=1)


def look(ask: Ask) -> dict[str, Any]:
    done = ask(0, "top", "--once", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    overview: dict[str, Any] = json.loads(done.stdout)
    return overview


def report(client: redis.Redis, worker: str, bridge: str | None = None) -> None:
    """Let a worker say that it is well, and how the bridge of ``main`` is; it will be some time before that is old."""
    now = utc_now()
    account = AccountStatus(bridge, 3, 1, 12.5, {"succeeded": 4})
    Roster(client).report(WorkerStatus(worker, 1, now, now + HOUR, None, True, {"main": account}))


def test_all_that_is_known_of_an_account(
    ask: Ask, ledger: Ledger, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utc_now()
    monkeypatch.setattr("worker68.cli.top.utc_now", lambda: now)
    client.mset({"worker68:lease:front": "host-1|1", "worker68:lease:account:main": "host-1|1"})
    report(client, "host-1")
    client.lpush("worker68.main", message(), message())
    client.lpush("worker68.main:3", message())
    client.lpush("worker68", message())
    ledger.settled(reply_to="orders")
    ledger.send(now=now - HOUR)
    ledger.send(send_at="2999-01-01T00:00:00Z")
    ledger.must_begin(ledger.send(chat={"type": "friend", "id": 5}))
    pace = Pace(client).report_busy("main")
    pauses.pause(ledger.engine, "main", "the client shows a warning", "ann", utc_now())

    overview = look(ask)
    (account,) = overview["accounts"]
    waited = account.pop("oldest_ready_seconds")
    slow, paused = account.pop("slow"), account.pop("paused")
    assert account == {
        "account": "main",
        "owner": "host-1",
        "source": "settings",
        "bridge": "ready",
        "queued": 3,
        "ready": 1,
        "deferred": 1,
        "sending": 1,
        "ended_per_minute": 12.5,
        "endings": {"succeeded": 4},
        "pace": pace,
        "outbox": ledger.count(outbox),
    }
    assert account["outbox"] > 1, "a reply and a result"
    assert waited == 3600
    assert pace < 1
    assert slow.startswith(f"slowed down to {pace:.0%} of its limits")
    assert paused.startswith("paused by ann since ")
    assert (overview["front_owner"], overview["front_queued"]) == ("host-1", 1)
    assert [worker["worker"] for worker in overview["workers"]] == ["host-1"]
    assert overview["problems"] == [f"account main: {paused}", f"account main: {slow}"]


def test_what_only_the_owner_knows_is_the_owners_word(ask: Ask, ledger: Ledger, client: redis.Redis) -> None:
    report(client, "host-1", "the 68 client is logged out")
    (account,) = look(ask)["accounts"]
    assert (account["owner"], account["bridge"], account["ended_per_minute"]) == (None, None, None)

    client.set("worker68:lease:account:main", "host-2|2")
    overview = look(ask)
    assert (overview["accounts"][0]["bridge"], overview["problems"]) == (None, []), "host-1 owns it no more"

    client.set("worker68:lease:account:main", "host-1|3")
    assert look(ask)["problems"] == ["bridge of main: the 68 client is logged out"]
    row = next(line.split() for line in ask(0, "top", "--once").stdout.splitlines() if line.startswith("main "))
    assert row[1] == "down"


def test_an_account_that_no_worker_owns_is_a_problem(ask: Ask, ledger: Ledger) -> None:
    assert look(ask)["problems"] == ["account main: no worker owns it"]
    assert "front door: 0 queued, owner none" in ask(80, "top", "--once").stdout


def test_it_looks_again_until_ctrl_c_also_for_new_accounts(
    ask: Ask, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        if slept:
            raise KeyboardInterrupt
        slept.append(seconds)
        put_account(ledger, "shop", {"bridge_url": "ws://127.0.0.1:2"})

    monkeypatch.setattr("worker68.cli.top.time", SimpleNamespace(sleep=sleep))
    done = ask(0, "top", "--json", "--interval", "7")
    assert (done.exit_code, slept) == (130, [7])
    looks = [json.loads(line)["accounts"] for line in done.stdout.splitlines()]
    assert [[account["account"] for account in accounts] for accounts in looks] == [["main"], ["main", "shop"]]

    slept.clear()
    assert ask(80, "top").exit_code == 130


def test_a_key_of_another_type_does_not_hide_the_others(ask: Ask, ledger: Ledger, client: redis.Redis) -> None:
    client.set("worker68.main", "no list")
    client.lpush("worker68.main:3", message())
    done = ask(80, "top", "--once", "--json")
    assert (done.exit_code, json.loads(done.stdout)["accounts"][0]["queued"]) == (0, 1)


def test_a_worker_that_does_not_report_is_not_shown_as_ok(ask: Ask, ledger: Ledger, client: redis.Redis) -> None:
    """One whose process is stopped: its last report stays for a minute."""
    for worker, seconds in (("stopped", 12), ("running", -3600)):
        told_at = utc_now() - dt.timedelta(seconds=seconds)
        Roster(client).report(WorkerStatus(worker, 1, told_at, told_at, None, False, {}))
    rows = [line.split() for line in ask(120, "top", "--once").stdout.splitlines()]
    health = {row[0]: row[3] for row in rows if row and row[0] in ("stopped", "running")}
    assert health == {"stopped": "silent", "running": "ok"}
    problems = json.loads(ask(120, "top", "--once", "--json").stdout)["problems"]
    (problem,) = [one for one in problems if one.startswith("worker ")]
    assert problem.startswith("worker stopped: its last report is ")


def test_top_marks_the_accounts_of_the_database(ask: Ask, ledger: Ledger) -> None:
    for number in range(12):
        put_account(ledger, f"shop{number}", {"bridge_url": f"ws://127.0.0.1:{number + 100}"})
    lines = ask(80, "top", "--once").stdout.splitlines()
    assert "* from the database: worker68 accounts" in lines
    assert sum("shop" in line and " * " in line for line in lines) == 12
    assert not any(line.split()[:2] == ["main", "*"] for line in lines)


def test_top_without_a_database_says_so_among_the_problems(ask: Ask) -> None:
    done = ask(80, "top", "--once")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "worker68 db upgrade" in " ".join(done.stdout.split())
