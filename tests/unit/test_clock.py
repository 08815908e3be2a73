"""A deadline: how long one may still wait, and when that is over."""

from __future__ import annotations

import pytest

from tests.parts.clock import Clock
from worker68.clock import Deadline


def test_a_deadline_passes_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.clock")
    deadline = Deadline.after(5.0)
    assert (deadline.remaining(), deadline.passed) == (5.0, False)
    clock.pass_by(5.0)
    assert (deadline.remaining(), deadline.passed) == (0.0, True)
    clock.pass_by(1.0)
    assert deadline.remaining() == 0.0
