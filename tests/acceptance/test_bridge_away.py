"""A bridge is away for a minute, another one's client is logged out for a minute: jobs wait, say why, and none fails."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.acceptance.conftest import GROUP, GROUP_CHAT, MEMBER, MUTE, SEND, SYNC, StageMaker, end_of, name
from tests.parts.nursery import Nursery

AWAY_SECONDS = 60.0


def test_a_minute(make_stage: StageMaker, nursery: Nursery, tmp_path: Path) -> None:
    """With the default timeouts; each kind of job, in both accounts."""
    stage = make_stage(accounts={"second": {}}, VERDICT_TIMEOUT=30, REPLY_TIMEOUT=15)
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    worker.start()
    worker.wait_ready()
    marks = {"main": name(), "second": name()}
    for account in marks:
        reply = end_of(stage, worker, stage.send_task(SYNC, f"worker68.{account}"))
        assert reply["status"] == "succeeded"

    stage.bridge.stop()
    stage.bridges["second"].log_out()
    results = {}
    for account, mark in marks.items():
        queue = f"worker68.{account}"
        sends = [
            stage.send_task(SEND, queue, chat=GROUP_CHAT, text=f"{mark} {number}", account=account)
            for number in range(3)
        ]
        change = stage.send_task(MUTE, queue, group_id=GROUP, user_id=MEMBER, seconds=60)
        results[account] = [*sends, change, stage.send_task(SYNC, queue)]
    threading.Event().wait(AWAY_SECONDS)

    rows = stage.rows("SELECT account, state, attempts, reason FROM jobs WHERE state <> 'ended' AND reason IS NOT NULL")
    assert len(stage.rows("SELECT seq FROM jobs WHERE state = 'ready'")) == 10
    assert {(row["state"], row["attempts"]) for row in rows} == {("ready", 0)}
    assert {row["account"] for row in rows if "not reachable" in row["reason"]} == {"main"}
    assert {row["account"] for row in rows if "logged out" in row["reason"]} == {"second"}

    stage.bridge.start()
    stage.bridges["second"].log_in()
    for account, mark in marks.items():
        replies = [end_of(stage, worker, result) for result in results[account]]
        assert {(reply["status"], reply["attempts"]) for reply in replies} == {("succeeded", 1)}
        texts = [one.text for one in stage.bridges[account].sent if mark in one.text]
        assert texts == [f"{mark} {number}" for number in range(3)]
    worker.kill()
