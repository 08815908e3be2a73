"""Rows on their way from the bridge to the tables come back in their order, as often as wanted."""

from __future__ import annotations

from worker68.execution.step_context import MEMORY_BYTES, RowBuffer
from worker68.jobs.snapshot import MemberRow

ROWS = [MemberRow(number, "花开富贵🌽" * 20, None, "member", False) for number in range(10_000)]


def test_gives_the_rows_back_in_their_order_as_often_as_wanted() -> None:
    buffer = RowBuffer(MemberRow)
    for start in range(0, len(ROWS), 1000):
        buffer.add(ROWS[start : start + 1000])
    assert buffer._end > MEMORY_BYTES
    assert list(buffer) == ROWS
    assert list(buffer) == ROWS
    buffer.close()


def test_may_be_gone_through_twice_at_once_and_filled_between() -> None:
    buffer = RowBuffer(MemberRow)
    buffer.add(ROWS[:3])
    first, second = iter(buffer), iter(buffer)
    assert next(first) == next(second) == ROWS[0]
    buffer.add(ROWS[3:5])
    assert list(second) == ROWS[1:5]
    assert list(first) == ROWS[1:5]
    buffer.close()
