"""A bridge from before ``custom_msg_id``: it makes ids of its own, so a verdict is tied to its send by chat and echo."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Stage, StageMaker, name
from worker68.simulator.population import FRIEND, OTHER_FRIEND


@pytest.fixture(scope="module", params=["auto", "chat"])
def shared_stage(make_stage: StageMaker, request: pytest.FixtureRequest) -> Stage:
    stage = make_stage(kind="old", VERDICT_MATCH=request.param)
    stage.worker.start()
    stage.worker.wait_ready()
    return stage


def test_a_send_succeeds(stage: Stage) -> None:
    words = f"{name()}\nsecond line"

    reply = stage.end_of(stage.send(words))

    (sent,) = [message for message in stage.bridge.sent if message.text == words]
    assert reply["status"] == "succeeded"
    assert reply["result"]["message_id"] == sent.message_id


def test_the_id_is_written_only_where_it_can_matter(stage: Stage) -> None:
    words = name()

    stage.end_of(stage.send(words))

    (frame,) = stage.frames(words)
    assert ("custom_msg_id" in frame["data"]) == (stage.worker.settings["VERDICT_MATCH"] == "auto")


def test_one_send_at_a_time_in_each_chat_and_all_succeed(stage: Stage) -> None:
    mark = name()
    chats = [{"type": "friend", "id": FRIEND}, {"type": "friend", "id": OTHER_FRIEND}]

    results = [stage.send(f"{mark} {n}", chat=chats[n % 2], ordered=n % 3 > 0) for n in range(12)]

    replies = [stage.end_of(result) for result in results]
    assert {reply["status"] for reply in replies} == {"succeeded"}
    by_text = {sent.text: sent.message_id for sent in stage.bridge.sent}
    assert [reply["result"]["message_id"] for reply in replies] == [by_text[f"{mark} {n}"] for n in range(12)]


def test_a_not_sent_that_is_tied_only_by_chat_is_in_doubt(stage: Stage) -> None:
    stage.bridge.faults.verdict = "not_sent"

    reply = stage.end_of(stage.send(name()))

    assert (reply["status"], reply["error"]["code"]) == ("in_doubt", "no_verdict")
