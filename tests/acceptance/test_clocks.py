"""Clocks that jump, and clocks that disagree: nothing is lost or sent twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import StageMaker, end_of, name
from tests.parts.nursery import Nursery
from tests.parts.sabotage import Sabotage
from tests.parts.worker import wait_until
from worker68.simulator.population import FRIEND

SETTINGS: dict[str, Any] = {"LEASE_TTL": 2, "VERDICT_TIMEOUT": 10}
FRIEND_CHAT = {"type": "friend", "id": FRIEND}


def test_an_hour_forward_and_back_changes_nothing_for_jobs_without_times(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path
) -> None:
    stage = make_stage(**SETTINGS)
    clock = tmp_path / "clock"
    clock.write_text("0")
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    worker.start(Sabotage(clock_file=str(clock)))
    stage.bridge.faults.busy_sends.set(1)
    results = []
    for seconds in ("3600", "0", "-3600", "0"):
        results += [stage.send(f"{name()}", chat=chat) for chat in (FRIEND_CHAT, {"type": "group", "id": 389284})]
        clock.write_text(seconds)
    assert {end_of(stage, worker, result)["status"] for result in results} == {"succeeded"}
    assert max(Counter(one.text for one in stage.bridge.sent).values()) == 1
    worker.kill()


def test_two_workers_five_minutes_apart_hand_over(make_stage: StageMaker, nursery: Nursery, tmp_path: Path) -> None:
    stage = make_stage(**SETTINGS)
    workers = [nursery.worker(stage.worker.settings, tmp_path / f"worker-{number}.log") for number in range(2)]
    mark, results = name(), []
    for turn, seconds in enumerate(("300", "0", "300")):
        clock = tmp_path / f"clock-{turn}"
        clock.write_text(seconds)
        workers[turn % 2].start(Sabotage(clock_file=str(clock)))
        results += [stage.send(f"{mark} {turn} {number}", chat=FRIEND_CHAT) for number in range(10)]
        wait_until(lambda sent=10 * turn + 5: sum(mark in one.text for one in stage.bridge.sent) > sent)  # type: ignore[misc]
        if turn < 2:
            workers[turn % 2].kill()
    replies = [end_of(stage, workers[0], result) for result in results]
    assert {reply["status"] for reply in replies} <= {"succeeded", "in_doubt"}
    assert sum(reply["status"] == "in_doubt" for reply in replies) <= 2
    texts = [one.text for one in stage.bridge.sent if mark in one.text]
    assert texts == sorted(set(texts), key=lambda text: [int(part) for part in text.split()[1:]])
    workers[0].kill()
