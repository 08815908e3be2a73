"""When to try to connect again: within a range that doubles up to its cap, and begins anew after a good connection."""

from __future__ import annotations

import math

import pytest

from worker68.bridge.dial import Redial
from worker68.bridge.health import Timing


def test_the_range_doubles_up_to_its_cap_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker68.bridge.dial.random.uniform", lambda _least, most: most)
    redial = Redial("ws://127.0.0.1:1", Timing(backoff_base=1.0, backoff_cap=6.0), 1)
    assert redial.due_at == math.inf

    def pauses(times: int) -> list[float]:
        found = []
        for _ in range(times):
            redial.plan(100.0)
            found.append(redial.due_at - 100.0)
        return found

    assert pauses(5) == [1.0, 2.0, 4.0, 6.0, 6.0]
    redial.note_held()
    assert pauses(2) == [1.0, 2.0]
    redial.stop()
    assert redial.due_at == math.inf
