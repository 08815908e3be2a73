"""A restart, of the 68 client or of the worker, in the middle of everything: the other jobs wait, and none of them fails."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, MEMBER, Stage, StageMaker, name
from worker68.simulator import build_world
from worker68.simulator.population import FRIEND, OTHER_FRIEND, OWNED_GROUP, PLAIN_GROUP

CHATS: list[dict[str, Any]] = [{"type": "friend", "id": FRIEND}, {"type": "friend", "id": OTHER_FRIEND}]


@pytest.fixture(scope="module")
def shared_stage(make_stage: StageMaker) -> Stage:
    limits = dict.fromkeys(("account", "chat", "send", "moderate"), "1000/s+1000") | {"read": "20/s"}
    stage = make_stage("postgresql", LIMITS=json.dumps(limits), VERDICT_TIMEOUT=60)
    fresh = build_world(members=60, page_size=2)
    stage.bridge.world.people, stage.bridge.world.groups = fresh.people, fresh.groups
    stage.bridge.world.page_size = 2
    stage.worker.start()
    stage.worker.wait_ready()
    return stage


@pytest.mark.parametrize("replies", [False, True], ids=["no reply", "restarting"])
def test_the_other_jobs_wait_and_none_of_them_fails(stage: Stage, replies: bool) -> None:
    bridge, mark = stage.bridge, name()
    bridge.faults.restarting_reply = replies
    bridge.faults.restart_seconds = 0.5
    bridge.faults.extra_verdict_delay_seconds = 0.3
    before, pages = len(bridge.received), len(stage.calls("GroupMemberList"))
    members = stage.send_task("worker68.sync_group_members", group_id=PLAIN_GROUP)
    stage.wait(lambda: len(stage.calls("GroupMemberList")) > pages + 3)  # in its middle
    jobs = [stage.send(f"{mark} {n}", chat=CHATS[n % 2]) for n in range(8)]
    stage.wait_for_sent(mark, 1)

    restart = stage.send_task("worker68.restart_client")
    jobs += [stage.send(f"{mark} {n}", chat=CHATS[n % 2]) for n in range(8, 16)]
    jobs += [
        stage.send_task("worker68.mute_member", group_id=OWNED_GROUP, user_id=MEMBER, seconds=60),
        stage.send_task("worker68.set_group_notice", group_id=GROUP, notice=f"{mark} notice"),
        stage.send_task("worker68.sync_group", group_id=GROUP),
        stage.send_task("worker68.get_api_url"),
    ]

    ends = [stage.end_of(job) for job in [restart, members, *jobs]]

    assert [(end["status"], end["error"]) for end in ends] == [("succeeded", None)] * len(ends)
    assert ends[0]["result"]["restarted_in"] > 0
    assert [end["attempts"] for end in ends[2:18]] == [1] * 16, "no send was under way at the restart"
    assert ends[1]["attempts"] == 1, "a long read goes on where it was"
    assert (ends[1]["result"]["count"], "complete" in ends[1]["result"]) == (60, False)
    texts = [sent.text for sent in bridge.sent if mark in sent.text and "notice" not in sent.text]
    for chat in range(2):
        assert [text for text in texts if int(text.split()[1]) % 2 == chat] == [
            f"{mark} {n}" for n in range(chat, 16, 2)
        ]
    received = list(bridge.received)[before:]
    (at,) = (place for place, one in enumerate(received) if one.frame["type"] == "restart68")
    connections = {one.connection for one in received[:at]}, {one.connection for one in received[at + 1 :]}
    assert connections[0].isdisjoint(connections[1])
    assert received[at + 1].frame["type"] == "getApiUrl"
    assert bridge.connections == 1


def test_a_client_that_is_logged_out_of_its_server_can_be_restarted(stage: Stage) -> None:
    """It is why one would. Its restart is over when it says Hello; what goes on to the service waits for the login."""
    bridge, words, before = stage.bridge, name(), len(stage.bridge.received)

    def written() -> list[str]:
        types = [one.frame["type"] for one in list(bridge.received)[before:]]
        return [one for one in types if one in ("restart68", "sendMsg")]

    bridge.faults.restart_seconds = 0.5
    bridge.log_out()
    stage.wait(lambda: "logged out" in stage.worker.log_since_start)
    waiting = stage.send(words)

    restart = stage.end_of(stage.send_task("worker68.restart_client"))

    assert (restart["status"], restart["error"]) == ("succeeded", None)
    assert written() == ["restart68"]
    bridge.log_in()
    assert stage.end_of(waiting)["status"] == "succeeded"
    assert written() == ["restart68", "sendMsg"]


def test_a_restart_of_a_client_that_is_logged_out_does_not_wait_for_its_login(stage: Stage) -> None:
    bridge = stage.bridge
    bridge.log_out()
    bridge.faults.silence.set("restart68", 1)
    first = stage.send_task("worker68.restart_client")
    second = stage.send_task("worker68.restart_client")

    # Written into the row once it has held for some seconds.
    stage.wait(lambda: (row := stage.row(second.id)) and row["reason"] == f"behind {first.id}, which is under way")
    bridge.drop_connections()

    assert [stage.end_of(job)["status"] for job in (first, second)] == ["succeeded", "succeeded"]


def test_a_worker_that_stops_leaves_a_long_read_to_the_next_one(stage: Stage) -> None:
    stage.bridge.faults.reply_delay_seconds = (
        0.5  # so that the rest of the list takes longer than any machine stands still
    )
    pages = len(stage.calls("GroupMemberList"))
    members = stage.send_task("worker68.sync_group_members", group_id=PLAIN_GROUP)
    stage.wait(lambda: len(stage.calls("GroupMemberList")) > pages + 3)

    assert stage.worker.stop() == 0

    row = stage.row(members.id)
    assert row is not None
    assert (row["state"], row["attempts"], row["progress"]) == ("ready", 0, None)
    stage.bridge.faults.clear()
    stage.worker.start()
    reply = stage.end_of(members)
    assert (reply["status"], reply["result"]["count"], reply["attempts"]) == ("succeeded", 60, 1)
