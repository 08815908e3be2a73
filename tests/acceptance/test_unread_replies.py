"""A list of replies that nobody reads, filled all the time: what is old ends, what is new stays, and it is warned about."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.conftest import StageMaker, end_of, name
from tests.parts.nursery import Nursery
from tests.parts.sabotage import Sabotage


def test_the_oldest_end_while_new_ones_keep_the_list_alive(
    make_stage: StageMaker, nursery: Nursery, tmp_path: Path
) -> None:
    stage = make_stage(REPLY_TTL=8)
    worker = nursery.worker(stage.worker.settings, tmp_path / "worker.log")
    worker.start(Sabotage(constants={"execution.unread.LOOK_SECONDS": 0.5}))
    worker.wait_ready()
    reply_to = name()
    key = f"worker68:replies:{reply_to}"
    oldest = end_of(stage, worker, stage.send(name(), reply_to=reply_to))
    worker.wait(lambda: stage.redis.llen(key) == 1)

    def fill() -> bool:
        end_of(stage, worker, stage.send(name(), reply_to=reply_to))
        return "replies_ended_unread" in worker.log

    worker.wait(fill)

    left = [json.loads(str(reply))["reply_id"] for reply in stage.redis.lrange(key, 0, -1)]
    assert left
    assert oldest["reply_id"] not in left
    assert "replies_unread" in worker.log
    worker.kill()
