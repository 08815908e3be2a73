"""A bridge that behaves as a real client is reported to: its queues, its batches, its echo before the verdict."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Stage, StageMaker, name
from worker68.simulator.population import FRIEND, OTHER_FRIEND
from worker68.simulator.scenario import load_scenario


@pytest.fixture(scope="module")
def shared_stage(make_stage: StageMaker) -> Stage:
    stage = make_stage(VERDICT_TIMEOUT=20)
    stage.bridge.follow(load_scenario("client-queues"))
    stage.worker.start()
    stage.worker.wait_ready()
    return stage


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    return shared_stage


def test_many_sends_wait_in_the_client_and_all_succeed_in_their_order(stage: Stage) -> None:
    mark = name()
    chats = [{"type": "friend", "id": uid} for uid in (FRIEND, OTHER_FRIEND)]
    results = [stage.send(f"{mark} {number}", chat=chats[number % 2]) for number in range(20)]
    assert [stage.end_of(result)["status"] for result in results] == ["succeeded"] * 20
    for chat in chats:
        sent = [int(one.text.split()[1]) for one in stage.bridge.sent if mark in one.text and one.chat_id == chat["id"]]
        assert sent == sorted(sent)
    assert len([one for one in stage.bridge.sent if mark in one.text]) == 20


def test_a_change_and_a_read_go_through(stage: Stage) -> None:
    assert stage.run("mute_member", group_id=389284, user_id=7128348, seconds=60)["status"] == "succeeded"
    assert stage.run("sync_contacts")["status"] == "succeeded"


def test_a_lost_login_is_believed_once_the_client_says_so(stage: Stage) -> None:
    """Until then sends are written, and get no proof: the client says 0 after 15 s, which proves nothing."""
    client = stage.bridge.faults.client
    client.logout_delay_seconds, client.give_up_seconds = 0.5, 12.0
    stage.bridge.log_out()
    stage.worker.wait_for_log("bridge_not_ready", "logged out")
    stage.bridge.log_in()
    words = name()
    assert stage.end_of(stage.send(words))["status"] == "succeeded"
    assert stage.sent(words) == 1
