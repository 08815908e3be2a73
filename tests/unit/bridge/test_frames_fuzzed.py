"""A short run of the fuzz of frames (``python -m tests.soak.fuzz_frames`` goes on for an hour), and that it would find a fault."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.soak import fuzz_frames
from tests.soak.fuzz_frames import Broken, Report, check_message, check_stream, fuzz, read_seeds
from worker68.bridge.frames import Event


def test_no_rule_is_broken() -> None:
    report = Report()
    fuzz(random.Random(68), read_seeds(), report, 1000)
    assert report.messages == 1000
    assert report.streams == 100
    assert {"Reply", "Sightings", "Event", "Malformed", "Network"} <= set(report.kinds), report.kinds
    assert len(list(report.lines(1.0))) == 4


def test_every_frame_of_the_fixtures_is_read() -> None:
    assert {kind for raw in read_seeds() for kind in check_message(raw)} >= {
        "Hello",
        "Network",
        "Reply",
        "Sightings",
        "Event",
    }


@pytest.mark.parametrize(
    ("what", "rule"),
    [
        ("split", "split raises nothing"),
        ("decode", "decode raises nothing"),
        ("decode_large", "decode_large raises nothing"),
        ("read_data", "read_data raises ValueError or nothing"),
    ],
)
def test_what_raises_is_found_with_its_input(monkeypatch: pytest.MonkeyPatch, what: str, rule: str) -> None:
    def fail(*_: Any) -> None:
        raise RecursionError

    monkeypatch.setattr(fuzz_frames, what, fail)
    with pytest.raises(Broken) as caught:
        check_message(b'{"id":"r1","data":1}')
    assert rule in caught.value.rule
    assert caught.value.raw == b'{"id":"r1","data":1}'


def test_an_event_that_is_no_json_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_frames, "decode", lambda raw: Event("x", b'{"a":\xff}'))
    with pytest.raises(Broken, match="an event is JSON"):
        check_message(b"")


def test_a_reader_that_minds_the_portions_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_frames, "_read_stream", lambda portions, raw: portions)
    with pytest.raises(Broken, match="the portions do not matter"):
        check_stream(random.Random(1), b"xx")
