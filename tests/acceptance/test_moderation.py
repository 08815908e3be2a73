"""Moderation that is told "busy", or nothing, for ever: it is repeated, then read back, before it is said to have failed.

Each job has an account and a bridge of its own: a service that stays busy is asked by one job of an account at a time. All are
asked for at once, because the tries of each take seconds.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, MEMBER, Stage, StageMaker, name
from worker68.simulator import ALWAYS
from worker68.simulator.population import OWNED_GROUP

FAULTS = ("silent_done", "silent", "busy_done", "busy")
NOTICE = name()
#: A service that stays busy is asked by a probe now and then: five tries, a look and an announcement take more than a minute.
BUSY_SECONDS = 200.0
pytestmark = pytest.mark.timeout(300)
JOBS: dict[str, dict[str, Any]] = {
    "mute_group": {"group_id": GROUP},
    "set_group_notice": {"group_id": OWNED_GROUP, "notice": NOTICE},
    "mute_member": {"group_id": OWNED_GROUP, "user_id": MEMBER, "seconds": 60},
}


def account_of(fault: str, job: str) -> str:
    return f"{fault}-{job}"


@pytest.fixture(scope="module")
def shared_stage(make_stage: StageMaker) -> Stage:
    accounts: dict[str, dict[str, Any]] = {account_of(fault, job): {} for fault in FAULTS for job in JOBS}
    # Four times in vain, this takes no longer than what the busy ones wait.
    stage = make_stage(accounts=accounts, REPLY_TIMEOUT=8)
    stage.worker.start()
    stage.worker.wait_ready()
    return stage


@pytest.fixture(scope="module")
def replies(shared_stage: Stage) -> dict[str, dict[str, Any]]:
    """Return for each fault the replies of its jobs."""
    stage = shared_stage
    for account, bridge in stage.bridges.items():
        fault, faults = account.partition("-")[0], bridge.faults
        faults.done_anyway = fault.endswith("_done")
        if fault.startswith("silent"):
            faults.silence.set("GroupUpdate", ALWAYS)
            faults.silence.set("GroupMemberShutup", ALWAYS)
        elif fault.startswith("busy"):
            faults.busy_changes.set(ALWAYS)
    results = {
        (fault, job): stage.send_task(f"worker68.{job}", f"worker68.{account_of(fault, job)}", **fields)
        for fault in FAULTS
        for job, fields in JOBS.items()
    }
    return {fault: {job: stage.end_of(results[fault, job], BUSY_SECONDS) for job in JOBS} for fault in FAULTS}


TRIES = {"silent": 4, "busy": 5}


@pytest.mark.parametrize("fault", ["silent_done", "busy_done"])
def test_what_was_made_is_found_by_reading_back_and_announced(
    stage: Stage, replies: dict[str, Any], fault: str
) -> None:
    tries = TRIES[fault.removesuffix("_done")]
    mute, notice = replies[fault]["mute_group"], replies[fault]["set_group_notice"]
    muting, noting = (stage.bridges[account_of(fault, job)] for job in ("mute_group", "set_group_notice"))

    assert (mute["status"], mute["result"]["muted"], mute["attempts"]) == ("succeeded", True, tries + 1)
    assert type(mute["result"]["announcement"]["message_id"]) is int
    assert (notice["status"], notice["attempts"]) == ("succeeded", tries + 1)
    shown = noting.world.groups[OWNED_GROUP].notice
    assert shown is not None
    assert notice["result"]["notice_id"] == shown.notice_id
    for bridge, op, content_type in ((muting, 11, 50), (noting, 12, 8)):
        assert [call["op"] for call in stage.calls("GroupUpdate", bridge)] == [op] * tries
        assert [sent.content_type for sent in bridge.sent] == [content_type]


@pytest.mark.parametrize(("fault", "code"), [("silent", "unavailable"), ("busy", "busy")])
def test_what_was_not_made_has_failed_and_is_not_announced(
    stage: Stage, replies: dict[str, Any], fault: str, code: str
) -> None:
    muting, noting = (stage.bridges[account_of(fault, job)] for job in ("mute_group", "set_group_notice"))
    for reply in (replies[fault]["mute_group"], replies[fault]["set_group_notice"]):
        assert (reply["status"], reply["result"], reply["error"]["code"]) == ("failed", None, code)
        assert reply["attempts"] == TRIES[fault]
    assert (len(muting.sent), len(noting.sent)) == (0, 0)
    assert stage.calls("GroupDetail", noting), "the notice was read back"
    assert "getGroups" in [one.frame["type"] for one in muting.received], "the mute was read back"


@pytest.mark.parametrize(
    ("fault", "code"), [("silent", "unavailable"), ("silent_done", None), ("busy", "busy"), ("busy_done", None)]
)
def test_a_members_mute_is_read_back(stage: Stage, replies: dict[str, Any], fault: str, code: str | None) -> None:
    reply, bridge = replies[fault]["mute_member"], stage.bridges[account_of(fault, "mute_member")]

    assert reply["status"] == ("failed" if code else "succeeded")
    assert (reply["error"] or {"code": None})["code"] == code
    assert reply["attempts"] == len(stage.calls("GroupMemberShutup", bridge))
    assert stage.calls("ContactsDetail", bridge) == [{"targetUid": MEMBER, "groupId": OWNED_GROUP}]
