"""What all accounts of a worker use, as the runtime has built it. Never: anything of one account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker68.execution.intake import Intake
from worker68.execution.recorder import Kept
from worker68.execution.slots import SlotRequests
from worker68.execution.under_way import Capacity
from worker68.limits.pace import Pace
from worker68.loop import Stopping
from worker68.store.engine import Engine
from worker68.store.writer import Writer


@dataclass(frozen=True)
class Shared:
    """``announce``: replies may lie in the outbox. ``wake``: something may be ready for this account."""

    engine: Engine
    writer: Writer
    slots: SlotRequests
    capacity: Capacity
    pace: Pace
    kept: Kept
    intake: Intake
    stopping: Stopping
    announce: Callable[[], None]
    wake: Callable[[str], None]
