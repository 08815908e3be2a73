"""Let tasks make their steps at a bridge, and take apart what they find."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tests.integration.bridge.servers import WellBehavedBridge
from tests.parts.onloop import run
from tests.parts.turns import Collected, FreeContext, turn
from worker68.bridge.link import Link
from worker68.jobs.outcome import Outcome, Status
from worker68.jobs.snapshot import ListSeen
from worker68.simulator import Simulator
from worker68.simulator.population import MANAGED_GROUP
from worker68.tasks.turn import Turn

GROUP_CHAT = {"type": "group", "id": MANAGED_GROUP}


def act(link: Link, name: str, context: FreeContext | None = None, *, step: int = 0, **fields: Any) -> Any:
    """Let a task make one of its steps."""
    taken = turn(link, f"worker68.{name}", context, step=step, **fields)
    return run(taken.job.now.act(taken, taken.job.fields))


def answer(bridge: WellBehavedBridge, data: Any) -> None:
    """Let a bridge answer each call with this data."""
    bridge.answer = lambda frame: [{"id": frame["id"], "type": frame["type"], "data": data}]


def look(taken: Turn) -> Any:
    """Let a change be read back."""
    assert taken.job.now.read_back is not None
    return run(taken.job.now.read_back(taken, taken.job.fields))


def result(finding: Any) -> dict[str, Any]:
    assert isinstance(finding, Outcome), finding
    assert finding.status is Status.SUCCEEDED, finding
    assert finding.result is not None
    return finding.result


def rows(finding: Any) -> list[Any]:
    assert isinstance(finding, ListSeen), finding
    assert finding.whole, finding.note
    return cast(Collected, finding.rows).rows


def error(finding: Any) -> tuple[str, Any]:
    assert isinstance(finding, Outcome), finding
    assert finding.error is not None
    return finding.error.code, finding.error.bridge_code


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def frames_of(bridge: Simulator, frame_type: str) -> list[dict[str, Any]]:
    """Return the data of the calls of a request type."""
    calls = [one.frame["data"] for one in bridge.received if one.frame["type"] == "request"]
    return [call["data"] for call in calls if call["type"] == frame_type]


class Patient(FreeContext):
    """Lets a little time pass, so that a loop over the state of the link is none over the processor."""

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))
