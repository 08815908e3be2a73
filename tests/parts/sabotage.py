"""Faults that a worker process of a test is born with: a death at a named point, a wrong clock, an action that kills.

In: a ``Sabotage``, in the worker's own process, before it starts. Out: functions of worker68 replaced by ones that fail. So the
code that runs in production knows nothing of it: no hook to pay for, none that could be pulled by accident. A point whose function
is not there any more fails the process at once, and with it the test.
"""

from __future__ import annotations

import datetime as dt
import importlib
import inspect
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partialmethod
from pathlib import Path
from typing import Any, Final, Literal, cast

from worker68 import clock

When = Literal["before", "after"]


@dataclass(frozen=True)
class Point:
    """A place on a job's way: before or after a call of ``name`` in ``module`` whose arguments are ``relevant``.

    Death comes with the ``passing``-th of these: the second where one call is one job's, so that one job has passed.
    """

    module: str
    name: str
    when: When = "before"
    relevant: Callable[..., bool] = lambda *args, **kwargs: True
    passing: int = 2


#: In the order of a job's way.
POINTS: Final[dict[str, Point]] = {
    "between pop and intake": Point("execution.intake", "Intake.take_in", passing=1),
    "between the intake's commit and the acknowledgement": Point("broker.source", "Source.ack", passing=1),
    "after the acknowledgement": Point("broker.source", "Source.ack", "after", passing=1),
    "between its beginning and the attempt": Point("execution.execute", "Execution._begin"),
    "between the attempt's commit and the write": Point("bridge.link", "Link.send"),
    "after the first byte": Point(
        "bridge.correlation", "Correlation.note_written", "after", lambda _self, pending, _now: pending.send is not None
    ),
    "after the write": Point(
        "bridge.correlation", "Correlation.note_written_whole", "after", lambda _self, pending: pending.send is not None
    ),
    "after the verdict": Point("execution.execute", "Execution._conclude"),
    "before the outcome's commit": Point("store.statements.attempts", "settle"),
    "within the outcome's commit": Point("store.statements.attempts", "settle", "after"),
    "after the outcome's commit": Point("execution.dispatch", "Dispatch.finish"),
    "before the publish": Point("execution.publishing", "Publisher.publish", passing=1),
    "after the publish": Point("execution.relay", "settle_outbox", passing=1),
    "between two steps": Point("execution.execute", "Execution._advance", "after", passing=1),
}

#: On the way of moderation that is taken out of the middle of a queue.
SEARCH_POINTS: Final[dict[str, Point]] = {
    "before moderation is taken out": Point(
        "broker.moderation", "ModerationSearch._take_out", "before", lambda _self, finds, _used: bool(finds), passing=1
    ),
    "after moderation is taken out": Point(
        "broker.moderation", "ModerationSearch._take_out", "after", lambda _self, finds, _used: bool(finds), passing=1
    ),
    **{name: POINTS[name] for name in list(POINTS)[:3]},
}

#: On the way of a message of the front door to the queue of its account, and from there.
SORT_POINTS: Final[dict[str, Point]] = {
    "before a message is sorted": Point("broker.source", "Source.move", "before", passing=1),
    "after a message is sorted": Point("broker.source", "Source.move", "after", passing=1),
    **{name: POINTS[name] for name in list(POINTS)[:3]},
}

ALL_POINTS: Final = POINTS | SEARCH_POINTS | SORT_POINTS


@dataclass(frozen=True)
class Sabotage:
    """What goes wrong in one worker.

    ``crash_at``, ``freeze_at``: names of ``ALL_POINTS``. ``clock_file``: holds the seconds by which the wall clock
    is wrong, always.
    ``constants``: other values for them, by names like ``runtime.CUT_AFTER_SECONDS``. ``slots_ahead_seconds``: how far ahead the
    limits grant a slot. ``deadly_task``: its action ends the process; ``leaving_task``: its action raises SystemExit.
    ``unknown_task``: it is of a version that does not have it yet.
    """

    crash_at: str | None = None
    freeze_at: str | None = None
    clock_file: str | None = None
    constants: dict[str, float] = field(default_factory=dict)
    slots_ahead_seconds: float | None = None
    deadly_task: str | None = None
    leaving_task: str | None = None
    unknown_task: str | None = None

    def commit(self) -> None:
        """Do it to this process."""
        if self.crash_at is not None:
            _rig(ALL_POINTS[self.crash_at], die)
        if self.freeze_at is not None:
            _rig(ALL_POINTS[self.freeze_at], freeze)
        if self.clock_file is not None:
            _set_clock(Path(self.clock_file))
        for name, value in self.constants.items():
            module, _, constant = name.rpartition(".")
            holder = importlib.import_module(f"worker68.{module}")
            assert hasattr(holder, constant)
            setattr(holder, constant, value)
        if self.slots_ahead_seconds is not None:
            _grant_slots_ahead(self.slots_ahead_seconds)
        if self.deadly_task is not None:
            _replace_action(self.deadly_task, die)
        if self.leaving_task is not None:
            _replace_action(self.leaving_task, leave)
        if self.unknown_task is not None:
            _forget_task(self.unknown_task)


def die(*_: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def freeze(*_: Any) -> Any:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1.0)  # this thread alone may run on for a moment


def leave(*_: Any) -> Any:
    raise SystemExit(3)


def _rig(point: Point, do: Callable[[], Any]) -> None:
    holder, last, original = find(point)
    passed = 0

    def rigged(*args: Any, **kwargs: Any) -> Any:
        nonlocal passed
        due = False
        if point.relevant(*args, **kwargs):
            passed += 1
            due = passed >= point.passing
        if due and point.when == "before":
            do()
        result = original(*args, **kwargs)
        if due and point.when == "after":
            if inspect.isawaitable(result):
                return _do_behind(result, do)
            do()
        return result

    setattr(holder, last, rigged)


def find(point: Point) -> tuple[Any, str, Callable[..., Any]]:
    """Return what holds the function of a point, its name there, and the function. Raises ``AttributeError`` where it is gone."""
    holder: Any = importlib.import_module(f"worker68.{point.module}")
    *path, last = point.name.split(".")
    for part in path:
        holder = getattr(holder, part)
    return holder, last, getattr(holder, last)


async def _do_behind(way: Awaitable[Any], do: Callable[[], Any]) -> Any:
    """Do it after what a call only begins: it is over when it has been awaited."""
    result = await way
    do()
    return result


def _set_clock(file: Path) -> None:
    true_now = clock.utc_now

    def wrong_now() -> dt.datetime:
        return true_now() + dt.timedelta(seconds=float(file.read_text() or "0"))

    for name, module in list(sys.modules.items()):
        if name.startswith("worker68") and getattr(module, "utc_now", None) is true_now:
            module.utc_now = wrong_now  # type: ignore[attr-defined]


def _grant_slots_ahead(seconds: float) -> None:
    limiter: Any = importlib.import_module("worker68.limits.limiter").Limiter
    limiter.__init__ = partialmethod(limiter.__init__, ahead_seconds=seconds)


def _replace_action(task: str, action: Callable[..., Any]) -> None:
    from worker68.tasks import TASKS

    (step,) = cast(Any, TASKS[task].steps)
    TASKS[task] = replace(TASKS[task], steps=(replace(step, act=action),))


def _forget_task(task: str) -> None:
    from worker68.tasks import TASKS

    del TASKS[task]
