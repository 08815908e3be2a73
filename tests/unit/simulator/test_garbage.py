"""Each garbage frame is what its name says."""

from __future__ import annotations

import json

import pytest

from worker68.simulator.garbage import GARBAGE, HUGE_BYTES


def test_each_garbage_frame_is_what_its_name_says() -> None:
    payloads = {name: make() for name, make in GARBAGE.items()}
    assert len(payloads["huge"].payload) > HUGE_BYTES
    assert {name for name, garbage in payloads.items() if not garbage.text} == {"binary", "binary_json"}
    with pytest.raises(UnicodeDecodeError):
        payloads["invalid_utf8"].payload.decode()
    with pytest.raises(json.JSONDecodeError):
        json.loads(payloads["not_json"].payload)
