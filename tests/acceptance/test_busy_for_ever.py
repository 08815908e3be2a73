"""A service that says busy for ever: the job fails in the end, and the next one of its chat waits until then."""

from __future__ import annotations

from tests.acceptance.conftest import Stage, name
from worker68.simulator import ALWAYS

STAGE = {"VERDICT_TIMEOUT": 0.5}


def test_a_job_that_only_meets_busy_fails_and_keeps_its_place_until_then(stage: Stage) -> None:
    stage.bridge.faults.busy_sends.set(ALWAYS)
    words, next_words = name(), name()

    hopeless, following = stage.send(words), stage.send(next_words)
    stage.wait(lambda: len(stage.frames(words)) == 5)
    assert stage.frames(next_words) == []
    reply = stage.end_of(hopeless)
    stage.bridge.faults.clear()

    assert (reply["status"], reply["error"]["code"], reply["error"]["bridge_code"]) == ("failed", "busy", 300)
    assert reply["attempts"] == len(stage.frames(words)) == 5
    assert len({frame["data"]["custom_msg_id"] for frame in stage.frames(words)}) == 1
    assert stage.sent(words) == 0
    assert stage.end_of(following)["status"] == "succeeded"
