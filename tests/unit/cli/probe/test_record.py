"""The record of a probe: what it keeps of a frame, and that no name, text or address is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker68.cli.probe.record import BLANK, HOST, Record, blank
from worker68.cli.probe.wire import ProbeFailed

FIXTURES = Path(__file__).parents[3] / "fixtures" / "protocol"

#: Keys of the fixtures whose values are names, texts, handles or addresses.
PRIVATE = {
    *(
        "nickName",
        "name",
        "groupName",
        "groupAliasName",
        "identify",
        "signature",
        "content",
        "contentMd5",
        "notice",
        "msg",
    ),
    *("icon", "pic", "qrUrl", "fileKey", "fileName", "file", "letter"),
}


def fixture_frames() -> list[Any]:
    entries = [one for path in sorted(FIXTURES.glob("*.json")) for one in json.loads(path.read_text(encoding="utf-8"))]
    return [one[key] for one in entries for key in ("request", "reply", "frame") if one.get(key) is not None]


def private_values(value: Any, key: str = "") -> list[str]:
    if isinstance(value, dict):
        return [text for name, one in value.items() for text in private_values(one, name)]
    if isinstance(value, list):
        return [text for one in value for text in private_values(one, key)]
    return [value] if isinstance(value, str) and value and key in PRIVATE else []


def test_nothing_private_is_left_of_any_known_frame() -> None:
    frames = fixture_frames()
    found = [text for frame in frames for text in private_values(frame)]
    assert len(found) > 50
    left = json.dumps([blank(frame) for frame in frames], ensure_ascii=False)
    assert [text for text in found if len(text) > 4 and text in left] == []
    assert "http" not in left.replace(HOST, "")
    assert {text for frame in frames for text in private_values(blank(frame))} == {BLANK}


def test_a_known_frame_keeps_its_form() -> None:
    def form(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: form(one) for name, one in value.items()}
        return [form(one) for one in value] if isinstance(value, list) else type(value)

    for frame in fixture_frames():
        assert form(blank(frame)) == form(frame)


@pytest.mark.parametrize(
    ("frame", "left"),
    [
        ({"message": "Hello"}, {"message": "Hello"}),
        ({"message": "my name"}, {"message": BLANK}),
        (
            {"id": "probe-1a", "type": "getApiUrl", "data": "https://a.example"},
            {"id": "probe-1a", "type": "getApiUrl", "data": HOST},
        ),
        ({"data": "success"}, {"data": "success"}),
        ({"data": "13800138000"}, {"data": BLANK}),
        ({"url": "https://a.example/group/groupReqList"}, {"url": f"{HOST}/group/groupReqList"}),
        ({"uid": "7237423", "targetUid": 7237423}, {"uid": "7237423", "targetUid": 7237423}),
        ({"createTime": "1746527494000", "MsgID": 4667081534}, {"createTime": "1746527494000", "MsgID": 4667081534}),
        ({"customMsgId": "10441859254"}, {"customMsgId": "10441859254"}),
        ({"custom_msg_id": "104418592541"}, {"custom_msg_id": "104418592541"}),
        ({"phone": "13800138000", "account": "13800138000"}, {"phone": BLANK, "account": BLANK}),
        ({"phone": 13800138000, "privacy": 4256}, {"phone": 0, "privacy": 4256}),
        ({"content": "13800138000"}, {"content": BLANK}),
        ({"nickName": "1746527494000"}, {"nickName": BLANK}),
        (
            {"error": {"errorCode": 300, "errorDesc": "busy #A0030"}},
            {"error": {"errorCode": 300, "errorDesc": "busy #A0030"}},
        ),
        ({"uids": [1, "7237423"], "names": ["a"]}, {"uids": [1, "7237423"], "names": [BLANK]}),
        ({"unknown": {"deep": ["words", True, None, ""]}}, {"unknown": {"deep": [BLANK, True, None, ""]}}),
        (None, None),
    ],
)
def test_what_is_kept(frame: Any, left: Any) -> None:
    assert blank(frame) == left


def test_a_line_for_each_frame(tmp_path: Path) -> None:
    path = tmp_path / "probe.jsonl"
    record = Record(path, blanked=True)
    record.note(1, "out", {"id": "1", "type": "sendMsg", "data": {"content": "\ud800 words"}})
    record.note(2, "in", None)
    record.close()
    first, second = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert (first["connection"], first["way"], first["frame"]["data"]) == (1, "out", {"content": BLANK})
    assert (second["frame"], second["at"] >= first["at"] >= 0) == (None, True)


def test_what_is_asked_for_is_kept_whole(tmp_path: Path) -> None:
    record = Record(tmp_path / "probe.jsonl", blanked=False)
    record.note(1, "in", {"nickName": "词"})
    record.close()
    assert json.loads((tmp_path / "probe.jsonl").read_text())["frame"] == {"nickName": "词"}


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "probe.jsonl").write_text("mine")
    with pytest.raises(ProbeFailed, match=r"probe\.jsonl is there already"):
        Record(tmp_path / "probe.jsonl", blanked=True)
    with pytest.raises(ProbeFailed, match="cannot be written"):
        Record(tmp_path / "missing" / "probe.jsonl", blanked=True)
