"""What the producers of an account may ask for: whatever is not permitted never reaches the bridge."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.conftest import GROUP, GROUP_CHAT, MEMBER, Stage, StageMaker, name

FILES = {
    "allowed_file_roots": ["C:/outbox", r"\\nas\share\out"],
    "allowed_paths": ["/user/userInfo", "/wallet/show"],
}
READER = {"allowed_tasks": ["worker68.sync_group", "worker68.send_file"]}


@pytest.fixture(scope="module")
def shared_stage(make_stage: StageMaker) -> Stage:
    stage = make_stage(accounts={"files": FILES, "reader": READER}, REPLY_TIMEOUT=30)
    stage.worker.start()
    stage.worker.wait_ready()
    return stage


def run(stage: Stage, account: str, task: str, **fields: Any) -> dict[str, Any]:
    return stage.run(task, f"worker68.{account}", **fields)


def check_refused(stage: Stage, account: str, task: str, **fields: Any) -> None:
    """It fails at once, and nothing at all is written to the bridge."""
    bridge = stage.bridges[account]
    before = len(bridge.received)
    reply = run(stage, account, task, **fields)
    assert (reply["status"], reply["error"]["code"]) == ("failed", "not_permitted"), reply
    assert (reply["result"], reply["attempts"]) == (None, 0)
    assert len(bridge.received) == before


@pytest.mark.parametrize(
    "path",
    [
        "C:/outbox/b.mp4",
        r"c:\OUTBOX\deep\er\b.mp4",
        "C:/outbox/x/../b.mp4",
        r"\\NAS\Share\out\b.mp4",
        "//nas/share/out/b.mp4",
    ],
)
def test_a_file_below_a_root_is_sent(stage: Stage, path: str) -> None:
    reply = run(stage, "files", "send_file", chat=GROUP_CHAT, path=path)

    assert reply["status"] == "succeeded"
    assert stage.bridges["files"].received[-1].frame["data"]["file"] == path


@pytest.mark.parametrize(
    "path",
    [
        "C:/Windows/win.ini",
        "C:/outbox",
        "C:/outbox/../Windows/win.ini",
        r"C:\outbox\..\..\Windows\win.ini",
        "C:/outbox2/b.mp4",
        "D:/outbox/b.mp4",
        "C:outbox/b.mp4",
        "/outbox/b.mp4",
        "outbox/b.mp4",
        r"\\other\share\out\b.mp4",
        r"\\?\C:\outbox\..\Windows\win.ini",
        r"\\.\C:\outbox\b.mp4",
        "C:/outbox/.. /Windows/win.ini",
        "C:/outbox/.../b.mp4",
        "C:/outbox/b.mp4:stream",
        "C:/outbox/b.mp4.",
        "C:/outbox/CON",
        "C:/outbox/\x00/../../x",
        "file:///C:/outbox/b.mp4",
    ],
)
def test_a_file_elsewhere_is_not_permitted(stage: Stage, path: str) -> None:
    check_refused(stage, "files", "send_file", chat=GROUP_CHAT, path=path)


def test_by_default_no_file_may_be_sent(stage: Stage) -> None:
    check_refused(stage, "main", "send_file", chat=GROUP_CHAT, path="C:/outbox/b.mp4")


@pytest.mark.parametrize("path", ["/user/userInfo", "/wallet/show"])
def test_a_call_by_a_path_of_the_settings_is_made(stage: Stage, path: str) -> None:
    bridge = stage.bridges["files"]
    run(stage, "files", "request", type="UserInfo", path=path, data={"x": 1})

    call = bridge.received[-1].frame["data"]
    assert call == {"type": "UserInfo", "url": bridge.world.api_url + path, "data": {"x": 1}}


@pytest.mark.parametrize(
    "path",
    [
        "/group/groupUpdate",
        "/user/userinfo",
        "/user/userInfo/",
        "//evil.example/user/userInfo",
        "@evil.example/user/userInfo",
        ".evil.example/user/userInfo",
        "https://evil.example/user/userInfo",
        "/user/../user/userInfo",
        "/user/userInfo?x=1",
        "/user/userInfo#x",
        "/user%2FuserInfo",
        "\\user\\userInfo",
        "user/userInfo",
    ],
)
def test_any_other_path_is_not_permitted(stage: Stage, path: str) -> None:
    check_refused(stage, "files", "request", type="UserInfo", path=path)


def test_by_default_the_documented_paths_may_be_called(stage: Stage) -> None:
    assert run(stage, "main", "request", type="UserInfo", path="/user/userInfo")["status"] == "succeeded"
    check_refused(stage, "main", "request", type="Pay", path="/wallet/pay")


def test_an_account_takes_only_its_tasks(stage: Stage) -> None:
    assert run(stage, "reader", "sync_group", group_id=GROUP)["status"] == "succeeded"
    check_refused(stage, "reader", "send_message", chat=GROUP_CHAT, text="x")
    check_refused(stage, "reader", "request", type="UserInfo", path="/user/userInfo")
    check_refused(stage, "reader", "restart_client")
    check_refused(stage, "reader", "send_file", chat=GROUP_CHAT, path="C:/outbox/b.mp4")


def test_what_is_permitted_no_more_when_its_turn_comes_is_not_run(stage: Stage) -> None:
    """Also the announcement of a change that was made: its result says so."""
    bridge, words = stage.bridges["files"], name()
    stage.hold_replies("files")
    queue = "worker68.files"
    notice = stage.send_task("worker68.set_group_notice", queue, group_id=GROUP, notice=words)
    stage.wait(lambda: any(call["groupParam"]["notice"] == words for call in stage.calls("GroupUpdate", bridge)))
    bridge.log_out()
    bridge.faults.hold_replies = False
    file = stage.send_task("worker68.send_file", queue, chat=GROUP_CHAT, path="C:/outbox/late.mp4")
    call = stage.send_task("worker68.request", queue, type="Show", path="/wallet/show")
    mute = stage.send_task("worker68.mute_member", queue, group_id=GROUP, user_id=MEMBER, seconds=5)
    stage.wait(lambda: (stage.row(notice.id, "files") or {}).get("step") == 1)
    stage.wait(lambda: stage.row(mute.id, "files"))
    stage.worker.stop()

    tables = json.loads(str(stage.worker.settings["ACCOUNTS"]))
    tables["files"] = {"bridge_url": bridge.url, "allowed_tasks": ["worker68.send_file", "worker68.request"]}
    stage.worker.settings["ACCOUNTS"] = json.dumps(tables)
    before = len(bridge.received)
    bridge.faults.clear()
    bridge.log_in()
    stage.worker.start()

    replies = [stage.end_of(job) for job in (notice, file, call, mute)]
    assert [(reply["status"], reply["error"]["code"]) for reply in replies] == [("failed", "not_permitted")] * 4
    assert replies[0]["result"] is not None
    assert replies[0]["result"]["announcement"] is None
    assert type(replies[0]["result"]["notice_id"]) is int
    assert {one.frame["type"] for one in list(bridge.received)[before:]} <= {"getApiUrl"}
