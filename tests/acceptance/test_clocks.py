"""Clocks that jump, and clocks that disagree: nothing is lost or sent twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import (
    GROUP,
    GROUP_CHAT,
    MEMBER,
    MUTE,
    SEND,
    SYNC,
    StageMaker,
    end_of,
    name,
    start_front_and_main,
)
from tests.parts.nursery import Nursery
from tests.parts.sabotage import Sabotage
from tests.parts.worker import wait_until
from worker68.simulator.population import FRIEND

#: A worker that stands still for a moment keeps its lease; the next one after a kill waits for it.
SETTINGS: dict[str, Any] = {"LEASE_TTL": 4, "VERDICT_TIMEOUT": 10}
FRIEND_CHAT = {"type": "friend", "id": FRIEND}


def test_an_hour_forward_and_back_changes_nothing_for_jobs_without_times(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path
) -> None:
    stage = make_stage(**(SETTINGS | {"LEASE_TTL": 10}))
    clock = tmp_path / "clock"
    clock.write_text("0")
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    worker.start(Sabotage(clock_file=str(clock)))
    for seconds in ("0", "3600", "0", "-3600", "0"):
        clock.write_text(seconds)
        results = [stage.send(name(), chat=chat) for chat in (FRIEND_CHAT, GROUP_CHAT)]
        results += [stage.send_task(MUTE, group_id=GROUP, user_id=MEMBER, seconds=60), stage.send_task(SYNC)]
        assert {end_of(stage, worker, result)["status"] for result in results} == {"succeeded"}
    assert len(stage.bridge.sent) == 10
    assert max(Counter(one.text for one in stage.bridge.sent).values()) == 1
    assert "lease_lost" not in worker.log
    worker.kill()


def test_a_back_off_by_a_clock_that_was_an_hour_ahead_ends_within_its_longest_time(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path
) -> None:
    """Also where the job is looked up in SQL more often than that."""
    stage = make_stage(**(SETTINGS | {"VERDICT_TIMEOUT": 8}))
    clock = tmp_path / "clock"
    clock.write_text("3600")
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    worker.start(Sabotage(clock_file=str(clock), constants={"execution.execute.SEND_FLOOR_SECONDS": 60}))
    stage.bridge.faults.busy_sends.set(1)
    result = stage.send(name())
    worker.wait(lambda: "job_backs_off" in worker.log)
    worker.kill()
    clock.write_text("0")
    quicker: dict[str, float] = {"jobs.retry.BACK_OFF_CAP_SECONDS": 5, "execution.upkeep.SWEEP_SECONDS": 1}
    worker.start(Sabotage(clock_file=str(clock), constants=quicker))
    reply = end_of(stage, worker, result)
    assert (reply["status"], reply["attempts"]) == ("succeeded", 2)
    worker.kill()


def test_two_workers_five_minutes_apart_keep_the_order_of_a_chat(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path
) -> None:
    """Each takes in every other job; the one with the slower clock runs them all."""
    stage = make_stage("postgresql", **(SETTINGS | {"LEASE_TTL": 30}))
    front, main = (nursery.worker(stage.worker.settings, tmp_path / f"{each}.log") for each in ("front", "main"))
    clock = tmp_path / "clock"
    clock.write_text("300")
    start_front_and_main(stage, front, main, Sabotage(clock_file=str(clock)))
    main.wait(lambda: "bridge_ready" in main.log)
    stage.bridge.log_out()
    main.wait(lambda: "logged out" in main.log)
    mark, results = name(), []
    for number in range(10):
        queue = ("worker68", "worker68.main")[number % 2]
        results.append(stage.send_task(SEND, queue, chat=FRIEND_CHAT, text=f"{mark} {number}"))
        main.wait(lambda: stage.row(results[-1].id))
    stage.bridge.log_in()
    assert {end_of(stage, main, result)["status"] for result in results} == {"succeeded"}
    assert [one.text for one in stage.bridge.sent] == [f"{mark} {number}" for number in range(10)]
    front.kill()
    main.kill()


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
