"""Outbound frames equal the documented ones, field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker68.jobs.fields import Chat, Quote
from worker68.protocol.messages import (
    FileMessage,
    Message,
    MuteAnnouncement,
    NoticeAnnouncement,
    TextMessage,
    encode_call,
    encode_message,
    expected_echo,
    find_never_sent,
    request_data,
)

FRAMES: dict[str, dict[str, Any]] = {
    frame["name"]: frame["request"]
    for frame in json.loads(
        (Path(__file__).parents[2] / "fixtures/protocol/frames.json").read_text(encoding="utf-8"),
    )
}
GROUP = Chat("group", 389284)
CONTENT = "这里改成你的消息"

MESSAGES: dict[str, Message] = {
    "send_friend_text": TextMessage(Chat("friend", 7237423), CONTENT),
    "send_group_text": TextMessage(GROUP, CONTENT),
    "send_multiline_text": TextMessage(GROUP, "发送多行文本\n123\n1234"),
    "send_notice_changed": NoticeAnnouncement(GROUP.id, "新的群通知"),
    "send_group_shutup": MuteAnnouncement(GROUP.id, "管理员开了全员禁言", muted=True),
    "send_file": FileMessage(GROUP, "C:/Users/rtuge/Desktop/b.mp4"),
}
CALLS = [name for name in FRAMES if name not in MESSAGES]


@pytest.mark.parametrize("name", MESSAGES)
def test_message_equals_the_documented_frame(name: str) -> None:
    documented = FRAMES[name]
    assert json.loads(encode_message(documented["id"], MESSAGES[name], None, "escaped")) == documented


@pytest.mark.parametrize("name", CALLS)
def test_call_equals_the_documented_frame(name: str) -> None:
    documented = FRAMES[name]
    data: Any = documented.get("data")
    if documented["type"] == "request":
        data = request_data(data["type"], data["url"], data.get("data"), data.get("protoType"))
    assert json.loads(encode_call(documented["id"], documented["type"], data)) == documented


def test_custom_msg_id_of_a_text_lies_in_its_data() -> None:
    frame = json.loads(encode_message("1", MESSAGES["send_group_text"], "12345678901", "escaped"))
    assert frame["data"].pop("custom_msg_id") == "12345678901"
    assert frame == FRAMES["send_group_text"] | {"id": "1"}


def test_custom_msg_id_of_a_file_lies_beside_its_data() -> None:
    frame = json.loads(encode_message("1", MESSAGES["send_file"], "12345678901", "escaped"))
    assert frame.pop("custom_msg_id") == "12345678901"
    assert frame == FRAMES["send_file"] | {"id": "1"}


@pytest.mark.parametrize(("newline", "content"), [("escaped", "a\\nb"), ("raw", "a\nb")])
def test_line_break_is_written_as_set(newline: Any, content: str) -> None:
    frame = json.loads(encode_message("1", TextMessage(GROUP, "a\r\nb"), None, newline))
    assert frame["data"]["list"][0]["values"]["content"] == content


def test_quote_and_mentions() -> None:
    quote = Quote(message_id=77, text="well\nthen", user_id=5, name="Eve", custom_msg_id=20298293316)
    frame = json.loads(encode_message("1", TextMessage(GROUP, "hello", quote, (5, 6)), None, "escaped"))
    assert frame["data"]["list"][0]["values"] == {"chatType": 0, "content": "hello", "atUids": [5, 6]}
    assert frame["data"]["quoteInfo"] == {
        "chatType": 0,
        "content": "well\\nthen",
        "MsgID": 77,
        "customMsgId": "20298293316",
        "isSelf": False,
        "user": {"uid": 5, "nickName": "Eve"},
    }


def test_lifting_a_mute_says_so() -> None:
    frame = json.loads(encode_message("1", MuteAnnouncement(GROUP.id, "free again", muted=False), None, "escaped"))
    assert frame["data"]["list"][0]["values"]["bfShutup"] is False


def test_echo_is_expected_with_either_line_break_and_a_file_by_its_name() -> None:
    assert expected_echo(TextMessage(GROUP, "a\nb"), "escaped") == {"a\\nb", "a\nb"}
    assert expected_echo(FileMessage(GROUP, r"C:\files\ui.xml"), "escaped") == {"ui.xml"}


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("eval(1)", "eval("),
        ("e v a l (1)", "eval("),
        ("require('child_process')", "child_process"),
        ("run it.exec utable", ".exec"),
        ("atob('aGk=')", "atob("),
        ("evaluate, executive, atob", None),
        ("eval\n(1)", None),
        ("", None),
    ],
)
def test_a_text_that_the_client_never_sends_is_found(text: str, mark: str | None) -> None:
    assert find_never_sent(text) == mark
