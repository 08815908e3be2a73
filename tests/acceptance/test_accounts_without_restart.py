"""Accounts of the database while a worker runs: added, changed, removed, added again; and never two connections of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result

from tests.acceptance.conftest import GROUP_CHAT, SEND, VERDICT_DELAY_SECONDS, Ask, Stage, ask, name
from tests.parts.remote_control import inspect
from tests.parts.worker import PATIENCE_SECONDS
from worker68.simulator import Simulator

__all__ = ["ask"]

#: Longer than a worker takes to read what has changed, while a verdict is awaited.
STAGE = {"VERDICT_TIMEOUT": 60}


@pytest.fixture
def bridges(stage: Stage) -> Iterator[list[Simulator]]:
    """Bridges of no account yet."""
    with (
        Simulator(heartbeat_seconds=0.5, verdict_delay_seconds=VERDICT_DELAY_SECONDS) as one,
        Simulator(heartbeat_seconds=0.5, verdict_delay_seconds=VERDICT_DELAY_SECONDS) as other,
    ):
        stage.bridges |= {"one": one, "other": other}
        yield [one, other]


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def send(stage: Stage, words: str, queue: str = "worker68") -> dict[str, Any]:
    """Send through the front door, unless ``queue`` says otherwise; return the reply."""
    return stage.end_of(stage.send_task(SEND, queue, account="shop", chat=GROUP_CHAT, text=words))


def taken_queues(stage: Stage) -> set[str]:
    """Return the queues that ``celery inspect active_queues`` lists."""
    return {queue["name"] for queue in inspect(stage.celery, "active_queues")}


def owner(stage: Stage) -> str | None:
    value = stage.redis.get("worker68:lease:account:shop")
    return str(value) if value is not None else None


def test_an_account_lives_its_life_without_a_restart(
    stage: Stage, ask: Ask, bridges: list[Simulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "worker68.cli.accounts.WAIT_SECONDS", PATIENCE_SECONDS
    )  # so long a command waits for the worker
    first, second = bridges
    words = name()
    reply = send(stage, words)
    assert reply["error"] == {"code": "unknown_account", "message": "no account 'shop' is configured"}

    done(ask("accounts", "add", "shop", "--bridge-url", first.url))
    assert send(stage, words)["status"] == "succeeded", "at once"
    assert (stage.sent(words, first), first.connections) == (1, 1)
    stage.wait(lambda: taken_queues(stage) == {"worker68", "worker68.main", "worker68.shop"})
    assert json.loads(done(ask("top", "--once", "--json")))["accounts"][1]["source"] == "database"

    # A new bridge while a send waits for its verdict: it ends at the old one, what waits goes to the new one.
    before = owner(stage)
    first.faults.extra_verdict_delay_seconds = 1.5
    under_way, waiting = name(), name()
    results = [stage.send_task(SEND, "worker68.shop", chat=GROUP_CHAT, text=under_way)]
    stage.wait(lambda: stage.frames(under_way, first))
    changed = ask("accounts", "set", "shop", f"bridge_url={second.url}")
    results.append(stage.send_task(SEND, "worker68.shop", chat=GROUP_CHAT, text=waiting))
    assert "its worker has taken that" in done(changed)
    assert owner(stage) != before, "under a new lease"
    assert [stage.end_of(result)["status"] for result in results] == ["succeeded", "succeeded"]
    assert (stage.sent(under_way, first), stage.sent(waiting, second)) == (1, 1)
    stage.wait(lambda: (first.connections, second.connections) == (0, 1))

    done(ask("accounts", "set", "shop", 'allowed_tasks=["worker68.send_message"]'))
    assert stage.run("sync_groups", "worker68.shop")["error"]["code"] == "not_permitted"

    # Removed with a job that waits, which goes on when the account is added again.
    later = stage.send_task(
        SEND, "worker68.shop", chat=GROUP_CHAT, text=(late := name()), send_at="2999-01-01T00:00:00Z"
    )
    stage.wait(lambda: stage.row(later.id, "shop"))
    assert ask("accounts", "remove", "shop").exit_code == 1
    assert "left until it is added again: 1 unfinished job" in done(ask("accounts", "remove", "shop", "--force"))
    stage.wait(lambda: second.connections == 0 and owner(stage) is None)
    stage.wait(lambda: taken_queues(stage) == {"worker68", "worker68.main"})
    assert send(stage, name())["error"]["code"] == "unknown_account"
    parts = {one["part"]: one for one in json.loads(ask("check", "--json").stdout)}
    assert "no account of this name" in parts["jobs of shop"]["found"]

    done(ask("accounts", "add", "shop", "--bridge-url", second.url))
    stage.wait(lambda: second.connections == 1)
    assert done(ask("jobs", "cancel", later.id))
    assert stage.end_of(later)["status"] == "cancelled"
    assert stage.sent(late, second) == 0
