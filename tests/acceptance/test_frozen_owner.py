"""The owner of an account freezes in the middle of a transaction: its successor does not wait for it to wake up."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.acceptance.conftest import StageMaker, end_of, name
from tests.parts.nursery import Nursery
from tests.parts.sabotage import Sabotage


def test_its_jobs_are_taken_over_while_it_holds_their_rows(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path
) -> None:
    stage = make_stage("postgresql", LEASE_TTL=4)
    owner, successor = (nursery.worker(stage.worker.settings, tmp_path / log) for log in ("owner.log", "successor.log"))
    owner.start(Sabotage(freeze_at="within the outcome's commit"))
    owner.wait_ready()
    try:
        assert end_of(stage, owner, stage.send(name()))["status"] == "succeeded"
        held_words, next_words = name(), name()
        with stage.cut_off("the owner stands still in the middle of a transaction, for longer than its lease"):
            held = stage.send(held_words)
            owner.wait(lambda: stage.frames(held_words))
            successor.start()
            successor.wait(lambda: '"lease": "account:main"' in successor.log)
            following = stage.send(next_words)
            assert end_of(stage, successor, following)["status"] == "succeeded"
            reply = end_of(stage, successor, held)
            assert (reply["status"], reply["error"]["code"]) == ("in_doubt", "worker_lost")
            assert len(stage.frames(held_words)) == len(stage.frames(next_words)) == 1
            # And when it wakes up it changes nothing, and repeats nothing.
            owner.send(signal.SIGCONT)
            owner.wait(lambda: "lease_lost" in owner.log)
        assert end_of(stage, successor, stage.send(name()))["status"] == "succeeded"
        assert len(stage.frames(held_words)) == 1
    finally:
        owner.kill()
        successor.kill()
