"""Which leases this worker holds: a service of the loop that renews them, takes its share, gives up what is beyond it.

In: the accounts that there are, and this worker's share of them. Out: the calls in ``Callbacks``, and the lease held now. A loop
that stands still renews nothing, and so loses its accounts. Never: a wait for Redis on the loop; an end before ``stop``, whatever
Redis or a callback does; a write on the strength of its own word: ``Lease.held`` decides that.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from worker68.clock import boottime, monotonic
from worker68.errors import RedisAway
from worker68.fleet.held import HeldLeases, LeaseCallback
from worker68.fleet.leases import FRONT, Lease, Leases
from worker68.fleet.shares import Shares
from worker68.loop import Loop, Wakeup
from worker68.observe.outages import Outage

#: Two renewals may fail before a lease is lost.
_RENEWALS_PER_TTL: Final = 3

#: While Redis is away it is asked this often per TTL, so that a short absence costs no lease.
_TRIES_PER_TTL: Final = 10

#: The fleet is looked at this often, or as often as leases are renewed.
_LOOK_SECONDS: Final = 1.0

#: Whether a lease that is about to be given up is free of jobs is looked at this often.
_LEAVE_LOOK_SECONDS: Final = 0.05

#: Waits are shortened by up to this share, so that workers that started together do not ask together for ever.
_JITTER: Final = 0.2

#: Leases that are asked for in one call: Redis does nothing else meanwhile, and so many are some tenths of a millisecond.
_ASKED_AT_ONCE: Final = 100

log = structlog.get_logger(__name__)

_FAILED: Final = Outage(
    "ownership_round_failed", "ownership_works_again", "a fault in worker68: keep this line, report it", fault=True
)


@dataclass(frozen=True)
class Callbacks:
    """What ownership calls, on the loop. None of these may wait.

    ``on_gained``, ``on_lost``: see ``HeldLeases``. ``on_leaving``: the lease will be given up, so nothing new may begin under it.
    ``is_busy``: whether something that began under a leaving lease goes on; ``leave_seconds``: how long that is waited for.
    """

    on_gained: LeaseCallback
    on_lost: LeaseCallback
    on_leaving: LeaseCallback = lambda lease: None
    is_busy: Callable[[Lease], bool] = lambda lease: False
    leave_seconds: Callable[[Lease], float] = lambda lease: 60.0


class Ownership:
    """Holds leases for this worker while it runs. On the loop; ``lease`` and ``held`` on any thread.

    Renewals wait for nothing else: neither for a call that takes free leases, nor for a callback. A lease whose ``on_gained``
    raises is released without ``on_lost``, and tried again later. What belongs to no share is for who comes first.
    """

    def __init__(
        self,
        leases: Leases,
        shares: Shares,
        labels: Callable[[], Mapping[str, str | None] | None],
        loop: Loop,
        callbacks: Callbacks,
    ) -> None:
        """``labels``: what there is to own now, None while that is not known.

        By the name of each lease the label of its account; None for the front door, which belongs to no share.
        """
        self._leases = leases
        self._shares = shares
        self._labels = labels
        self._callbacks = callbacks
        self._mine = HeldLeases(loop, callbacks.on_gained, callbacks.on_lost)
        self._away: set[str] = set()  # which of the rounds Redis did not answer
        self._wakeups = {what: Wakeup(loop) for what in ("renewing", "sharing", "leaving")}
        self._draining = self._stopping = False
        self.looked_at = monotonic()  # the end of the last renewal, well or not

    @property
    def worker_id(self) -> str:
        """This worker's name in the leases."""
        return self._leases.worker_id

    async def run(self) -> None:
        """Hold leases until ``stop``; then give all up. Stop first what works under them: another worker may take them at once."""
        steps = {"renewing": self._renew, "sharing": self._share, "leaving": self._leave}
        await asyncio.gather(*(self._repeat(what, step) for what, step in steps.items()))
        try:
            await asyncio.to_thread(self._shares.leave)
        except Exception as error:  # noqa: BLE001 - its word ends by itself, and the leases must be given up
            log.warning("fleet_not_left", reason=str(error))
        await self._give_up(self._mine.all())

    def drain(self) -> None:
        """Take no lease any more; what is held is kept until ``stop``. On the loop."""
        self._draining = True
        self._wakeups["sharing"].set()

    def look_anew(self, given_up: Iterable[str]) -> None:
        """Look now at what there is to own, because it has changed. On the loop.

        ``given_up``: leases that go, as far as they are held, once nothing goes on under them; they may be taken anew.
        """
        found = (self._mine.find(name) for name in given_up)
        self._let_go([lease for lease in found if lease is not None and not lease.leaving])
        self._wakeups["sharing"].set()

    def stop(self) -> None:
        self._draining = self._stopping = True
        for wakeup in self._wakeups.values():
            wakeup.set()

    def lease(self, name: str) -> Lease | None:
        """Return the lease if it is held now."""
        lease = self._mine.find(name)
        return lease if lease is not None and lease.held else None

    def held(self) -> list[Lease]:
        """Return the leases that are held now."""
        return [lease for lease in self._mine.all() if lease.held]

    async def _repeat(self, what: str, step: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping:
            began_at = boottime()
            try:
                await step()
                self._note_redis(what, None)
                _FAILED.works(what)
            except RedisAway as away:
                self._note_redis(what, away)
            except Exception as error:  # noqa: BLE001 - logged, with its traceback
                _FAILED.fails(what, error)
            await self._wakeups[what].wait(began_at + self._pause_after(what) - boottime())

    async def _renew(self) -> None:
        """Renew all leases in one round trip, and act on what Redis says."""
        try:
            if not (asked := self._mine.all()):
                return
            renewed = await asyncio.to_thread(self._leases.renew, asked)
            kept = {lease for lease in asked if lease in self._mine and renewed.apply(lease)}
            for lease in asked:
                if lease in self._mine and lease not in kept:
                    self._mine.lose(lease, "it lapsed or another worker took it")
            # The answer came after their end: in Redis they would live on unused.
            if lapsed := list(renewed.ours - kept):
                await self._release(lapsed)
        finally:
            self.looked_at = monotonic()

    async def _share(self) -> None:
        """Take what is free up to this worker's share; let go what is beyond it."""
        if self._draining:
            await asyncio.to_thread(self._shares.leave)
            return
        if (labels := self._labels()) is None:
            return
        self._let_go([lease for lease in self._mine.all() if lease.name not in labels and not lease.leaving])
        if FRONT in labels:
            await self._take([FRONT], 1)
        shares = await asyncio.to_thread(self._shares.look, labels, list(self._staying()))
        staying, lacking = self._staying(), list[tuple[Collection[str], int]]()
        for share in shares:
            kept = [staying.pop(name) for name in list(staying) if name in share.names]
            if (surplus := len(kept) - share.most) > 0:
                self._let_go(sorted(kept, key=self._callbacks.is_busy)[:surplus])
            lacking.append((share.names, share.most - len(kept)))
        self._let_go(staying.values())  # others alone serve their labels: these have changed
        for names, most in lacking:
            if most > 0:
                await self._take(names, most)

    async def _take(self, wanted: Iterable[str], most: int) -> None:
        """Take so many of these leases as are free, a slice at a time."""
        names = [name for name in wanted if self._mine.find(name) is None]
        for start in range(0, len(names), _ASKED_AT_ONCE):
            if self._draining or most <= 0:
                return
            asked = names[start : start + _ASKED_AT_ONCE]
            acquired = await asyncio.to_thread(self._leases.acquire, asked, most)
            most -= len(acquired.leases)
            if refused := [lease for lease in acquired.leases if self._draining or not self._mine.gain(lease)]:
                await self._release(refused)
            for name in asked:
                problem = acquired.problems.get(name)
                _FAILED.works(name) if problem is None else _FAILED.fails(name, problem)

    def _let_go(self, leases: Iterable[Lease]) -> None:
        """Give these leases up as soon as nothing goes on under them."""
        for lease in leases:
            lease.leave_by = boottime() + self._callbacks.leave_seconds(lease)
            log.info("lease_leaves", lease=lease.name, account=lease.account, fence=lease.fence)
            self._callbacks.on_leaving(lease)
            self._wakeups["leaving"].set()

    async def _leave(self) -> None:
        """Give up the leases that are to leave, and under which nothing goes on any more, or for too long."""
        now, is_busy = boottime(), self._callbacks.is_busy
        leaving = [(lease, lease.leave_by) for lease in self._mine.all() if lease.leave_by is not None]
        await self._give_up([lease for lease, leave_by in leaving if leave_by <= now or not is_busy(lease)])

    def _staying(self) -> dict[str, Lease]:
        """Return the leases of accounts that are to be kept, by name."""
        return {lease.name: lease for lease in self._mine.all() if lease.account is not None and not lease.leaving}

    async def _give_up(self, leases: list[Lease]) -> None:
        """Release leases only after ``on_lost``, so that no other worker takes one while something still works under it."""
        self._mine.give_up(leases)
        if leases:
            await self._release(leases)

    async def _release(self, leases: Sequence[Lease]) -> None:
        try:
            await asyncio.to_thread(self._leases.release, leases)
        except RedisAway as error:
            log.warning("leases_left_to_lapse", leases=[lease.name for lease in leases], reason=str(error))
            return
        for lease in leases:
            log.info("lease_released", lease=lease.name, account=lease.account, fence=lease.fence)

    def _note_redis(self, what: str, away: RedisAway | None) -> None:
        """Log when Redis does not answer any more, and when it answers all rounds again."""
        if away is not None:
            if not self._away:
                log.warning("leases_wait_for_redis", reason=str(away), held=self._mine.names())
            self._away.add(what)
        elif what in self._away:
            self._away.remove(what)
            if not self._away:
                log.info("redis_answers_again", held=self._mine.names())

    def _pause_after(self, what: str) -> float:
        """Return how long after the beginning of a round the next one begins."""
        renewal = self._leases.ttl_seconds / _RENEWALS_PER_TTL
        if what == "leaving":
            return _LEAVE_LOOK_SECONDS if any(lease.leaving for lease in self._mine.all()) else renewal
        pause = self._leases.ttl_seconds / _TRIES_PER_TTL if what in self._away else renewal
        if what == "sharing":
            pause = min(pause, _LOOK_SECONDS)
        return pause * random.uniform(1 - _JITTER, 1)
