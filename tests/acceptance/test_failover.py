"""Redis and PostgreSQL go over to a replica under load: the worker follows by itself, nothing is lost, nothing is sent twice."""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from celery import Celery

from tests.acceptance.conftest import SEND, Stage, StageMaker, check_consuming, envelope, name
from tests.parts.nursery import ForkedWorker, Nursery
from tests.parts.postgres import PostgresServer, Standby
from tests.parts.sentinel import NAME, Pair, watched
from tests.parts.worker import PATIENCE_SECONDS
from worker68.simulator.population import FRIEND

SETTINGS: dict[str, Any] = {"LEASE_TTL": 8, "VERDICT_TIMEOUT": 10}
FRIEND_CHAT = {"type": "friend", "id": FRIEND}
#: Between two jobs of the load, so that some are on their way at any moment.
PACE_SECONDS = 0.02


class TestSentinel:
    @pytest.fixture
    def stage(self, make_stage: StageMaker) -> Stage:
        # Leases lapse while there is no master: taking them again the worker learns that there is another one.
        return make_stage(**(SETTINGS | {"LEASE_TTL": 2}))

    @pytest.fixture
    def pair(self, stage: Stage) -> Iterator[Pair]:
        with watched(stage.redis_server) as pair:
            yield pair

    @pytest.fixture
    def worker(self, stage: Stage, pair: Pair, nursery: Nursery, tmp_path: Path) -> Iterator[ForkedWorker]:
        worker = nursery.worker(stage.worker.settings | {"REDIS_URL": pair.url}, tmp_path / "worker.log")
        worker.start()
        worker.wait_ready()
        yield worker
        worker.kill()

    @pytest.fixture
    def producer(self, pair: Pair) -> Iterator[Celery]:
        """A producer as docs/producers.md has it."""
        app = Celery("producer", set_as_current=False)
        app.conf.broker_url = app.conf.result_backend = f"sentinel://127.0.0.1:{pair.sentinel_port}/0"
        options = {"master_name": NAME, "sentinel_kwargs": {"socket_timeout": 1}}
        app.conf.broker_transport_options = app.conf.result_backend_transport_options = options
        yield app
        app.close()

    def test_the_master_is_killed(self, stage: Stage, pair: Pair, worker: ForkedWorker, producer: Celery) -> None:
        mark = name()
        words = name()
        message = {"chat": FRIEND_CHAT, "text": words}
        accepted: list[str] = []
        producer.send_task(SEND, queue="worker68.main", kwargs=message, ignore_result=True)
        load = threading.Thread(target=push_until_away, args=(stage, mark, accepted))
        load.start()
        worker.wait(lambda: min(len(accepted), len(stage.bridge.sent)) >= 20)
        pair.fail_over()
        load.join()
        assert producer.send_task(SEND, queue="worker68.main", kwargs=message).get(timeout=PATIENCE_SECONDS)
        stage.redis_server = pair.replica
        stage.reconnect()

        worker.wait(lambda: ended_well(stage) >= set(accepted))
        check_consuming(stage, worker)
        sent = Counter(one.text for one in stage.bridge.sent)
        assert sent.pop(words) == 2, "before and after, by one producer"
        assert set(sent.values()) == {1}
        assert sent.keys() >= {f"{mark} {job_id}" for job_id in accepted}
        assert '"redis_failed_over"' in worker.log


class TestPostgres:
    @pytest.fixture
    def primary(self) -> Iterator[PostgresServer]:
        with PostgresServer() as primary:
            yield primary

    @pytest.fixture
    def stage(self, primary: PostgresServer, standby: Standby, make_stage: StageMaker) -> Stage:
        hosts = f"host={primary.folder}&host={standby.folder}"
        return make_stage(
            f"postgresql+psycopg://postgres@/postgres?{hosts}&target_session_attrs=read-write", **SETTINGS
        )

    @pytest.fixture
    def standby(self, primary: PostgresServer) -> Iterator[Standby]:
        with Standby(primary) as standby:
            # As docs/operations.md says: a commit is one when the standby has it.
            administer(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
            yield standby

    @pytest.fixture
    def worker(self, stage: Stage, nursery: Nursery, tmp_path: Path) -> Iterator[ForkedWorker]:
        worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
        worker.start()
        worker.wait_ready()
        yield worker
        worker.kill()

    def test_the_primary_becomes_read_only_then_is_away_then_is_another(
        self, stage: Stage, worker: ForkedWorker, primary: PostgresServer, standby: Standby
    ) -> None:
        mark = name()
        job_ids: list[str] = []

        def load(count: int) -> None:
            for _ in range(count):
                job_ids.append(push(stage, mark, len(job_ids)))
                threading.Event().wait(PACE_SECONDS)

        load(40)
        administer(primary, "ALTER SYSTEM SET default_transaction_read_only = on")
        load(20)
        worker.wait(lambda: "read-only transaction" in worker.log)
        primary.kill()
        load(20)
        standby.promote()

        worker.wait(lambda: ended_well(stage) == set(job_ids))
        assert Counter(one.text for one in stage.bridge.sent if mark in one.text) == Counter(
            f"{mark} {job_id}" for job_id in job_ids
        )


def administer(server: PostgresServer, statement: Any) -> None:
    with psycopg.connect(server.admin_dsn, autocommit=True) as connection:
        connection.execute(statement)
        connection.execute("SELECT pg_reload_conf()")


def push(stage: Stage, mark: str, number: int) -> str:
    """Put a job in and return its id, which also stands in its text."""
    job_id = f"{mark}-{number}"
    fields = {"chat": FRIEND_CHAT, "text": f"{mark} {job_id}", "job_id": job_id, "ordered": False}
    stage.push(envelope(SEND, fields))
    return job_id


def push_until_away(stage: Stage, mark: str, accepted: list[str]) -> None:
    """Put jobs in until Redis is gone; note those that the replica has."""
    try:
        for number in range(10_000):
            job_id = push(stage, mark, number)
            if stage.redis.wait(1, 1000):
                accepted.append(job_id)
            threading.Event().wait(PACE_SECONDS)
    except redis.ConnectionError:
        return


def ended_well(stage: Stage) -> set[str]:
    return {row["job_id"] for row in stage.rows("SELECT job_id FROM jobs WHERE status = 'succeeded'")}
