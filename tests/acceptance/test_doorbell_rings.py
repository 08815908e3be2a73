"""Redis freezes, restarts, forgets its scripts and cuts connections; afterwards the doorbell rings again for an idle worker.

The look that the worker takes by itself comes so rarely here that it cannot be what finds the job.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stage, StageMaker, check_consuming, end_of, name
from tests.parts.nursery import ForkedWorker, Nursery
from tests.parts.sabotage import Sabotage
from tests.parts.worker import wait_until

#: Longer than any test waits.
POLL_SECONDS = 600.0
#: Longer than every timeout of a call to Redis.
FROZEN_SECONDS = 20.0
#: Who looks each second is never as idle as this.
IDLE_SECONDS = 3


@pytest.fixture(scope="module")
def stage(make_stage: StageMaker) -> Stage:
    return make_stage(LEASE_TTL=8)


@pytest.fixture
def worker(stage: Stage, nursery: Nursery, tmp_path: Path) -> Iterator[ForkedWorker]:
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    worker.start(Sabotage(constants={"broker.inbox.POLL_SECONDS": POLL_SECONDS}))
    worker.wait_ready()
    yield worker
    try:
        worker.stop()  # so that the next one need not wait for its lease to lapse
    finally:
        worker.kill()


def freeze(stage: Stage) -> None:
    stage.redis_server.pause()
    threading.Event().wait(FROZEN_SECONDS)
    stage.redis_server.resume()


def restart(stage: Stage) -> None:
    stage.redis_server.kill()
    stage.redis_server.restart()
    stage.reconnect()


def forget_scripts(stage: Stage) -> None:
    stage.redis.script_flush()


def cut_connections(stage: Stage) -> None:
    """The bell's first: whoever loses it while the other one is armed anew looks by itself, a second later."""
    for client_type in ("pubsub", "normal"):
        stage.redis.client_kill_filter(_type=client_type, skipme=True)
    stage.reconnect()


@pytest.mark.parametrize("fault", [freeze, restart, forget_scripts, cut_connections])
def test_an_idle_worker_hears_a_push_after(stage: Stage, worker: ForkedWorker, fault: Callable[[Stage], None]) -> None:
    check_rings(stage, worker)
    fault(stage)
    check_consuming(stage, worker)
    check_rings(stage, worker)


def check_rings(stage: Stage, worker: ForkedWorker) -> None:
    """A job that is pushed while nobody looks is run all the same."""
    wait_until(lambda: idle_seconds(stage) >= IDLE_SECONDS, lambda: worker.last_words)
    assert end_of(stage, worker, stage.send(name()))["status"] == "succeeded"


def idle_seconds(stage: Stage) -> int:
    """Return for how long the worker has not looked into its queues."""
    found = [int(one["idle"]) for one in stage.redis.client_list() if one["name"] == "worker68-intake"]
    return found[0] if len(found) == 1 else 0
