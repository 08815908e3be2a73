"""A service that says busy for ever: the job fails in the end, and only what the answer explains waits until then."""

from __future__ import annotations

import re

from tests.acceptance.conftest import GROUP, Ask, Stage, name, text_of
from worker68.simulator import ALWAYS

#: A send that is answered with busy waits so long for a verdict all the same, five times over.
STAGE = {"VERDICT_TIMEOUT": 3, "REPLY_TIMEOUT": 30}


def test_a_job_that_only_meets_busy_fails_and_keeps_its_place_until_then(stage: Stage) -> None:
    stage.bridge.faults.busy_sends.set(ALWAYS)
    words, next_words = name(), name()

    hopeless, following = stage.send(words), stage.send(next_words)
    stage.wait(lambda: hopeless.state == following.state == "DEFERRED")
    reply = stage.end_of(hopeless)
    stage.bridge.faults.clear()

    assert (reply["status"], reply["error"]["code"], reply["error"]["bridge_code"]) == ("failed", "busy", 300)
    assert reply["attempts"] == len(stage.frames(words)) == 5
    assert len({frame["data"]["custom_msg_id"] for frame in stage.frames(words)}) == 1
    assert stage.sent(words) == 0
    assert stage.end_of(following)["status"] == "succeeded"
    texts = [text_of(one.frame) for one in stage.bridge.received if one.frame["type"] == "sendMsg"]
    assert texts[:5] == [words] * 5
    assert set(texts[5:]) == {next_words}


def test_a_call_that_is_always_busy_fails_alone(stage: Stage, ask: Ask) -> None:
    """Page 0 of this list does not exist, and is answered so. [doc]"""
    stage.redis.delete("worker68:pace:{main}")  # a send met busy a moment ago: with that the account would slow down
    path, page = "/group/groupReqList", {"pageNum": 0, "pageSize": 100}
    broken = stage.send_task("worker68.request", type="GroupReqList", path=path, data=page)
    stage.wait(lambda: stage.redis.hget("worker68:pace:{main}", "call:GroupReqList:pace"))
    checked, top = ask("check").stdout, ask("top", "--once").stdout
    assert re.search(r"GroupReqList: slowed down to \d+% of its pace after busy answers", " ".join(checked.split()))
    assert "GroupReqList" in top
    others = [stage.send(name()), stage.send_task("worker68.sync_group", group_id=GROUP)]
    assert [stage.end_of(result)["status"] for result in others] == ["succeeded"] * 2

    reply = stage.end_of(broken)

    assert (reply["status"], reply["attempts"]) == ("failed", 5)
    assert (reply["error"]["code"], reply["error"]["bridge_code"]) == ("busy", 300)
    assert "#A0030" in reply["error"]["message"]
    assert stage.redis.hget("worker68:pace:{main}", "pace") is None, "the account is at full pace"
