"""A record played again: what followed a request follows it again, with the particulars of the request at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker68.simulator.replay import BadRecord, Replay, load_record

HEARTBEAT = {"operator": "network", "data": {"networkStatusType": "socketLogin"}}


def send(request_id: str, custom_msg_id: str | None, chat_id: int = 4008697, text: str = "…") -> dict[str, Any]:
    item = {"type": "text", "values": {"chatType": 0, "content": text}}
    data = {"id": chat_id, "type": "friend", "list": [item], "custom_msg_id": custom_msg_id}
    return {"id": request_id, "type": "sendMsg", "data": data}


def verdict(custom_msg_id: str, chat_id: int = 4008697) -> dict[str, Any]:
    entry = {"customMsgId": custom_msg_id, "updated": {"readStatus": 1, "MsgID": 77}}
    return {"operator": "msgListPropertyUpdate", "data": {"id": chat_id, "type": "friend", "list": [entry]}}


def echo(custom_msg_id: str) -> dict[str, Any]:
    return {"operator": "msgNew", "data": {"isSelf": True, "id": 4008697, "content": "…", "customMsgId": custom_msg_id}}


def page(number: int, request_id: str = "1") -> dict[str, Any]:
    call = {"type": "GroupReqList", "url": "https://x.example/group/groupReqList", "data": {"pageNum": number}}
    return {"id": request_id, "type": "request", "data": call}


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Make a replay of frames: (seconds, "in" or "out", frame), on the first connection if nothing else is said."""

    def make(*lines: Any) -> Replay:
        path = tmp_path / "record.jsonl"
        rows = [
            {"at": at, "connection": more[0] if more else 1, "way": way, "frame": frame}
            for at, way, frame, *more in lines
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return load_record(path)

    return make


def test_a_reply_comes_after_the_recorded_time_under_the_new_id(load: Any) -> None:
    replay = load((1.0, "out", page(1, "p1")), (1.5, "in", {"id": "p1", "type": "request", "data": {"count": 0}}))
    assert replay.play(page(1, "new")) == [(0.5, {"id": "new", "type": "request", "data": {"count": 0}})]


def test_pages_have_their_own_answers_and_others_that_of_the_kind(load: Any) -> None:
    replay = load(
        (1.0, "out", page(0, "p0")),
        (1.0, "out", page(1, "p1")),
        (1.1, "in", {"id": "p1", "data": "one"}),
        (1.2, "in", {"id": "p0", "error": {"errorCode": 300}}),
    )
    ((_, first),) = replay.play(page(1, "a"))
    ((_, zero),) = replay.play(page(0, "b"))
    assert (first["data"], zero["error"]) == ("one", {"errorCode": 300})
    assert replay.play(page(7, "c")) is not None


def test_answers_come_in_their_order_and_the_last_one_stays(load: Any) -> None:
    asked = {"id": "x", "type": "getGroups"}
    replay = load(
        *[
            (n, way, f)
            for n in (1, 2)
            for way, f in (("out", asked | {"id": str(n)}), ("in", {"id": str(n), "data": n}))
        ]
    )
    assert [replay.play(asked)[0][1]["data"] for _ in range(3)] == [1, 2, 2]


def test_silence_is_silence_and_what_is_not_recorded_is_none(load: Any) -> None:
    replay = load((1.0, "out", {"id": "1", "type": "worker68Probe"}), (1.5, "in", HEARTBEAT))
    assert replay.play({"id": "2", "type": "worker68Probe"}) == []
    assert replay.play({"id": "2", "type": "getGroups"}) is None
    assert replay.unasked == []


def test_what_is_said_of_a_message_is_said_of_the_new_one(load: Any) -> None:
    replay = load(
        (1.0, "out", send("p1", "11111111111")),
        (1.1, "in", echo("11111111111")),
        (1.2, "in", {"id": "p1", "type": "sendMsg", "data": "success"}),
        (1.4, "in", [HEARTBEAT, verdict("11111111111")]),
    )
    played = replay.play(send("new", "22222222222", 389284, "hello"))
    assert [round(after, 3) for after, _ in played] == [0.1, 0.2, 0.4]
    own, reply, batch = [frame for _, frame in played]
    assert (own["data"]["content"], own["data"]["customMsgId"], own["data"]["id"]) == ("hello", "22222222222", 389284)
    assert reply["id"] == "new"
    assert batch[1] == verdict("22222222222", 389284)


def test_where_the_bridge_makes_its_own_ids_the_chat_decides(load: Any) -> None:
    replay = load((1.0, "out", send("p1", "11111111111")), (1.4, "in", verdict("90000000009")))
    ((_, played),) = replay.play(send("new", "22222222222", 389284))
    assert played == verdict("90000000009", 389284)


def test_messages_of_eleven_and_twelve_digits_are_two_kinds(load: Any) -> None:
    replay = load(
        (1.0, "out", send("p1", "11111111111")),
        (1.4, "in", verdict("11111111111")),
        (2.0, "out", send("p2", "111111111112")),
    )
    assert len(replay.play(send("a", "33333333333"))) == 1
    assert len(replay.play(send("b", "33333333333"))) == 1
    assert replay.play(send("c", "333333333334")) == []


def test_other_events_keep_their_time(load: Any) -> None:
    other = {"operator": "groupUpdate", "data": {"id": 1}}
    stranger = {"operator": "msgNew", "data": {"isSelf": False, "id": 4008697, "content": "…"}}
    replay = load(
        (0.1, "in", {"message": "Hello"}),
        (1.0, "out", send("p1", "11111111111")),
        (2.0, "in", other),
        (3.0, "in", stranger),
    )
    assert replay.unasked == [(2.0, other), (3.0, stranger)]
    assert replay.play(send("new", "22222222222")) == []


def test_the_second_connection_is_left_out(load: Any) -> None:
    replay = load((1.0, "out", {"id": "1", "type": "getApiUrl"}), (1.1, "in", {"id": "1", "data": "x"}, 2))
    assert replay.play({"id": "2", "type": "getApiUrl"}) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1"),
        ('{"at":1}', "line 1"),
        ("", "no request is recorded"),
        ('{"at":1,"connection":1,"way":"in"}', "no request"),
    ],
)
def test_what_is_no_record_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "record.jsonl"
    path.write_text(text)
    with pytest.raises(BadRecord, match=f"record.jsonl.*{words}"):
        load_record(path)
    with pytest.raises(BadRecord, match="No such file"):
        load_record(tmp_path / "missing.jsonl")
