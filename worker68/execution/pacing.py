"""What an account's work teaches it about time: how busy the service is, and how long a commit takes. On the loop.

In: what became of frames; how long a commit took. Out: the pace in Redis follows; when to begin a commit so that it is done when
the slot comes. Never: a decision about a job.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import structlog

from worker68.bridge.calls import Guard
from worker68.errors import RedisAway, words_of
from worker68.execution.slots import JobFrames, Slot
from worker68.jobs.evidence import BridgeError
from worker68.jobs.outcome import Outcome, Status, TryAgain
from worker68.limits.pace import Pace
from worker68.limits.slow_downs import SlowDown
from worker68.observe import outages
from worker68.settings import AccountSettings
from worker68.tasks.turn import Finding

log = structlog.get_logger(__name__)

#: A slow commit is remembered at once, with a margin, and forgotten by a tenth with each that follows: a slot that is missed is
#: lost, a commit that comes early only waits.
_FORGET: Final = 0.9
_MARGIN: Final = 1.5

#: From the decision that a commit must begin to the frame's hand-over.
LEAST_LEAD_SECONDS: Final = 0.1
MOST_COMMIT_SECONDS: Final = 1.0


class _Busy(NamedTuple):
    """A frame that met "busy": its slot, its kind of call, and what the answer slows down."""

    slot: Slot
    call: str
    rule: SlowDown


class LeadTime:
    """How long before its slot an attempt is committed.

    ``commit_seconds``: what a commit takes, with a margin; a slot that is much nearer cannot be used.
    """

    def __init__(self) -> None:
        self.commit_seconds = 0.0

    @property
    def seconds(self) -> float:
        return LEAST_LEAD_SECONDS + self.commit_seconds

    def note(self, commit_seconds: float) -> None:
        """Learn from a commit."""
        wanted = max(_MARGIN * commit_seconds, self.commit_seconds * _FORGET)
        self.commit_seconds = min(MOST_COMMIT_SECONDS, wanted)


class Pacing:
    """Reports to the pace of one account what its frames met. A Redis that is away is logged: the outcome matters more.

    ``wake`` has ``report_busy`` called soon. Which answers mean "busy" stands in the account's SLOW_DOWNS.
    """

    def __init__(self, settings: AccountSettings, pace: Pace, wake: Callable[[], None]) -> None:
        self._account = settings.name
        self._rules = settings.slow_downs
        self._pace = pace
        self._wake = wake
        self._busy: deque[_Busy] = deque()  # not reported yet
        self.lead = LeadTime()
        pace.forget(settings.name)

    def note_error(self, guard: Guard | None, error: BridgeError) -> None:
        """The bridge has answered the frame of this guard with an error: it may be a busy one."""
        rule = self._rules.get(error.code) if isinstance(error.code, int) else None
        if rule is not None and isinstance(guard, JobFrames):
            guard.was_busy = True
            self._busy.append(_Busy(guard.slot, guard.call, rule))
            self._wake()

    @property
    def has_busy(self) -> bool:
        """Whether ``report_busy`` has something to report."""
        return bool(self._busy)

    async def report_busy(self) -> None:
        """Slow down for the frames that met "busy" since the last call. Raises ``RedisAway``; then they are kept."""
        while self._busy:
            busy = self._busy.popleft()
            try:
                report = self._pace.report_busy
                await asyncio.to_thread(report, self._account, busy.slot.age_seconds, busy.call, busy.rule)
            except BaseException:
                self._busy.appendleft(busy)
                raise

    async def report_unused(self, slot: Slot) -> None:
        """Nothing was written in a slot: if it was a probe's, the next one may go."""
        if not self._pace.is_full(self._account, slot.ask.call):
            await self._call(partial(self._pace.note_unclear, written=False), slot, slot.ask.call)

    async def report(self, finding: Finding, frames: JobFrames) -> None:
        """Recover after a success; and let the next probe go after a frame that said nothing. "Busy" was reported before.

        At full pace none of this is worth a call of Redis.
        """
        if frames.was_busy or self._pace.is_full(self._account, frames.call):
            return
        if isinstance(finding, TryAgain):
            await self._call(partial(self._pace.note_unclear, written=finding.spent), frames.slot, frames.call)
        elif not isinstance(finding, Outcome) or finding.status is Status.SUCCEEDED:
            await self._call(self._pace.note_success, frames.slot, frames.call)
        else:
            await self._call(partial(self._pace.note_unclear, written=True), frames.slot, frames.call)

    async def _call(self, report: Callable[..., object], slot: Slot, call: str) -> None:
        try:
            await asyncio.to_thread(report, self._account, slot.age_seconds, call=call)
            outages.REDIS.works("pacing")
        except RedisAway as away:
            outages.REDIS.fails("pacing", away)
        except Exception as problem:  # noqa: BLE001 - the outcome matters more; a probe without an end is given up after a minute
            log.warning("pace_not_told", account=self._account, problem=words_of(problem))
