"""Arrays of events: both forms, and whatever only looks like one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parts.frames import SEEN
from worker68.bridge.frames import Network, Sightings, decode
from worker68.bridge.inbox import split


def parts(message: Any) -> list[Any] | None:
    found = split(message if isinstance(message, bytes) else json.dumps(message).encode())
    return None if found is None else [json.loads(part) for part in found]


def test_the_batch_that_was_seen() -> None:
    events = SEEN["batch"]["frame"]
    assert parts(events) == events
    assert parts({"operator": "__batch__", "data": events}) == events
    network, verdicts = (decode(part) for part in split(json.dumps(events).encode()) or [])
    assert network == Network("socketLogin")
    assert isinstance(verdicts, Sightings)
    assert [one.proves_sent for one in verdicts.seen] == [True]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[",
        b"[]",
        b"[1,",
        b" not json",
        b'{"operator":"__batch__"}',
        b'{"operator":"__batch__","data":[]}',
        b'{"operator":"__batch__","data":{"a":1}}',
        b'{"operator":"msgNew","data":{"content":"__batch__"}}',
        b'{"operator":["__batch__"],"data":[1]}',
        b"[" * 5_000 + b"]" * 5_000,
    ],
    ids=lambda message: message[:40].decode(),
)
def test_what_is_no_array_of_events_is_one_frame(message: bytes) -> None:
    found = split(message)
    assert found is None or message.startswith(b"[[")


def test_a_part_that_cannot_be_read_costs_no_other() -> None:
    half_an_emoji = (
        b'[{"operator":"msgNew","data":{"content":"a\\ud83d"}},7,{"operator":"x","data":NaN},{"operator":"y"}]'
    )
    assert parts(half_an_emoji) is not None
    assert len(parts(half_an_emoji) or []) == 4
    assert parts(b' \n[{"operator": "y"}]') == [{"operator": "y"}]


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: b'{"operator":"__batch__","data":[' + tail))
def test_no_bytes_raise(message: bytes) -> None:
    split(message)
