"""Inbound frames: the documented ones, the tolerances that PROTOCOL.md asks for, and anything else."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parts.frames import SEEN
from worker68.bridge import frames
from worker68.bridge.frames import (
    MOST_WORDS,
    SLICE_BYTES,
    Event,
    Hello,
    Malformed,
    Network,
    Notice,
    Reply,
    Sighting,
    Sightings,
    decode,
    decode_large,
    read_data,
)
from worker68.jobs.evidence import BridgeError, Verdict
from worker68.jobs.fields import Chat
from worker68.protocol.values import MOST_LEVELS, TOO_DEEP, decode_json

PROTOCOL = Path(__file__).parents[2] / "fixtures/protocol"
EVENTS = {event["name"]: event["frame"] for event in json.loads((PROTOCOL / "events.json").read_text(encoding="utf-8"))}
REPLIES = [
    frame["reply"] for frame in json.loads((PROTOCOL / "frames.json").read_text(encoding="utf-8")) if frame["reply"]
]
GROUP = Chat("group", 389284)


def read(frame: Any) -> Any:
    return decode(json.dumps(frame).encode())


def verdict_frame(entry: Any) -> dict[str, Any]:
    return {"operator": "msgListPropertyUpdate", "data": {"id": 389284, "type": "group", "list": [entry]}}


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply["type"])
def test_documented_reply(reply: dict[str, Any]) -> None:
    seen = read(reply)
    expected = BridgeError(300, reply["error"]["errorDesc"]) if "error" in reply else None
    assert seen.request_id == reply["id"]
    assert read_data(seen) == (reply.get("data"), expected)


def test_documented_state_events() -> None:
    assert read(EVENTS["hello"]) == Hello()
    assert read(EVENTS["network_up"]) == Network("socketLogin")
    assert read(EVENTS["network_down"]) == Network("socketLoginout")


@pytest.mark.parametrize("name", ["friend_message", "group_message", "group_renamed", "group_muted", "recall"])
def test_documented_event_passes_through_as_it_came(name: str) -> None:
    raw = json.dumps(EVENTS[name]).encode()
    assert decode(raw) == Event(EVENTS[name]["operator"], raw)


def test_documented_verdicts() -> None:
    sent = dt.datetime(2025, 12, 20, 9, 28, 27, 461000, dt.UTC)
    assert read(EVENTS["verdict_sent"]).seen == (Sighting(GROUP, "10441859254", Verdict.SENT, 4667081534, sent),)
    assert read(EVENTS["verdict_failed"]).seen == (Sighting(GROUP, "30984532587", Verdict.NOT_SENT, None, None),)


def test_documented_own_message() -> None:
    (seen,) = read(EVENTS["own_message"]).seen
    assert seen.echo
    assert seen.proves_sent
    assert (seen.chat, seen.custom_msg_id, seen.message_id, seen.text) == (GROUP, "10735110335", 4688196815, "ui.xml")


def test_own_message_that_the_client_has_taken() -> None:
    (seen,) = read(SEEN["own_message_pending"]["frame"]).seen
    assert seen.echo
    assert not seen.proves_sent
    assert (seen.chat, seen.custom_msg_id, seen.text) == (GROUP, "41241786539", "hello")


FRIENDS_REFUSAL = SEEN["refused_by_friend"]["frame"]


def refusal(**data: Any) -> dict[str, Any]:
    return {**FRIENDS_REFUSAL, "data": FRIENDS_REFUSAL["data"] | data}


def test_a_friends_refusal() -> None:
    raw = json.dumps(FRIENDS_REFUSAL).encode()
    assert decode(raw) == Notice("msgNew", raw, Chat("friend", 7128348), BridgeError(5114, "..."))


@pytest.mark.parametrize(
    ("data", "chat", "code"),
    [
        ({"errorType": "5113"}, Chat("friend", 7128348), 5113),
        ({"type": None, "id": None, "targetId": "7128348"}, Chat("friend", 7128348), 5114),
        ({"errorType": 1021, "type": "group", "id": 389284}, GROUP, 1021),
        ({"errorType": 1022, "type": "group", "id": 389284, "isSelf": True}, GROUP, 1022),
    ],
)
def test_a_refusal_in_other_spellings(data: dict[str, Any], chat: Chat, code: int) -> None:
    seen = read(refusal(**data))
    assert isinstance(seen, Notice)
    assert (seen.chat, seen.error.code) == (chat, code)


@pytest.mark.parametrize(
    "frame",
    [
        refusal(errorType=5115),
        refusal(errorType=None),
        refusal(errorType=9, isSelf=True),
        refusal(type=None, id=None, targetId=None),
        FRIENDS_REFUSAL | {"operatorType": "message"},
    ],
)
def test_what_only_looks_like_a_refusal_is_an_event(frame: dict[str, Any]) -> None:
    raw = json.dumps(frame).encode()
    assert decode(raw) == Event("msgNew", raw)


@pytest.mark.parametrize("status", [0, -1, "0"])
def test_own_message_still_on_its_way_proves_nothing(status: Any) -> None:
    frame = json.loads(json.dumps(EVENTS["own_message"]))
    frame["data"]["readStatus"] = status
    (seen,) = read(frame).seen
    assert not seen.proves_sent


@pytest.mark.parametrize(
    "entry",
    [
        {"customMsgId": 10441859254, "updated": {"MsgID": "12", "readStatus": "1", "time": 1766222907461}},
        {"customMsgId": "10441859254", "updated": {"MsgID": 12.0, "readStatus": 1.0, "sendTime": "1766222907461"}},
        {"customMsgId": " 10441859254", "updated": {"MsgID": 12, "readStatus": 1, "time": 1766222907461, "x": [1]}},
    ],
)
def test_verdict_in_other_spellings(entry: Any) -> None:
    (seen,) = read(verdict_frame(entry)).seen
    assert (seen.custom_msg_id, seen.verdict, seen.message_id) == ("10441859254", Verdict.SENT, 12)
    assert seen.sent_at == dt.datetime(2025, 12, 20, 9, 28, 27, 461000, dt.UTC)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        5,
        [],
        {},
        {"updated": 1},
        {"updated": {}},
        {"updated": {"readStatus": True}},
        {"updated": {"readStatus": 9}},
    ],
)
def test_unreadable_entry_is_counted_and_costs_no_other(entry: Any) -> None:
    frame = verdict_frame(entry)
    frame["data"]["list"].append({"customMsgId": "10441859254", "updated": {"readStatus": 1}})
    seen = read(frame)
    assert seen.unreadable == 1
    assert [sighting.custom_msg_id for sighting in seen.seen] == ["10441859254"]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"errorType": 1021, "errMsg": "muted"}, BridgeError(1021, "muted")),
        ({"errorCode": "1022"}, BridgeError(1022, "")),
        ({"errorType": 5}, None),
        ({}, None),
    ],
)
def test_verdict_with_the_groups_code(given: dict[str, Any], error: BridgeError | None) -> None:
    (seen,) = read(verdict_frame({"customMsgId": "10441859254", "updated": {"readStatus": 0} | given})).seen
    assert seen.error == error


@pytest.mark.parametrize("when", [10**18, -(10**18), "soon", None, {}, 2**70])
def test_time_out_of_this_world_is_no_time(when: Any) -> None:
    frame = verdict_frame({"customMsgId": "10441859254", "updated": {"readStatus": 1, "time": when}})
    assert read(frame).seen[0].sent_at is None


@pytest.mark.parametrize(("given_id", "text"), [("7", "7"), (7, "7"), (7.0, "7"), ("a-1", "a-1")])
def test_reply_ids_compare_as_text(given_id: Any, text: str) -> None:
    assert read({"id": given_id, "type": "getGroups"}).request_id == text


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"errorCode": 300, "errorDesc": "busy"}, BridgeError(300, "busy")),
        ({"errorCode": "300", "errorDesc": "busy"}, BridgeError(300, "busy")),
        ({"errorCode": "E_BUSY", "errorDesc": {"why": 1}}, BridgeError("E_BUSY", '{"why":1}')),
        ({"errorCode": 0}, BridgeError(0, "")),
        ({"errorDesc": "no"}, BridgeError(None, "no")),
        ({}, BridgeError(None, "")),
        ("no", BridgeError(None, "no")),
        (None, None),
        (False, None),
    ],
)
def test_error_in_every_shape_seen(error: Any, expected: BridgeError | None) -> None:
    assert read({"id": "1", "type": "request", "error": error}).error == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"commonResult": {"errCode": 200}}, None),
        ({"commonResult": {"errCode": "200"}}, None),
        ({"commonResult": {}}, None),
        ({"commonResult": {"errCode": 1021, "errMsg": "no right"}}, BridgeError(1021, "no right")),
        (1021, BridgeError(1021, "")),
        (200, None),
        (True, None),
        ("success", None),
        ([1], None),
    ],
)
def test_failure_of_the_service_without_an_error(data: Any, expected: BridgeError | None) -> None:
    assert read_data(read({"id": "1", "type": "request", "data": data})) == (data, expected)


@pytest.mark.parametrize("said", ["x" * 1_000_000, {"why": "x" * 1_000_000}], ids=["text", "object"])
def test_of_an_error_without_end_the_beginning_is_kept(said: Any) -> None:
    for reply in (
        read({"id": "1", "error": {"errorCode": 5, "errorDesc": said}}),
        read({"id": "1", "data": {"commonResult": {"errCode": 5, "errMsg": said}}}),
    ):
        _, error = read_data(reply)
        assert error is not None
        assert len(error.text) == MOST_WORDS
        assert "x" * 1000 in error.text


def test_name_cut_in_the_middle_of_an_emoji_does_not_spoil_the_reply() -> None:
    seen = decode(b'{"id":"1","type":"getGroups","data":[{"name":"a\\ud83e"}]}')
    assert isinstance(seen, Reply)
    assert read_data(seen) == ([{"name": "a?"}], None)


class Page(msgspec.Struct):
    members: list[msgspec.Raw]
    commonResult: Any = None


def test_data_of_the_expected_shape_is_read_as_that_with_its_error() -> None:
    seen = read({"id": "1", "type": "request", "data": {"members": [{"uid": "7"}], "commonResult": {"errCode": 5}}})
    page, error = read_data(seen, Page)
    assert [bytes(entry) for entry in page.members] == [b'{"uid": "7"}']
    assert error == BridgeError(5, "")


@pytest.mark.parametrize(("data", "error"), [({"members": 1}, None), (1021, BridgeError(1021, "")), ([], None)])
def test_data_of_another_shape_is_read_as_it_is(data: Any, error: BridgeError | None) -> None:
    assert read_data(read({"id": "1", "type": "request", "data": data}), Page) == (data, error)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("1e400", "1e400"),
        ("-1E+999", "-1E+999"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("9" * 5000, "9" * 5000),
        (str(2**64), 2**64),
        ('"a\nb"', "a\nb"),
        ('"\\ud83d"', "?"),
    ],
)
@pytest.mark.parametrize("shape", [Any, Page])
def test_what_json_has_no_place_for_is_read_as_its_text(written: str, read_as: Any, shape: Any) -> None:
    frame = f'{{"id":"1","data":{{"members":[{{"uid":{written}}}],"x":{written}}}}}'
    seen = decode(frame.encode())
    assert isinstance(seen, Reply)
    data, error = read_data(seen, shape)
    assert error is None
    if shape is Any:
        assert data == {"members": [{"uid": read_as}], "x": read_as}
        msgspec.json.encode(data)
    else:
        assert isinstance(data, Page)
        assert decode_json(data.members[0], msgspec.json.Decoder()) == {"uid": read_as}


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    seen = decode(b'{"id":"1","data":"a\xff"}')
    assert isinstance(seen, Reply)
    assert read_data(seen) == ("a\N{REPLACEMENT CHARACTER}", None)


@pytest.mark.parametrize(
    "beside", [b'"\xcf":1', b'"more":"\xff"', b'"more":{"\xff":["\xff"]}', b'"more":NaN', b'"more":"\x01"']
)
def test_an_event_is_json_also_where_nothing_reads_it(beside: bytes) -> None:
    seen = decode(b'{"operator":"groupUpdate","data":{},' + beside + b"}")
    assert isinstance(seen, Event)
    json.loads(seen.raw.decode(), parse_constant=pytest.fail)


@pytest.mark.parametrize("levels", [1_000, 5_000, 50_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_what_is_nested_without_end_is_cut_and_the_rest_is_read(levels: int, opening: str, closing: str) -> None:
    deep = opening * levels + "1" + closing * levels
    frame = f'{{"id":"1","data":{{"deep":{deep},"members":["]"]}},"error":{{"errorCode":5,"errorDesc":{deep}}}}}'
    seen = decode(frame.encode())
    assert isinstance(seen, Reply)
    data, error = read_data(seen)
    assert data["members"] == ["]"]
    assert error is not None
    assert error.code == 5
    for text in (msgspec.json.encode(data).decode(), error.text):
        assert TOO_DEEP in text
        assert text.count(opening[0]) <= MOST_LEVELS + 1


@pytest.mark.parametrize("id_text", ["\u001f77", "\u00a077", " 77\t"])
def test_space_of_any_kind_beside_a_number_costs_nothing(id_text: str) -> None:
    entry = {"customMsgId": "10000000001", "updated": {"readStatus": 1, "MsgID": id_text}}
    seen = decode(msgspec.json.encode(verdict_frame(entry)))
    assert isinstance(seen, Sightings)
    assert [sighting.message_id for sighting in seen.seen] == [77]


def test_a_verdict_beside_something_unreadable_counts() -> None:
    deep = "[" * 2000 + "]" * 2000
    entry = f'{{"customMsgId":"10000000001","updated":{{"readStatus":1,"MsgID":77,"time":1e400}},"more":{deep}}}'
    seen = decode(f'{{"operator":"msgListPropertyUpdate","data":{{"id":5,"type":"group","list":[{entry}]}}}}'.encode())
    assert isinstance(seen, Sightings)
    ((sighting,), raw) = seen.seen, seen.raw
    assert (sighting.verdict, sighting.message_id, sighting.sent_at) == (Verdict.SENT, 77, None)
    json.loads(raw)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ('"--5"', "--5"),
        ('"²"', "²"),
        ('"\\u001c5"', 5),
        ('"\\u001f-"', "-"),
        ("5.0", 5),
        ("1.5", "1.5"),
        ("true", None),
        ("[]", None),
        ("9" * 30, "9" * 30),
        ("1e400", "1e400"),
        (str(-(2**63)), -(2**63)),
    ],
)
def test_a_code_is_a_number_of_64_bits_or_what_was_seen(written: str, code: int | str | None) -> None:
    for frame in (
        f'{{"id":"1","error":{{"errorCode":{written}}}}}',
        f'{{"id":"1","data":{{"commonResult":{{"errCode":{written}}}}}}}',
    ):
        seen = decode(frame.encode())
        assert isinstance(seen, Reply)
        _, error = read_data(seen)
        assert error == BridgeError(code, "")


def test_a_bare_integer_is_a_code_of_any_size() -> None:
    seen = decode(f'{{"id":"1","data":{"9" * 30}}}'.encode())
    assert isinstance(seen, Reply)
    assert read_data(seen)[1] == BridgeError("9" * 30, "")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"id":"1","data":"\\q"}',
        b'{"id":"1","data":{"x":tru}}',
        b' { "id" : "1" , "data":[1,2',
        b'{"id":"1","data":' + b"[" * 2_000_000 + b"}",
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_a_reply_that_cannot_be_read_is_a_reply_all_the_same(raw: bytes) -> None:
    assert_unreadable(raw)


def test_what_could_not_be_read_is_no_data_although_it_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an error reply whose reading failed would be taken for a success."""

    def fail(raw: bytes) -> None:
        raise ValueError

    monkeypatch.setattr(frames, "_read", fail)
    assert_unreadable(b'{"id":"1","error":{"errorCode":5}}')


def assert_unreadable(raw: bytes) -> None:
    seen = decode(raw)
    assert isinstance(seen, Reply)
    assert seen.request_id == "1"
    with pytest.raises(ValueError, match="not JSON"):
        read_data(seen)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"Hello"',
        b"{",
        b"{}",
        b'{"id":null}',
        b'{"id":{}}',
        b'{"id":true}',
        b'{"id":1,"data":"\xff',
        b'{"operator":"network"}',
        b'{"operator":"network","data":[]}',
        b'{"operator":"msgListPropertyUpdate","data":{}}',
        b'{"operator":"msgListPropertyUpdate","data":{"list":{}}}',
        b'{"operator":5}',
        b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\x00\x01\x02",
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_frame_without_meaning_is_malformed(raw: bytes) -> None:
    assert isinstance(decode(raw), Malformed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
VALUE = JSON | st.sampled_from(["group", "friend", "10441859254", 389284, "socketLogin", 0, 1, -1, 2, "1", True])
UPDATED = st.dictionaries(st.sampled_from(["readStatus", "MsgID", "time", "sendTime"]), VALUE, max_size=4)
ENTRY = VALUE | st.fixed_dictionaries({}, optional={"customMsgId": VALUE, "updated": VALUE | UPDATED})
DATA = VALUE | st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("id", "type", "isSelf", "content", "customMsgId", "MsgID", "readStatus", "time"), VALUE)
    | {"list": VALUE | st.lists(ENTRY, max_size=3), "networkStatusType": VALUE, "commonResult": VALUE},
)
FRAME = st.fixed_dictionaries(
    {},
    optional={
        "id": VALUE,
        "operator": VALUE | st.sampled_from(["network", "msgNew", "msgListPropertyUpdate", "recall_msg"]),
        "message": VALUE | st.just("Hello"),
        "error": VALUE | st.fixed_dictionaries({}, optional={"errorCode": VALUE, "errorDesc": VALUE}),
        "data": DATA,
    },
)


@given(FRAME)
def test_no_object_is_too_strange(frame: Any) -> None:
    raw = json.dumps(frame).encode()
    seen = decode(raw)
    assert isinstance(seen, Hello | Network | Reply | Sightings | Event | Malformed)
    if isinstance(seen, Event | Sightings):
        json.loads(seen.raw)


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(raw: bytes) -> None:
    assert isinstance(decode(raw), Malformed | Reply | Hello | Event | Network | Sightings)


class TestLargeFrames:
    """What is decoded in the pool is what would have been decoded at once."""

    MEMBERS: ClassVar = [
        {"uid": str(number), "more": {"nick": "n" * 80, "roles": [1, {"of": None}]}} for number in range(3000)
    ]
    FIELDS: ClassVar = {f"field {number}": number / 7 for number in range(20_000)}

    def read_large(self, frame: Any, shapes: dict[str, Any]) -> list[Any]:
        raw = json.dumps(frame).encode()
        assert len(raw) > 2 * SLICE_BYTES
        return self.decode(raw, shapes)

    def decode(self, raw: bytes, shapes: dict[str, Any]) -> list[Any]:
        return list(decode_large(raw, shapes))

    @pytest.mark.parametrize(
        "data", [MEMBERS, FIELDS, {"list": MEMBERS, "count": 3000}, [[MEMBERS, MEMBERS]], "text " * 50_000]
    )
    def test_a_reply_has_its_data(self, data: Any) -> None:
        (reply,) = self.read_large({"id": "r1", "data": data}, {"r1": Any})
        assert reply.content == (data, None)
        assert read_data(reply, Any) == (data, None)

    def test_a_reply_has_the_shape_that_is_wanted_or_plain_values(self) -> None:
        frame = {"id": "r1", "data": self.MEMBERS}
        (reply,) = self.read_large(frame, {"r1": list[msgspec.Raw]})
        assert [type(entry) for entry in reply.content[0]] == [msgspec.Raw] * 3000
        (reply,) = self.read_large(frame, {"r1": dict[str, int]})
        assert reply.content[0] == self.MEMBERS

    def test_the_data_of_a_reply_that_is_not_waited_for_is_left_alone(self) -> None:
        (reply,) = self.read_large({"id": "r1", "data": self.MEMBERS}, {"r2": Any})
        assert reply.content is None

    def test_an_error_of_the_service_is_one(self) -> None:
        data = {"commonResult": {"errCode": 1021, "errMsg": "no"}, "list": self.MEMBERS}
        (reply,) = self.read_large({"id": "r1", "data": data}, {"r1": Any})
        assert reply.content[1] == BridgeError(1021, "no")

    def test_data_that_cannot_be_read_still_cannot(self) -> None:
        raw = b'{"id": "r1", "data": [' + b"tru," * 100_000 + b"]}"
        (reply,) = self.decode(raw, {"r1": Any})
        with pytest.raises(ValueError, match="not JSON"):
            read_data(reply, Any)
        assert len(bytes(reply.data)) <= 1000

    def test_what_is_nested_without_end_is_read_all_the_same(self) -> None:
        raw = b'{"id": "r1", "data": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
        (reply,) = self.decode(raw, {"r1": Any})
        assert read_data(reply, Any)[1] is None

    def test_a_verdict_with_many_entries_comes_in_parts_and_then_whole(self) -> None:
        entries = [{"customMsgId": str(number), "updated": {"readStatus": 1}} for number in range(1200)]
        frame = verdict_frame(None)
        frame["data"]["list"] = [*entries, "no entry"]
        raw = json.dumps(frame).encode()
        *parts, event = self.decode(raw, {})
        assert [len(part.seen) for part in parts] == [500, 500, 200]
        assert [part.unreadable for part in parts] == [1, 0, 0]
        assert [one.custom_msg_id for part in parts for one in part.seen] == [str(number) for number in range(1200)]
        assert event == Event("msgListPropertyUpdate", raw)
