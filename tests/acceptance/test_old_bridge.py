"""A bridge from before ``custom_msg_id``: it makes ids of its own, so a verdict is tied to its send by chat and echo."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, Stage, StageMaker, name
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


def test_announcements_and_sends_to_a_group_take_turns_and_each_gets_its_own_verdict(stage: Stage) -> None:
    words = [name() for _ in range(9)]
    results = []
    for number, each in enumerate(words):
        match number % 3:
            case 0:
                results.append(stage.send_task("worker68.set_group_notice", group_id=GROUP, notice=each))
            case 1:
                fields: dict[str, Any] = {"group_id": GROUP, "muted": False, "announcement_text": each}
                results.append(stage.send_task("worker68.mute_group", **fields))
            case _:
                results.append(stage.send(each, ordered=False))

    replies = [stage.end_of(result) for result in results]

    assert [reply["status"] for reply in replies] == ["succeeded"] * 9
    by_text = {sent.text: sent.message_id for sent in stage.bridge.sent}
    told = [(reply["result"].get("announcement") or reply["result"])["message_id"] for reply in replies]
    assert told == [by_text[each] for each in words]
    assert [stage.sent(each) for each in words] == [1] * 9
