"""A stand-in for the limiter in unit tests: it grants write times by a rule of the test, without Redis.

The real one is tested against real Redis in ``tests/integration/limits``; this one keeps to its types and its promise: one
answer for each ask, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from worker68.execution.slots import SlotRequests
from worker68.limits.limiter import Ask, Grant, Refusal, Request
from worker68.limits.rates import Limits

Rule = Callable[[Ask], Grant | Refusal]


class Slots:
    """Answers by ``rule``, which a test may change; ``asked`` counts the asks, ``calls`` the batches."""

    def __init__(self) -> None:
        self.rule: Rule = lambda ask: Grant(0.0)
        self.asked = 0
        self.calls = 0

    def acquire(
        self, account: str, limits: Limits, asks: Sequence[Ask], not_before_seconds: float = 0.0
    ) -> list[Grant | Refusal]:
        self.calls += 1
        self.asked += len(asks)
        return [self.rule(ask) for ask in asks]

    async def ask(self, request: Request) -> list[Grant | Refusal]:
        return await asyncio.to_thread(self.acquire, *request)

    def as_requests(self) -> SlotRequests:
        return cast(SlotRequests, self)


def refuse(limit: str, seconds: float) -> Rule:
    """Return the rule that refuses whatever meets ``limit``: ``account``, ``chat``, ``send``, ``moderate`` or ``read``."""

    def rule(ask: Ask) -> Grant | Refusal:
        if limit in ("account", ask.job_class) or (limit == "chat" and ask.chat is not None):
            return Refusal(limit, f"key:{limit}", seconds)  # type: ignore[arg-type]
        return Grant(0.0)

    return rule
