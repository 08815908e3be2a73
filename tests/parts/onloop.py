"""A job loop for tests: what runs there in a worker is run to its end by the test's own thread."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from worker68.bridge.calls import Call
from worker68.clock import Deadline
from worker68.jobloop import JobLoop
from worker68.jobs.evidence import Evidence

T = TypeVar("T")


def run(way: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a job loop of its own; return what it returns."""
    with asyncio.Runner(loop_factory=JobLoop) as runner:
        return runner.run(way)


def evidence_of(call: Call, seconds: float) -> Evidence:
    """Wait for a call as a job does, so many seconds at most."""
    return run(call.wait(Deadline.after(seconds)))
