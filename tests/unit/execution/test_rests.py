"""Jobs that keep their place in their lane but must not start yet."""

from __future__ import annotations

import pytest

from tests.parts.clock import Clock
from tests.parts.jobs import job, send_fields
from worker68.execution.backlog import Backlog
from worker68.execution.lanes import head_of
from worker68.execution.under_way import UnderWay


def test_a_rest_that_is_over_does_not_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row still names a later time, which a clock that was ahead has set."""
    clock, backlog = Clock(), Backlog(UnderWay())
    clock.drive(monkeypatch, "worker68.execution.backlog")
    waiting = job(1, kwargs=send_fields())
    backlog.learn(waiting.lane, head_of(waiting), 5.0)
    assert backlog.first(lambda kind: True) is None
    clock.pass_by(6.0)
    backlog.wake()

    backlog.learn(waiting.lane, head_of(waiting), 5.0)

    assert backlog.first(lambda kind: True) is not None
