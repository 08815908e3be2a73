"""The gate: the last word before a frame leaves. On the loop.

In: a job's frame with its slot, and the moment. Out: it may leave now, or not before a point in time, or not at all and why. It
also hears which frames were told "busy", and keeps that until somebody who may wait tells the pace. Never: SQL, Redis, a wait.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from worker68.bridge.calls import Guard
from worker68.clock import monotonic, utc_now
from worker68.execution.slots import Slot
from worker68.jobs.job import Job
from worker68.jobs.task import JobClass
from worker68.limits.rates import Limits
from worker68.limits.spacing import Spacing

#: A moderation that has its slot goes before sends whose slots are no earlier, however late it is; but so long at most.
MODERATION_PATIENCE_SECONDS = 2.0


class Pass:
    """The guard of a job's frames, one after the other, each with a slot: called by the link just before the first byte.

    Renewed while none of its frames is under way.
    """

    def __init__(self, gate: Gate, job: Job, slot: Slot) -> None:
        self._gate = gate
        self._job = job
        self.slot = slot
        self.told_busy = False

    def renew(self, slot: Slot) -> None:
        """Take the slot of the next frame."""
        self.slot, self.told_busy = slot, False

    def __call__(self) -> str | float | None:
        return self._gate.check(self._job, self.slot)


class Gate:
    """One account's gate under one lease; ``owned`` says whether it holds. ``wake`` lets somebody look at ``take_busy``."""

    def __init__(self, limits: Limits, owned: Callable[[], bool], wake: Callable[[], None]) -> None:
        self._owned = owned
        self._wake = wake
        self._spacing = Spacing(limits)
        self._busy: deque[Slot] = deque()
        # Moderations that have their slots and are not written yet, by their numbers: the time of the first slot, and until when
        # they are waited for.
        self._moderations: dict[int, tuple[float, float]] = {}

    def expect(self, job: Job, slot: Slot) -> None:
        """A job will be written soon: it was chosen, or has missed its slot and took another.

        Then it keeps its place before the sends that were chosen after it, which may have taken another slot sooner.
        """
        if job.kind.job_class is JobClass.MODERATION:
            first_slot, _ = self._moderations.get(job.seq, (slot.write_at, 0.0))
            self._moderations[job.seq] = (first_slot, slot.write_at + MODERATION_PATIENCE_SECONDS)

    @property
    def tolerance_seconds(self) -> float:
        """How late any frame may come in its slot and still use it."""
        return self._spacing.tolerance_seconds

    def is_too_old(self, slot: Slot) -> bool:
        """Whether a slot was missed by so much that another one is needed."""
        return monotonic() - slot.write_at > self._spacing.oldest(slot.ask)

    def check(self, job: Job, slot: Slot) -> str | float | None:
        """Answer a guard of the link; None takes note of the write."""
        if not self._owned():
            return "this worker does not own the account any more"
        if job.expires_at is not None and job.expires_at <= utc_now():
            return "its time was over before its slot came"
        now = monotonic()
        if self.is_too_old(slot):
            return "its slot has passed"
        opens_at = max(slot.write_at, self._spacing.earliest(slot.ask), self._let_pass(job, slot, now))
        if opens_at > now:
            return opens_at
        self._moderations.pop(job.seq, None)
        self._spacing.note_write(slot.ask, now)
        return None

    def _let_pass(self, job: Job, slot: Slot, now: float) -> float:
        """Return until when this waits for moderations at most. What is written asks all that is held again."""
        if job.kind.job_class is JobClass.MODERATION or not self._moderations:
            return -math.inf
        self._moderations = {seq: times for seq, times in self._moderations.items() if times[1] > now}
        return max((until for at, until in self._moderations.values() if at <= slot.write_at), default=-math.inf)

    def note_busy(self, guard: Guard | None) -> None:
        """The frame of this guard was told "busy"."""
        if isinstance(guard, Pass):
            guard.told_busy = True
            self._busy.append(guard.slot)
            self._wake()

    def take_busy(self) -> Slot | None:
        """Return the slot of a frame that was told busy and of which the pace was not told yet; once each."""
        return self._busy.popleft() if self._busy else None

    def put_back_busy(self, slot: Slot) -> None:
        """The pace could not be told: offer it again."""
        self._busy.appendleft(slot)
