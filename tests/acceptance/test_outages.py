"""Redis stops, freezes, fills up and breaks off in mid-command; a worker stops whatever hangs: nothing is lost or sent twice.

After each fault the worker must not only be alive but consume: a job goes through, and remote control answers.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.acceptance.conftest import SEND, Stage, StageMaker, check_consuming, end_of, name, start_front_and_main
from tests.parts.fault_proxy import FaultProxy
from tests.parts.nursery import ForkedWorker, Nursery
from tests.parts.sabotage import Sabotage
from tests.parts.worker import wait_until
from worker68.simulator.population import FRIEND

SETTINGS: dict[str, Any] = {"LEASE_TTL": 6, "VERDICT_TIMEOUT": 10}
FRIEND_CHAT = {"type": "friend", "id": FRIEND}
#: Verdicts are waited for for some seconds only. All else may take its time: no step is given up, however slow the machine is.
SHORT_STOP = Sabotage(
    constants={"runtime.CUT_AFTER_SECONDS": 3.0, "runtime.RECORD_SECONDS": 60.0, "watchdog.END_AFTER_SECONDS": 300.0}
)
#: Longer than every timeout of a call to Redis.
FROZEN_SECONDS = 20.0


@pytest.fixture(scope="module")
def redis_stage(make_stage: StageMaker) -> Stage:
    return make_stage(**SETTINGS)


@pytest.fixture(scope="module")
def proxy(redis_stage: Stage) -> Iterator[FaultProxy]:
    port = urlsplit(redis_stage.redis_server.url).port
    assert port is not None
    with FaultProxy(port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def worker(
    redis_stage: Stage, proxy: FaultProxy, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForkedWorker]:
    """A worker that reaches Redis through the proxy."""
    settings = redis_stage.worker.settings | {"REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"}
    worker = nursery.worker(settings, tmp_path_factory.mktemp("worker") / "worker.log")
    worker.start()
    worker.wait_ready()
    yield worker
    worker.kill()


class TestRedis:
    def test_connections_cut_in_mid_command(self, redis_stage: Stage, worker: ForkedWorker, proxy: FaultProxy) -> None:
        mark = name()
        results = []
        for number in range(40):
            results.append(redis_stage.send(f"{mark} {number}", chat=FRIEND_CHAT))
            if number % 4 == 0:
                before = proxy.cuts
                proxy.cut_after(50 + 211 * number)
                wait_until(lambda before=before: proxy.cuts > before, lambda: worker.last_words)  # type: ignore[misc]
        assert {end_of(redis_stage, worker, result)["status"] for result in results} == {"succeeded"}
        numbers = [int(one.text.split()[-1]) for one in redis_stage.bridge.sent if mark in one.text]
        assert numbers == list(range(40))
        check_consuming(redis_stage, worker)

    def test_frozen_for_longer_than_the_lease(self, redis_stage: Stage, worker: ForkedWorker) -> None:
        words = name()
        result = redis_stage.send(words)
        redis_stage.redis_server.pause()
        worker.wait(lambda: "lease_lost" in worker.log_since_start)
        redis_stage.redis_server.resume()
        assert end_of(redis_stage, worker, result)["status"] == "succeeded"
        assert redis_stage.sent(words) == 1
        check_consuming(redis_stage, worker)

    def test_frozen_for_twenty_seconds_under_load(self, redis_stage: Stage, worker: ForkedWorker) -> None:
        mark = name()
        results = [redis_stage.send(f"{mark} {number}", chat=FRIEND_CHAT) for number in range(100)]
        worker.wait(lambda: sum(mark in one.text for one in redis_stage.bridge.sent) >= 5)
        redis_stage.redis_server.pause()
        worker.wait(lambda: "lease_lost" in worker.log_since_start)
        threading.Event().wait(FROZEN_SECONDS)
        assert worker.running
        redis_stage.redis_server.resume()
        assert {end_of(redis_stage, worker, result)["status"] for result in results} == {"succeeded"}
        numbers = [int(one.text.split()[-1]) for one in redis_stage.bridge.sent if mark in one.text]
        assert numbers == list(range(100))
        check_consuming(redis_stage, worker)

    def test_scripts_flushed_and_every_connection_cut(
        self, redis_stage: Stage, worker: ForkedWorker, proxy: FaultProxy
    ) -> None:
        redis_stage.redis.script_flush()
        proxy.cut()
        check_consuming(redis_stage, worker)

    def test_full(self, redis_stage: Stage, worker: ForkedWorker) -> None:
        """Producers are refused then; what was accepted before waits, and its reply comes when there is room."""
        words, reply_to = name(), name()
        redis_stage.bridge.faults.hold_verdicts = True
        redis_stage.send(words, reply_to=reply_to)
        worker.wait(lambda: redis_stage.frames(words))
        waiting_words = name()
        waiting = redis_stage.send(waiting_words)
        redis_stage.redis.config_set("maxmemory", 1)
        redis_stage.bridge.faults.clear()
        try:
            worker.wait(lambda: "refuses to work at present" in worker.log_since_start)
            worker.wait(lambda: redis_stage.rows("SELECT id FROM outbox WHERE kind = 'reply'"))
        finally:
            redis_stage.redis.config_set("maxmemory", 0)
        assert redis_stage.take_reply(reply_to)["status"] == "succeeded"
        assert end_of(redis_stage, worker, waiting)["status"] == "succeeded"
        assert redis_stage.sent(words) == redis_stage.sent(waiting_words) == 1
        check_consuming(redis_stage, worker)

    def test_stopped_and_started_again(self, redis_stage: Stage, worker: ForkedWorker) -> None:
        result = redis_stage.send(name())
        before = worker.log.count("redis_away")
        redis_stage.redis_server.kill()
        worker.wait(lambda: worker.log.count("redis_away") > before)
        redis_stage.redis_server.restart()
        redis_stage.reconnect()
        assert end_of(redis_stage, worker, redis_stage.celery.AsyncResult(result.id))["status"] == "succeeded"
        check_consuming(redis_stage, worker)


@pytest.fixture
def patient_stage(make_stage: StageMaker) -> Stage:
    """One whose verdicts are waited for as if for ever."""
    return make_stage(**(SETTINGS | {"VERDICT_TIMEOUT": 600}))


class TestStop:
    """A bridge that never answers again, and the signals that Celery's users know."""

    @pytest.fixture
    def stopping(self, patient_stage: Stage, nursery: Nursery, tmp_path: Path) -> Iterator[ForkedWorker]:
        worker = nursery.worker(patient_stage.worker.settings, tmp_path / "worker.log")
        yield worker
        worker.kill()
        patient_stage.bridge.faults.clear()

    def send_in_vain(self, stage: Stage, worker: ForkedWorker) -> tuple[str, str]:
        """Let one send wait for a verdict that never comes, and another one wait behind it; return their texts."""
        stage.bridge.faults.verdict = "swallowed"
        words, waiting_words = name(), name()
        stage.send(words, job_id=words)
        stage.send(waiting_words, job_id=waiting_words)
        worker.wait(lambda: stage.frames(words) and stage.row(waiting_words))
        return words, waiting_words

    def check_left(self, stage: Stage, words: str, waiting_words: str) -> None:
        """What was sent is in doubt, and said so; what was not is ready as before."""
        sent, waiting = stage.row(words), stage.row(waiting_words)
        assert sent is not None
        assert waiting is not None
        assert (sent["status"], sent["error_code"]) == ("in_doubt", "connection_lost")
        assert (waiting["state"], waiting["attempts"]) == ("ready", 0)
        assert stage.rows("SELECT id FROM outbox") == []
        assert stage.redis.keys("worker68:lease:*") == []

    def test_a_bridge_that_never_answers_does_not_hold_up_the_stop(
        self, patient_stage: Stage, stopping: ForkedWorker
    ) -> None:
        stopping.start(SHORT_STOP)
        texts = self.send_in_vain(patient_stage, stopping)
        stopping.terminate()
        stopping.wait_for_end()
        self.check_left(patient_stage, *texts)

    def test_sigquit_does_not_wait(self, patient_stage: Stage, stopping: ForkedWorker) -> None:
        stopping.start()
        texts = self.send_in_vain(patient_stage, stopping)
        stopping.quit()
        self.check_left(patient_stage, *texts)

    def test_sigterm_then_sigquit_does_not_wait_any_more(self, patient_stage: Stage, stopping: ForkedWorker) -> None:
        stopping.start()
        texts = self.send_in_vain(patient_stage, stopping)
        stopping.terminate()
        stopping.wait(lambda: "Warm shutdown" in stopping.log_since_start)
        stopping.quit()
        self.check_left(patient_stage, *texts)

    def test_further_sigterms_change_nothing(self, patient_stage: Stage, stopping: ForkedWorker) -> None:
        """Also not where one comes while the one before is being handled."""
        stopping.start()
        patient_stage.bridge.faults.extra_verdict_delay_seconds = 2
        words = name()
        result = patient_stage.send(words)
        stopping.wait(lambda: patient_stage.frames(words))
        for _ in range(50):
            stopping.terminate()
        stopping.stop()
        assert end_of(patient_stage, stopping, result)["status"] == "succeeded"

    def test_what_hangs_for_ever_is_ended_as_by_a_crash(self, patient_stage: Stage, stopping: ForkedWorker) -> None:
        """Redis answers nothing, and so neither does Celery's own shutdown."""
        stopping.start(Sabotage(constants={"runtime.CUT_AFTER_SECONDS": 0.5, "watchdog.END_AFTER_SECONDS": 1.0}))
        stopping.wait_ready()
        patient_stage.redis_server.pause()
        try:
            stopping.stop()
        finally:
            patient_stage.redis_server.resume()


def test_one_job_id_taken_in_by_two_workers_at_once_is_one_job(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path
) -> None:
    """One worker owns the account, the other the front door: each takes the same job in, at the same time, and once more later."""
    stage = make_stage("postgresql", **(SETTINGS | {"LEASE_TTL": 30}))
    front, main = (nursery.worker(stage.worker.settings, tmp_path / f"{each}.log") for each in ("front", "main"))
    start_front_and_main(stage, front, main)
    mark, reply_to = name(), name()

    def produce(queue: str) -> None:
        for number in range(30):
            words = f"{mark} {number}"
            stage.celery.send_task(
                SEND, queue=queue, kwargs={"chat": FRIEND_CHAT, "text": words, "job_id": words, "reply_to": reply_to}
            )

    def produce_twice() -> list[dict[str, Any]]:
        producers = [threading.Thread(target=produce, args=(queue,)) for queue in ("worker68", "worker68.main")]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join()
        return [stage.take_reply(reply_to) for _ in range(60)]

    replies, later = produce_twice(), produce_twice()

    assert {reply["status"] for reply in replies + later} == {"succeeded"}
    assert len({reply["task_id"] for reply in replies + later}) == 120
    assert len({reply["reply_id"] for reply in replies + later}) == 30
    assert Counter(one.text for one in stage.bridge.sent) == Counter(f"{mark} {number}" for number in range(30))
    front.kill()
    main.kill()
