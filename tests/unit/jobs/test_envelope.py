"""Any bytes are an envelope or an ``UnreadableMessage`` with a reason; nothing else ever comes out."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parts.jobs import SEND, SYNC, message, order, send_fields
from worker68.errors import InvalidJob, Sender, UnreadableMessage
from worker68.jobs import envelope as envelope_module
from worker68.jobs.envelope import NESTING_LIMIT, Envelope, pack_message, read_envelope, read_sender


def changed(**parts: Any) -> bytes:
    """Return a good message with top-level parts put in their place."""
    return msgspec.json.encode(msgspec.json.decode(message(SYNC, {}, task_id="t")) | parts)


def with_body(body: bytes, encoding: str | None = "base64") -> bytes:
    text = base64.b64encode(body).decode() if encoding == "base64" else body.decode()
    return changed(body=text, properties={"body_encoding": encoding})


def why_unreadable(raw: bytes) -> str:
    with pytest.raises(UnreadableMessage) as refused:
        read_envelope(raw)
    return str(refused.value)


def test_reads_what_celery_writes() -> None:
    kwargs = send_fields()
    read = read_envelope(message("worker68.send_message", kwargs, task_id="t", priority=3, ignore_result=True))
    assert read == Envelope("worker68.send_message", "t", kwargs, 3, None, None, ignore_result=True, problems=())


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_reads_a_body_that_is_not_base64(encoding: str | None) -> None:
    assert read_envelope(with_body('[[],{"a":"é"},{}]'.encode(), encoding)).kwargs == {"a": "é"}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"a": NaN}', "is not JSON"),
        (b'"\\ud800"', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"null", "null instead of an object"),
        (b"[1]", "a list instead of an object"),
        (b'"abc"', "a string instead of an object"),
        (b"5", "a number instead of an object"),
        (b"{}", 'no "headers" object'),
        (changed(headers=[]), 'no "headers" object'),
        (changed(headers={"id": "t"}), 'the header "task"'),
        (changed(headers={"task": "t"}), 'the header "id"'),
        (changed(headers={"task": "t", "id": 5}), 'the header "id"'),
        (changed(headers={"task": "t", "id": "x" * 256}), 'the header "id"'),
        (changed(headers={"task": "t", "id": "a\x00"}), 'the header "id"'),
        (changed(headers={"task": "x" * 201, "id": "t"}), 'the header "task"'),
        (changed(headers={"task": "", "id": "t"}), 'the header "task"'),
        (changed(headers={"task": "t", "id": "t", "compression": "gzip"}), "compressed (gzip)"),
        (changed(**{"content-type": "application/x-python-serialize"}), "application/x-python-serialize"),
        (changed(**{"content-type": None}), "content type is None"),
        (changed(body=None), "the body is null"),
        (changed(body={}), "the body is an object"),
        (changed(body="!!!"), "not base64"),
        (changed(body="é"), "not base64"),
        (changed(properties={"body_encoding": "rot13"}), "'rot13'"),
        (changed(properties={"body_encoding": ["base64"]}), "['base64']"),
        (with_body(b"abc"), "the body is not JSON"),
        (with_body(b'"abc"'), "a string instead of the list"),
        (with_body(b"[[],{}]"), "a list instead of the list"),
        (with_body(b"[{},{},{}]"), "the body's args are no list"),
        (with_body(b"[[],[],{}]"), "or its kwargs no object"),
        (with_body(b"[[],{},[5]]"), "the third part of the body is a list"),
        (with_body(b"[[],{},{}]" + b" " * 9 + b"x"), "the body is not JSON"),
        (with_body(b'[[],{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"},{}]"), "the body is not JSON"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_says_why_it_cannot_read(raw: bytes, reason: str) -> None:
    why = why_unreadable(raw)
    assert reason in why
    assert len(why) < 300


@pytest.mark.parametrize("properties", [None, [], "x"])
def test_odd_properties_are_no_properties(properties: Any) -> None:
    read = read_envelope(changed(properties=properties, body="[[],{},{}]"))
    assert read.priority == 0


@pytest.mark.parametrize(
    ("given_priority", "priority"),
    [(0, 0), (9, 9), (10, 9), (-1, 0), (None, 0), ("3", 3), (9.0, 9), (10**30, 9), ("soon", 0), ([], 0), (1e400, 0)],
)
def test_a_priority_is_between_0_and_9(given_priority: Any, priority: int) -> None:
    raw = changed(properties={"priority": given_priority}, body="[[],{},{}]")
    assert read_envelope(raw).priority == priority


def test_positional_arguments_make_an_invalid_job_and_not_an_unreadable_one() -> None:
    with pytest.raises(InvalidJob, match="args: give every field by name"):
        order(SYNC, {}, args=[1])


FOLLOWER = {"task": SYNC, "args": [], "kwargs": {}, "options": {"task_id": "follower"}}
CHAINED = FOLLOWER | {
    "options": {"task_id": "second", "link": [FOLLOWER], "chord": FOLLOWER | {"options": {"task_id": "body"}}}
}


def problems_of(raw: bytes) -> dict[str, str]:
    return {problem.field: problem.problem for problem in read_envelope(raw).problems}


@pytest.mark.parametrize(
    ("part", "attached", "dependents"),
    [
        ("callbacks", [FOLLOWER], {"follower"}),
        ("errbacks", [FOLLOWER], {"follower"}),
        ("chain", [FOLLOWER, CHAINED], {"follower", "second", "body"}),
        ("chord", FOLLOWER, {"follower"}),
        ("chord", "odd", set()),
        ("callbacks", [{"task": SYNC, "options": {"task_id": 5}}, {"options": "x"}, 7], set()),
        ("something new", True, set()),
    ],
)
def test_what_hangs_on_a_message_is_a_problem_that_names_it(part: str, attached: Any, dependents: set[str]) -> None:
    raw = with_body(msgspec.json.encode([[], {}, {"callbacks": None, part: attached}]))
    assert problems_of(raw).keys() == {part}
    assert "use reply_to instead" in problems_of(raw)[part]
    assert set(read_envelope(raw).dependents) == dependents


@pytest.mark.parametrize("embed", [None, {}, [], "", {"callbacks": None, "errbacks": [], "chain": None, "chord": {}}])
def test_empty_parts_ask_for_nothing(embed: Any) -> None:
    read = read_envelope(with_body(msgspec.json.encode([[], {}, embed])))
    assert (read.problems, read.dependents) == ((), ())


def test_a_time_limit_is_a_problem_and_none_is_not() -> None:
    assert problems_of(message(SYNC, {}, timelimit=[None, None])) == {}
    assert problems_of(message(SYNC, {}, timelimit=None)) == {}
    for limit in ([None, 60], 60, {"soft": 5}):
        assert problems_of(message(SYNC, {}, timelimit=limit)).keys() == {"time_limit"}


def test_base64_may_stand_in_lines() -> None:
    kwargs = {"text": "hello " * 50}
    body = base64.encodebytes(json.dumps([[], kwargs, {}]).encode()).decode()
    assert read_envelope(changed(body=body, properties={"body_encoding": "base64"})).kwargs == kwargs


def test_a_field_that_is_nested_too_deep_is_named() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a": %s%s}' % (b"[" * levels, b"]" * levels)

    assert problems_of(message(SYNC, nested(NESTING_LIMIT))) == {}
    assert problems_of(message(SYNC, nested(NESTING_LIMIT + 1))) == {"a": "nested deeper than 100 levels"}


@pytest.mark.parametrize(
    ("raw", "sender"),
    [
        (changed(headers={"task": SYNC, "id": "t", "compression": "application/x-gzip"}), Sender("t", SYNC)),
        (changed(**{"content-type": "application/x-yaml"}), Sender("t", SYNC)),
        (changed(headers={"id": "t", "ignore_result": True}), Sender("t", "", ignore_result=True)),
        (changed(headers={}, properties={"correlation_id": "t"}), Sender("t")),
        (changed(headers=None, id="t"), Sender("t")),
        (changed(headers={"id": "a\x00"}, properties=None), None),
        (b"{", None),
    ],
)
def test_the_id_of_an_unreadable_message_is_read_where_it_stands(raw: bytes, sender: Sender | None) -> None:
    with pytest.raises(UnreadableMessage) as refused:
        read_envelope(raw)
    assert refused.value.sender == sender
    assert read_sender(raw) == sender


def test_a_message_that_is_too_large_is_not_read_but_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = message(task_id="t")
    monkeypatch.setattr(envelope_module, "MESSAGE_LIMIT", len(raw))
    assert read_envelope(raw).task_id == "t"
    for large in (raw + b" ", raw.replace(b'"body":"', b'"body":"\xff')):
        with pytest.raises(UnreadableMessage, match=f"{len(raw) + 1} bytes; at most {len(raw)}") as refused:
            read_envelope(large)
        assert refused.value.sender == Sender("t", SEND)


@pytest.mark.parametrize(
    ("raw", "packed"),
    [
        (b"\x00", {"message": "\0"}),
        ("é".encode(), {"message": "é"}),
        (b"\xff", {"message_base64": "/w=="}),
        (b"12345678", {"message": "12345678"}),
        (b"12345678\xff", {"beginning": "123", "end": "78\\xff"}),
        ("你好, hello".encode(), {"beginning": "\\xe4\\xbd\\xa0", "end": "llo"}),
    ],
)
def test_a_message_is_packed_as_it_came_and_of_one_that_is_too_large_its_ends(
    monkeypatch: pytest.MonkeyPatch, raw: bytes, packed: dict[str, str]
) -> None:
    monkeypatch.setattr(envelope_module, "MESSAGE_LIMIT", 8)
    monkeypatch.setattr(envelope_module, "KEPT_BYTES", 3)
    assert pack_message(raw) == packed
    encoded = pack_message(raw, encode=True)
    assert msgspec.json.encode(encoded).isascii()
    assert encoded.keys() == ({"message_base64"} if len(raw) <= 8 else packed.keys())


def read_or_refuse(raw: bytes) -> None:
    """Whatever else it raises fails the test."""
    with suppress(UnreadableMessage):
        assert isinstance(read_envelope(raw).kwargs, dict)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    read_or_refuse(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["headers", "properties", "body", "content-type"]), json_values))
def test_any_json_in_place_of_a_part_is_read_or_refused(parts: dict[str, Any]) -> None:
    read_or_refuse(changed(**parts))


header_names = st.sampled_from(["task", "id", "eta", "expires", "ignore_result", "compression"])


@given(st.dictionaries(header_names, json_values), json_values)
def test_any_json_in_place_of_a_header_or_the_body_is_read_or_refused(headers: dict[str, Any], body: Any) -> None:
    read_or_refuse(with_body(msgspec.json.encode([[], {"a": body}, {}])))
    read_or_refuse(changed(headers={"task": "t", "id": "t"} | headers))
    read_or_refuse(with_body(msgspec.json.encode(body)))
