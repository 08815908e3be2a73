"""Moderation that is told "busy", or nothing, for ever: it is repeated, then read back, before it is said to have failed.

Each account has a bridge with a fault of its own; what is made anyway and what is not is asked for at once, because the tries of
each take seconds.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, MEMBER, Stage, StageMaker, name
from worker68.simulator import ALWAYS
from worker68.simulator.population import OWNED_GROUP

ACCOUNTS = ("silent_done", "silent", "busy_done", "busy")
NOTICE = name()


@pytest.fixture(scope="module")
def shared_stage(make_stage: StageMaker) -> Stage:
    stage = make_stage(accounts={account: {} for account in ACCOUNTS})
    stage.worker.start()
    stage.worker.wait_ready()
    return stage


@pytest.fixture(scope="module")
def replies(shared_stage: Stage) -> dict[str, dict[str, Any]]:
    """Return for each account the replies of its three jobs."""
    stage = shared_stage
    for account, bridge in stage.bridges.items():
        faults = bridge.faults
        faults.done_anyway = account.endswith("_done")
        if account.startswith("silent"):
            faults.silence.set("GroupUpdate", ALWAYS)
            faults.silence.set("GroupMemberShutup", ALWAYS)
        elif account.startswith("busy"):
            faults.busy_changes.set(ALWAYS)
    jobs: dict[str, tuple[str, dict[str, Any]]] = {
        "mute_group": ("mute_group", {"group_id": GROUP}),
        "set_group_notice": ("set_group_notice", {"group_id": OWNED_GROUP, "notice": NOTICE}),
        "mute_member": ("mute_member", {"group_id": OWNED_GROUP, "user_id": MEMBER, "seconds": 60}),
    }
    results = {
        (account, key): stage.send_task(f"worker68.{task}", f"worker68.{account}", **fields)
        for account in ACCOUNTS
        for key, (task, fields) in jobs.items()
    }
    return {account: {key: stage.end_of(results[account, key]) for key in jobs} for account in ACCOUNTS}


TRIES = {"silent": 4, "busy": 5}


@pytest.mark.parametrize("account", ["silent_done", "busy_done"])
def test_what_was_made_is_found_by_reading_back_and_announced(
    stage: Stage, replies: dict[str, Any], account: str
) -> None:
    bridge, tries = stage.bridges[account], TRIES[account.removesuffix("_done")]

    mute, notice = replies[account]["mute_group"], replies[account]["set_group_notice"]

    assert (mute["status"], mute["result"]["muted"], mute["attempts"]) == ("succeeded", True, tries + 1)
    assert type(mute["result"]["announcement"]["message_id"]) is int
    assert (notice["status"], notice["attempts"]) == ("succeeded", tries + 1)
    shown = bridge.world.groups[OWNED_GROUP].notice
    assert shown is not None
    assert notice["result"]["notice_id"] == shown.notice_id
    updates = [call["op"] for call in stage.calls("GroupUpdate", bridge)]
    assert (updates.count(11), updates.count(12)) == (tries, tries)
    assert sorted(sent.content_type for sent in bridge.sent) == [8, 50]


@pytest.mark.parametrize(("account", "code"), [("silent", "unavailable"), ("busy", "busy")])
def test_what_was_not_made_has_failed_and_is_not_announced(
    stage: Stage, replies: dict[str, Any], account: str, code: str
) -> None:
    for reply in (replies[account]["mute_group"], replies[account]["set_group_notice"]):
        assert (reply["status"], reply["result"], reply["error"]["code"]) == ("failed", None, code)
        assert reply["attempts"] == TRIES[account]
    assert len(stage.bridges[account].sent) == 0
    assert stage.calls("GroupDetail", stage.bridges[account]), "the notice was read back"
    types = [one.frame["type"] for one in stage.bridges[account].received]
    assert "getGroups" in types, "the mute was read back"


@pytest.mark.parametrize(
    ("account", "code"),
    [("silent", "unavailable"), ("silent_done", "unavailable"), ("busy", "busy"), ("busy_done", "busy")],
)
def test_a_members_mute_is_shown_nowhere_so_that_it_has_failed_by_the_bridges_word(
    stage: Stage, replies: dict[str, Any], account: str, code: str
) -> None:
    reply = replies[account]["mute_member"]

    assert (reply["status"], reply["error"]["code"]) == ("failed", code)
    assert reply["attempts"] == len(stage.calls("GroupMemberShutup", stage.bridges[account]))
