"""A stand-in for what execution lets an action have: it grants everything at once, and remembers what was asked for.

The real one is tested in ``tests/integration/execution/test_step_context.py``; this one keeps to the same protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.parts.jobs import account, job
from worker68.jobs.outcome import Outcome, TryAgain
from worker68.jobs.snapshot import Row
from worker68.jobs.task import LimitClass
from worker68.tasks.turn import Bridge, Turn

T = TypeVar("T")


class Collected:
    """Rows in memory, with the size of each page."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.pages: list[int] = []

    def add(self, rows: Sequence[Row]) -> None:
        self.rows += rows
        self.pages.append(len(rows))

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)


@dataclass
class FreeContext:
    """Grants everything at once."""

    slots: list[LimitClass] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    reported: list[Outcome | TryAgain] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)
    members: list[int] = field(default_factory=list)
    memory: dict[type[Any], Any] = field(default_factory=dict)

    async def wait_for_slot(self, limit: LimitClass, call: str) -> None:
        self.slots.append(limit)

    def note_call(self, call: str) -> None:
        self.calls.append(call)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0.001)  # the link goes on meanwhile

    async def report(self, finding: Outcome | TryAgain) -> None:
        self.reported.append(finding)

    async def note_progress(self, words: str) -> None:
        self.progress.append(words)

    def collect(self, row: type[Row]) -> Collected:
        return Collected()

    async def known_members(self, group_id: int) -> list[int]:
        return self.members

    def account_memory(self, kind: type[T]) -> T:
        kept: T = self.memory.setdefault(kind, kind())
        return kept


def turn(
    link: Bridge,
    task: str,
    context: FreeContext | None = None,
    *,
    step: int = 0,
    reply_timeout: float = 30.0,
    **fields: Any,
) -> Turn:
    """Return the turn of a job of ``task`` with these fields."""
    wanted = job(1, task, fields, step=step)
    return Turn(link, wanted, account(reply_timeout=reply_timeout), lambda: None, context or FreeContext())
