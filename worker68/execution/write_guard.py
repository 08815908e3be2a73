"""The write guard: may this frame be written now, and if not, why not, or from when on? The only place that answers. On the loop.

In: a frame with its slot, and the moment. Out: None for yes, a reason in words, or a time. Never: SQL, Redis, a wait.
"""

from __future__ import annotations

import math
from typing import Final

from worker68.clock import monotonic, utc_now
from worker68.execution.pause_watch import AccountPause
from worker68.execution.slots import Slot
from worker68.fleet.leases import Lease
from worker68.jobs.job import Job
from worker68.jobs.task import JobClass
from worker68.limits.rates import Limits
from worker68.limits.spacing import Spacing

#: A moderation that has its slot goes before sends whose slots are no earlier, however late it is; but so long at most.
MODERATION_PATIENCE_SECONDS: Final = 2.0

NOT_OWNED: Final = "this worker does not own the account any more"


class WriteGuard:
    """One account's, under one lease."""

    def __init__(self, limits: Limits, lease: Lease, pause: AccountPause) -> None:
        self._lease = lease
        self._pause = pause
        self._spacing = Spacing(limits)
        # Moderations that have their slots and are not written yet, by their numbers: the time of the first slot, and until when
        # they are waited for.
        self._moderations: dict[int, tuple[float, float]] = {}

    @property
    def tolerance_seconds(self) -> float:
        """How late any frame may come in its slot and still use it."""
        return self._spacing.tolerance_seconds

    @property
    def paused(self) -> bool:
        """Whether a pause holds, as far as is known."""
        return self._pause.pause is not None

    def why_not(self) -> str | None:
        """Return why nothing at all may be written for the account now, None where it may: the lease has ended, or a pause holds.

        It is the guard of the frames that belong to no job.
        """
        return self._pause.why_not() if self._lease.held else NOT_OWNED

    def may_write(self, job: Job, slot: Slot) -> str | float | None:
        """Decide about a job's next frame, which has this slot. None takes note of the write: it must follow at once."""
        if (reason := self.why_not()) is not None:
            return reason
        if job.expires_at is not None and job.expires_at <= utc_now():
            return "its time was over before its slot came"
        if self.is_too_old(slot):
            return "its slot has passed"
        now = monotonic()
        opens_at = max(slot.write_at, self._spacing.earliest(slot.ask), self._moderations_until(job, slot, now))
        if opens_at > now:
            return opens_at
        self._moderations.pop(job.seq, None)
        self._spacing.note_write(slot.ask, now)
        return None

    def is_too_old(self, slot: Slot) -> bool:
        """Whether a slot was missed by so much that another one is needed."""
        return monotonic() - slot.write_at > self._spacing.oldest(slot.ask)

    def expect(self, job: Job, slot: Slot) -> None:
        """Take note that this job is to be written soon: it was chosen, or has missed its slot and took another.

        A moderation then keeps its place before the sends that were chosen after it, which may have taken another slot sooner.
        """
        if job.kind.job_class is JobClass.MODERATION:
            first_slot, _ = self._moderations.get(job.seq, (slot.write_at, 0.0))
            self._moderations[job.seq] = (first_slot, slot.write_at + MODERATION_PATIENCE_SECONDS)

    def _moderations_until(self, job: Job, slot: Slot, now: float) -> float:
        """Return until when this frame waits for moderations at most. Each write makes the link ask again for all that is held."""
        if job.kind.job_class is JobClass.MODERATION or not self._moderations:
            return -math.inf
        self._moderations = {seq: times for seq, times in self._moderations.items() if times[1] > now}
        return max((until for at, until in self._moderations.values() if at <= slot.write_at), default=-math.inf)


class JobFrames:
    """The frames of one attempt of a job, written one after the other, each in a slot of its own.

    The link calls it just before the first byte of each. ``written``: whether it let any of them leave. ``call``: the kind of the
    last one's call. ``was_busy``: whether it was answered with "busy".
    """

    def __init__(self, guard: WriteGuard, job: Job, slot: Slot) -> None:
        self._guard = guard
        self._job = job
        self.slot = slot
        self.call = slot.ask.call
        self.was_busy = False
        self.written = False

    def renew(self, slot: Slot) -> None:
        """Take the slot of the next frame, while none is under way."""
        self.slot, self.call, self.was_busy = slot, slot.ask.call, False

    def __call__(self) -> str | float | None:
        answer = self._guard.may_write(self._job, self.slot)
        self.written |= answer is None
        return answer
