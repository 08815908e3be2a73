"""``worker68 accounts``: what it writes, what it refuses and in which words, and what it waits for."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import redis
from click.testing import Result

from tests.integration.cli.conftest import Run
from tests.parts.ledger import Ledger
from worker68.cli import accounts as command
from worker68.cli.reach import find_owners
from worker68.store.accounts import note_taken, read_accounts

Ask = Callable[..., Result]
BRIDGE = "ws://10.0.0.7:5600"


@pytest.fixture
def ask(run: Run, redis_url: str, sqlite_url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.setattr(command, "WAIT_SECONDS", 0.2)

    def ask(*words: str, **settings: str) -> Result:
        known = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "BRIDGE_URL": "ws://127.0.0.1:5600"}
        return run("accounts", *words, **(known | settings))

    return ask


def said(done: Result) -> str:
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    return str(done.stdout).strip()


def refused(done: Result, code: int) -> str:
    """Return why nothing was done."""
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert done.stderr.count("\n") == 1, "errors are one line"
    return str(done.stderr).strip()


def table(ledger: Ledger, name: str = "shop") -> dict[str, Any] | None:
    """Return what stands in the database for an account, None where it is not there."""
    row = next((row for row in read_accounts(ledger.engine) if row.name == name), None)
    return dict(row.settings) if row is not None and row.removed_at is None else None


def own(client: redis.Redis, name: str = "shop", worker: str | None = "host-1") -> None:
    """Let this worker own the account, or none."""
    key = f"worker68:lease:account:{name}"
    client.set(key, f"{worker}|5") if worker else client.delete(key)


def take(ledger: Ledger, name: str = "shop") -> None:
    """Open the account as its row is now, as an owner does."""
    row = next(row for row in read_accounts(ledger.engine) if row.name == name)
    note_taken(ledger.engine, name, row.version)


def test_an_account_is_added_changed_listed_and_removed(ask: Ask, ledger: Ledger) -> None:
    added = said(ask("add", "shop", "--bridge-url", BRIDGE, "--label", "berlin", "--set", "limits.chat=10/m"))
    assert added == "shop is added; a worker takes it within seconds"
    assert table(ledger) == {"bridge_url": BRIDGE, "label": "berlin", "limits": {"chat": "10/m"}}

    words = ("max_in_flight=4", "confirm=reply", "limits.send=5/m", 'allowed_tasks=["worker68.send_message"]')
    changed = said(ask("set", "shop", *words, "--unset", "label", "--unset", "limits.chat"))
    assert changed == "shop is changed; no worker is connected to it"
    assert table(ledger) == {
        "bridge_url": BRIDGE,
        "limits": {"send": "5/m"},
        "max_in_flight": 4,
        "confirm": "reply",
        "allowed_tasks": ["worker68.send_message"],
    }
    assert said(ask("remove", "shop")) == "shop is removed; no worker is connected to it"
    assert table(ledger) is None
    assert [line["account"] for line in json.loads(said(ask("list", "--json")))] == ["main"]


def test_the_list_says_where_each_stands_and_what_is_wrong(ask: Ask, client: redis.Redis, ledger: Ledger) -> None:
    said(ask("add", "shop", "--bridge-url", "wss://user:secret@h/b?token=t", "--set", "max_in_flight=4"))
    said(ask("add", "kiosk", "--bridge-url", "ws://h:2"))
    own(client)
    lines = {line["account"]: line for line in json.loads(said(ask("list", "--json", BRIDGE_URL="ws://h:2")))}
    assert {name: line["source"] for name, line in lines.items()} == {
        "main": "settings",
        "shop": "database",
        "kiosk": "database",
    }
    assert lines["main"]["settings"] == {"bridge_url": "ws://h:2"}
    assert lines["shop"]["settings"] == {"bridge_url": "wss://***@h/b?***", "max_in_flight": 4}
    assert lines["shop"]["owner"] == "host-1"
    assert lines["shop"]["note"] == "changed; its worker ends first what is under way"
    assert "'main' and 'kiosk' have the same bridge_url" in lines["kiosk"]["note"]
    take(ledger)
    shown = said(ask("list"))
    assert "secret" not in shown
    assert "token=t" not in shown
    assert "under way" not in shown
    assert said(ask("set", "shop", "bridge_url=ws://h:9")).startswith("shop is changed; worker host-1 ends first")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ("shop", "--bridge-url", "h:1"),
            "account 'shop'.bridge_url: expected ws://HOST:PORT, like ws://127.0.0.1:5600",
        ),
        (("Shop", "--bridge-url", BRIDGE), "account 'Shop': an account's name has 1 to 64 of a-z, 0-9, _ and -"),
        (
            ("shop", "--bridge-url", BRIDGE, "--set", "max_aeg=5"),
            "account 'shop'.max_aeg: no such setting; did you mean max_age?",
        ),
        (
            ("shop", "--bridge-url", BRIDGE, "--set", "lease_ttl=5"),
            "account 'shop'.lease_ttl: no such setting of an account, only of a worker",
        ),
        (("shop", "--bridge-url", BRIDGE, "--set", "limits.cat=5/m"), "account 'shop'.limits: \"cat\": no such limit"),
        (("shop", "--bridge-url", BRIDGE, "--label", "Berlin"), "account 'shop'.label: "),
        (("shop", "--bridge-url", "ws://localhost:5600/"), "the accounts 'main' and 'shop' have the same bridge_url"),
        (("shop", "--bridge-url", BRIDGE, "--set", "max_age"), "expected KEY=VALUE"),
        (("shop", "--bridge-url", BRIDGE, "--set", "=5"), "not '=5'"),
        (("shop", "--bridge-url", BRIDGE, "--set", "bridge_url.x=1"), "which has no part 'x'"),
    ],
)
def test_what_is_wrong_is_refused_in_the_words_of_the_settings(
    ask: Ask, ledger: Ledger, words: tuple[str, ...], problem: str
) -> None:
    assert problem in refused(ask("add", *words), 2)
    assert read_accounts(ledger.engine) == []


def test_a_wrong_bridge_is_not_shown_because_it_may_hold_a_password(ask: Ask) -> None:
    assert "secret" not in refused(ask("add", "shop", "--bridge-url", "http://user:secret@h"), 2)


def test_what_cannot_be_done_is_refused(ask: Ask, ledger: Ledger) -> None:
    said(ask("add", "shop", "--bridge-url", BRIDGE))
    assert "there is an account 'shop' already" in refused(ask("add", "shop", "--bridge-url", "ws://h:3"), 1)
    assert "'main' stands in the settings, which win" in refused(ask("add", "main", "--bridge-url", "ws://h:3"), 1)
    assert "'nobody' is not in the database" in refused(ask("set", "nobody", "max_in_flight=4"), 1)
    assert "'main' stands in the settings: change it there" in refused(ask("set", "main", "max_in_flight=4"), 1)
    assert "'nobody' is not in the database" in refused(ask("remove", "nobody"), 1)
    assert "'main' stands in the settings: remove it there" in refused(ask("remove", "main"), 1)
    assert "shop has these settings already" in refused(ask("set", "shop", f"bridge_url={BRIDGE}"), 1)
    assert "'max_age' is not set for this account" in refused(ask("set", "shop", "--unset", "max_age"), 2)
    assert "account 'shop'.bridge_url: field required" in refused(ask("set", "shop", "--unset", "bridge_url"), 2)
    assert "say what to change" in refused(ask("set", "shop"), 2)
    said(ask("add", "kiosk", "--bridge-url", "ws://h:4"))
    problem = refused(ask("set", "kiosk", f"bridge_url={BRIDGE}"), 2)
    assert "the accounts 'shop' and 'kiosk' have the same bridge_url" in problem
    assert table(ledger, "kiosk") == {"bridge_url": "ws://h:4"}


def test_an_account_that_came_into_the_settings_later_can_be_removed_from_the_database(
    ask: Ask, ledger: Ledger, client: redis.Redis
) -> None:
    said(ask("add", "shop", "--bridge-url", BRIDGE))
    own(client)
    both = {"ACCOUNTS": json.dumps({"shop": {"bridge_url": "ws://h:8"}})}
    [line] = [one for one in json.loads(said(ask("list", "--json", **both))) if one["account"] == "shop"]
    assert (line["source"], line["bridge_url"]) == ("settings", "ws://h:8")
    assert "which wins" in line["note"]
    assert "which win" in refused(ask("set", "shop", "max_in_flight=4", **both), 1)
    assert said(ask("remove", "shop", **both)) == "shop is removed; the settings have it, so it goes on"


def test_an_account_with_unfinished_jobs_is_removed_by_force_alone(
    ask: Ask, ledger: Ledger, client: redis.Redis
) -> None:
    said(ask("add", "other", "--bridge-url", BRIDGE))
    for _ in range(2):
        ledger.send(account="other")
    client.lpush("worker68.other", "a message")
    problem = refused(ask("remove", "other"), 1)
    assert "other has 2 unfinished jobs and 1 message in its queue" in problem
    assert table(ledger, "other") is not None
    done = said(ask("remove", "other", "--force"))
    assert "left until it is added again: 2 unfinished jobs and 1 message in its queue" in done
    assert table(ledger, "other") is None
    assert len(ledger.lane("other")) == 2, "they stay"


def test_a_change_waits_until_the_worker_has_taken_it(
    ask: Ask, client: redis.Redis, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "WAIT_SECONDS", 60.0)
    said(ask("add", "shop", "--bridge-url", BRIDGE))
    own(client)
    take(ledger)
    looks, steps = count(), [lambda: take(ledger), lambda: own(client, worker=None)]

    def look(*about: Any) -> dict[str, str]:
        """Let the worker act while the command waits: after its first look."""
        if next(looks) % 2:
            steps.pop(0)()
        return find_owners(*about)

    monkeypatch.setattr(command, "find_owners", look)
    assert said(ask("set", "shop", "max_in_flight=4")) == "shop is changed; its worker has taken that"
    assert said(ask("remove", "shop")) == "shop is removed; no worker is connected to it"
    assert steps == []


def test_a_bridge_is_free_for_another_account_only_once_the_worker_of_the_first_has_left_it(
    ask: Ask, client: redis.Redis, ledger: Ledger
) -> None:
    said(ask("add", "shop", "--bridge-url", BRIDGE))
    own(client)
    take(ledger)
    said(ask("set", "shop", "bridge_url=ws://h:9"))
    problem = refused(ask("add", "kiosk", "--bridge-url", BRIDGE), 1)
    assert f"the worker of 'shop' may still be connected to {BRIDGE}" in problem
    take(ledger)
    said(ask("add", "kiosk", "--bridge-url", BRIDGE))
    own(client, "kiosk")
    said(ask("remove", "kiosk"))
    assert "'kiosk' may still be connected" in refused(ask("set", "shop", f"bridge_url={BRIDGE}"), 1)
    own(client, "kiosk", None)
    said(ask("set", "shop", f"bridge_url={BRIDGE}"))


def test_without_redis_a_bridge_that_was_left_is_not_given_away(ask: Ask, client: redis.Redis, ledger: Ledger) -> None:
    said(ask("add", "shop", "--bridge-url", BRIDGE))
    own(client)
    take(ledger)
    said(ask("set", "shop", "bridge_url=ws://h:9"))
    away = {"REDIS_URL": "redis://127.0.0.1:1"}
    assert "may still be connected" in refused(ask("add", "kiosk", "--bridge-url", BRIDGE, **away), 1)
    assert "whether a worker owns it is not known" in said(ask("set", "shop", "max_in_flight=4", **away))
