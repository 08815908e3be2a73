"""Any bytes are an envelope or an ``UnreadableMessage`` with a reason; nothing else ever comes out."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parts.jobs import SYNC, message, order, send_fields
from worker68.errors import InvalidJob, UnreadableMessage
from worker68.jobs.envelope import Envelope, read_envelope


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
    [(0, 0), (9, 9), (10, 9), (-1, 0), (None, 0), ("3", 0), (True, 0), (3.5, 0), (10**30, 9)],
)
def test_a_priority_is_between_0_and_9(given_priority: Any, priority: int) -> None:
    raw = changed(properties={"priority": given_priority}, body="[[],{},{}]")
    assert read_envelope(raw).priority == priority


def test_positional_arguments_make_an_invalid_job_and_not_an_unreadable_one() -> None:
    with pytest.raises(InvalidJob, match="args: give every field by name"):
        order(SYNC, {}, args=[1])


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
