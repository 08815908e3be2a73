"""A list of replies that nobody reads, filled all the time: what is old ends, what is new stays, and it is warned about."""

from __future__ import annotations

import json

from tests.acceptance.conftest import StageMaker, name


def test_the_oldest_end_while_new_ones_keep_the_list_alive(make_stage: StageMaker) -> None:
    stage = make_stage(REPLY_TTL=8)
    stage.worker.start()
    stage.worker.wait_ready()
    reply_to = name()
    key = f"worker68:replies:{reply_to}"
    oldest = stage.end_of(stage.send(name(), reply_to=reply_to))
    stage.wait(lambda: stage.redis.llen(key) == 1)

    def fill() -> bool:
        stage.end_of(stage.send(name(), reply_to=reply_to))
        return "replies_ended_unread" in stage.worker.log

    stage.wait(fill)

    left = [json.loads(str(reply))["reply_id"] for reply in stage.redis.lrange(key, 0, -1)]
    assert left
    assert oldest["reply_id"] not in left
    assert "replies_unread" in stage.worker.log
