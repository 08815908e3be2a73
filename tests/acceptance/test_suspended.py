"""A machine is suspended while a frame waits for its slot, for longer than its lease: another worker takes over, and when the first
one goes on, before the slot that it was granted, it writes nothing.

The slots are granted so far ahead, and lie so far apart, that all of this has its place between two of them.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Stage, StageMaker, end_of, name
from tests.parts.nursery import ForkedWorker, Nursery
from tests.parts.sabotage import Sabotage
from tests.parts.worker import PATIENCE_SECONDS

#: A slot each fifteen seconds.
PACE = {"account": "240/h"} | dict.fromkeys(("chat", "send", "moderate", "read"), "off")
SETTINGS: dict[str, Any] = {"LEASE_TTL": 4, "VERDICT_TIMEOUT": 10, "LIMITS": json.dumps(PACE)}
FAR_AHEAD_SECONDS = 60.0


@pytest.fixture
def stage(make_stage: StageMaker) -> Stage:
    """With PostgreSQL: who is stopped in the middle of a transaction would hold up everybody else's on SQLite."""
    return make_stage("postgresql", **SETTINGS)


@pytest.fixture
def owner(stage: Stage, nursery: Nursery, tmp_path: Path) -> Iterator[ForkedWorker]:
    owner = nursery.worker(stage.worker.settings, tmp_path / "owner.log")
    yield owner
    owner.kill()


@pytest.fixture
def heir(stage: Stage, nursery: Nursery, tmp_path: Path) -> Iterator[ForkedWorker]:
    heir = nursery.worker(stage.worker.settings, tmp_path / "heir.log")
    yield heir
    heir.kill()


def start_both(owner: ForkedWorker, heir: ForkedWorker, sabotage: Sabotage) -> None:
    """Start the heir once the owner has the account, and before the first slot: its start takes none of the time between two."""
    owner.start(sabotage)
    owner.wait(lambda: '"lease": "account:main"' in owner.log)
    heir.start()
    heir.wait_ready()


def suspend(stage: Stage, owner: ForkedWorker, heir: ForkedWorker) -> None:
    """Stop the owner until the heir has the account, and see it find that out."""
    assert '"account:main"' not in heir.log
    with stage.cut_off("the owner stands still for longer than its lease"):
        owner.send(signal.SIGSTOP)
        heir.wait(lambda: "bridge_ready" in heir.log)
        owner.send(signal.SIGCONT)
        owner.wait(lambda: "lease_lost" in owner.log)


def ask_both(stage: Stage, command: str) -> list[dict[str, Any]]:
    """Return what both workers answer to remote control; they have the same name."""
    replies: list[dict[str, Any]] = stage.celery.control.broadcast(
        command, reply=True, timeout=PATIENCE_SECONDS, limit=2
    )
    return replies


def test_a_job_that_was_chosen_is_run_by_the_next_owner_alone(
    stage: Stage, owner: ForkedWorker, heir: ForkedWorker
) -> None:
    start_both(owner, heir, Sabotage(slots_ahead_seconds=FAR_AHEAD_SECONDS))
    owner.wait_ready()
    assert end_of(stage, owner, stage.send(name()))["status"] == "succeeded"
    words = name()
    result = stage.send(words)
    # On a thread of the pool: it waits for the slot.
    owner.wait(lambda: any(active for reply in ask_both(stage, "active") for active in reply.values()))
    owners_connections = {one.connection for one in stage.bridge.received}

    suspend(stage, owner, heir)

    reply = end_of(stage, heir, result)
    assert (reply["status"], reply["attempts"]) == ("succeeded", 1)
    (sent,) = [one for one in stage.bridge.sent if one.text == words]
    assert sent.connection not in owners_connections
    assert owner.running


def test_a_frame_that_was_handed_over_is_not_written_and_that_is_told(
    stage: Stage, owner: ForkedWorker, heir: ForkedWorker
) -> None:
    early = dict.fromkeys(
        ("execution.pacing.LEAST_LEAD_SECONDS", "execution.execute.HAND_OVER_SECONDS"), FAR_AHEAD_SECONDS
    )
    start_both(owner, heir, Sabotage(slots_ahead_seconds=FAR_AHEAD_SECONDS, constants=early))
    assert end_of(stage, owner, stage.send(name()))["status"] == "succeeded"
    words, reply_to = name(), name()
    stage.send(words, job_id=words, reply_to=reply_to)
    owner.wait(lambda: (stage.row(words) or {}).get("state") == "sending")

    suspend(stage, owner, heir)

    first, second = stage.take_reply(reply_to), stage.take_reply(reply_to)
    assert (first["status"], first["error"]["code"], first["revision"]) == ("in_doubt", "worker_lost", 1)
    assert (second["status"], second["error"]["code"], second["revision"]) == ("failed", "not_sent", 2)
    later = name()
    assert end_of(stage, heir, stage.send(later))["status"] == "succeeded", "its slot is after that of the frame"
    assert stage.frames(words) == []
    assert len(stage.frames(later)) == 1
    assert owner.running
