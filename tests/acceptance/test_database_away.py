"""The database stops: nothing new is sent, what was sent is kept in Redis, and recorded by whoever has the database back first."""

from __future__ import annotations

import json
import resource
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.acceptance.conftest import Stage, StageMaker, check_consuming, end_of, name
from tests.parts.nursery import ForkedWorker, Nursery
from tests.parts.postgres import PostgresServer, administer
from worker68.simulator.population import FRIEND
from worker68.simulator.records import Sent

#: Slow enough to have much to send for as long as the test looks.
PACE = {"account": "120/m"} | dict.fromkeys(("chat", "send", "moderate", "read"), "off")
#: More may be under way than are sent by the time that the database stops: their number is not what keeps the others back.
SETTINGS: dict[str, Any] = {"LEASE_TTL": 6, "VERDICT_TIMEOUT": 20, "MAX_IN_FLIGHT": 16, "LIMITS": json.dumps(PACE)}
#: The worker's own.
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'worker68' AND datname = current_database()"
FRIEND_CHAT = {"type": "friend", "id": FRIEND}
#: In one piece: longer than an answer about pauses, a lease, a verdict, and every timeout of a call to the database.
AWAY_SECONDS = 30.0


@pytest.fixture(scope="module")
def stage(make_stage: StageMaker) -> Stage:
    return make_stage("postgresql", **SETTINGS)


@pytest.fixture
def worker(stage: Stage, nursery: Nursery, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[ForkedWorker]:
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    worker.start()
    worker.wait_ready()
    yield worker
    stage.bridge.faults.clear()
    postgres_server.ensure_running()
    try:
        worker.stop()  # so that the next one need not wait for its lease to lapse
    finally:
        worker.kill()


def test_thirty_seconds_before_the_intake_and_between_sends_and_their_recording(
    stage: Stage, worker: ForkedWorker, postgres_server: PostgresServer
) -> None:
    """Neither their order nor their pace keeps the backlog from being sent while the database is away."""
    mark, new_words = name(), name()
    stage.bridge.faults.hold_verdicts = True
    results = [stage.send(f"{mark} {number}", chat=FRIEND_CHAT, ordered=False) for number in range(24)]
    worker.wait(lambda: len(stage.rows("SELECT job_id FROM jobs")) == len(results) and sent(stage, mark))

    postgres_server.kill()
    stage.bridge.faults.clear()
    new = stage.send(new_words)
    worker.wait(lambda: outcomes_kept(stage))
    threading.Event().wait(AWAY_SECONDS / 2)  # longer than an answer about pauses counts
    sent_by_then = len(sent(stage, mark))
    threading.Event().wait(AWAY_SECONDS / 2)

    assert worker.running
    assert stage.frames(new_words) == []
    assert stage.redis.llen("worker68.main") == 1, "what could not be taken in is back in its queue"
    assert stage.redis.hlen("worker68:unacked:main") == 0
    kept = outcomes_kept(stage)
    assert 0 < kept <= len(sent(stage, mark)) == sent_by_then < len(results)
    assert worker.log.count('"database_away"') == 1, "one line, however many jobs try how often"

    postgres_server.ensure_running()
    replies = [end_of(stage, worker, result) for result in (*results, new)]
    assert {(reply["status"], reply["attempts"], reply["revision"]) for reply in replies} == {("succeeded", 1, 1)}
    assert Counter(one.text for one in sent(stage, mark)) == Counter(f"{mark} {number}" for number in range(24))
    assert stage.sent(new_words) == 1
    assert stage.redis.hlen("worker68:kept:main") == 0
    worker.wait(lambda: worker.log.count('"database_back"') == 1)
    check_consuming(stage, worker)


@pytest.mark.parametrize("end", [ForkedWorker.stop, ForkedWorker.kill], ids=["stopped", "killed"])
def test_what_was_sent_while_it_was_away_is_recorded_by_the_next_worker(
    stage: Stage, worker: ForkedWorker, postgres_server: PostgresServer, end: Callable[[ForkedWorker], None]
) -> None:
    stage.bridge.faults.hold_verdicts = True
    words, waiting_words, reply_to = name(), name(), name()
    stage.send(words, reply_to=reply_to)
    worker.wait(lambda: stage.frames(words))
    postgres_server.kill()
    stage.bridge.faults.clear()
    waiting = stage.send(waiting_words)
    worker.wait(lambda: stage.redis.hlen("worker68:kept:main") == 1)
    assert stage.frames(waiting_words) == []
    end(worker)
    assert stage.redis.hlen("worker68:kept:main") == 1

    postgres_server.ensure_running()
    worker.start()
    reply = stage.take_reply(reply_to)
    assert (reply["status"], reply["attempts"], reply["revision"]) == ("succeeded", 1, 1)
    assert end_of(stage, worker, waiting)["status"] == "succeeded"
    assert len(stage.frames(words)) == len(stage.frames(waiting_words)) == 1
    assert stage.redis.hlen("worker68:kept:main") == 0


def test_connections_that_are_dropped_when_idle_are_not_noticed(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path
) -> None:
    stage = make_stage("postgresql", LEASE_TTL=8)
    # Far above the time for which the worker takes a connection to be alive without asking.
    administer(stage.database, f"ALTER DATABASE {stage.database.url.database} SET idle_session_timeout = '5s'")
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    worker.start()
    worker.wait_ready()
    try:
        for _ in range(3):
            reply = end_of(stage, worker, stage.send(name()))
            assert (reply["status"], reply["attempts"]) == ("succeeded", 1)
            # What the worker has left open is gone before the next job comes, but for the one that it uses each second.
            idle = {row["pid"] for row in stage.rows(SESSIONS)}
            worker.wait(lambda idle=idle: len(idle & {row["pid"] for row in stage.rows(SESSIONS)}) <= 1)  # type: ignore[misc]
        assert len(stage.bridge.sent) == 3
        assert "database_away" not in worker.log
    finally:
        worker.kill()


@contextmanager
def locked(stage: Stage, _worker: ForkedWorker) -> Iterator[None]:
    """Hold the write lock as another process, for longer than the busy timeout."""
    with stage.database.connect() as other:
        other.execute(text("BEGIN IMMEDIATE"))
        yield
        other.execute(text("ROLLBACK"))


@contextmanager
def full(stage: Stage, worker: ForkedWorker) -> Iterator[None]:
    """Let no file of the worker's grow beyond what the database has: as if the disk were full."""
    log_of_writes = Path(f"{stage.database.url.database}-wal")
    before = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (log_of_writes.stat().st_size, before[1]))
    yield
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("unwritable", [locked, full])
def test_a_sqlite_that_cannot_be_written(
    make_stage: StageMaker,
    nursery: Nursery,
    tmp_path: Path,
    unwritable: Callable[[Stage, ForkedWorker], AbstractContextManager[None]],
) -> None:
    stage = make_stage(LEASE_TTL=8, VERDICT_TIMEOUT=60)
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    worker.start()
    worker.wait_ready()
    stage.bridge.faults.hold_verdicts = True
    words, new_words = name(), name()
    result = stage.send(words)
    worker.wait(lambda: stage.frames(words))
    with unwritable(stage, worker):
        stage.bridge.faults.clear()
        new = stage.send(new_words, chat=FRIEND_CHAT)
        worker.wait(lambda: outcomes_kept(stage))
        worker.wait(lambda: "nothing is taken in or sent meanwhile" in worker.log)
        assert stage.frames(new_words) == []
        assert not result.ready()
    for each in (result, new):
        reply = end_of(stage, worker, each)
        assert (reply["status"], reply["attempts"], reply["revision"]) == ("succeeded", 1, 1)
    assert len(stage.frames(words)) == len(stage.frames(new_words)) == 1
    worker.wait(lambda: not outcomes_kept(stage))
    check_consuming(stage, worker)
    worker.kill()


def sent(stage: Stage, mark: str) -> list[Sent]:
    return [one for one in stage.bridge.sent if mark in one.text]


def outcomes_kept(stage: Stage) -> int:
    """Return how many outcomes lie in Redis because the database could not take them."""
    return sum('"ended"' in str(note) for note in stage.redis.hvals("worker68:kept:main"))
