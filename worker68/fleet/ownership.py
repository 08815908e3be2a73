"""Which leases this worker holds: a service of the loop that renews them, takes free ones, and says what was gained and lost.

In: the names of the leases that this worker may hold. Out: calls of ``on_gained`` and ``on_lost``, and the lease held now. A loop
that stands still renews nothing, and so loses its accounts. Never: a wait for Redis on the loop; an end before ``stop``, whatever
Redis or a callback does; a write on the strength of its own word: ``Lease.held`` decides that.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog

from worker68.clock import boottime, monotonic
from worker68.errors import RedisAway
from worker68.fleet.held import HeldLeases, LeaseCallback
from worker68.fleet.leases import Lease, Leases
from worker68.loop import Loop, Wakeup
from worker68.observe.outages import Outage

#: Two renewals may fail before a lease is lost.
_RENEWALS_PER_TTL: Final = 3

#: While Redis is away it is asked this often per TTL, so that a short absence costs no lease.
_TRIES_PER_TTL: Final = 10

#: Waits are shortened by up to this share, so that workers that started together do not ask together for ever.
_JITTER: Final = 0.2

#: Leases that are asked for in one call: Redis does nothing else meanwhile, and so many are some tenths of a millisecond.
_ASKED_AT_ONCE: Final = 100

log = structlog.get_logger(__name__)

_FAILED: Final = Outage(
    "ownership_round_failed", "ownership_works_again", "a fault in worker68: keep this line, report it", fault=True
)


class Ownership:
    """Holds leases for this worker while it runs. On the loop; ``lease`` and ``held`` on any thread.

    Renewals wait for nothing else: neither for a call that takes free leases, nor for a callback. ``HeldLeases`` says what the
    callbacks may rely on. A lease whose ``on_gained`` raises is released without ``on_lost``, and tried again later.
    """

    def __init__(
        self, leases: Leases, names: Iterable[str], loop: Loop, *, on_gained: LeaseCallback, on_lost: LeaseCallback
    ) -> None:
        self._leases = leases
        self._names = tuple(dict.fromkeys(names))
        self._mine = HeldLeases(loop, on_gained, on_lost)
        self._away: set[str] = set()  # which of the two rounds Redis did not answer
        self._wakeups = (Wakeup(loop), Wakeup(loop))
        self._draining = self._stopping = False
        self.looked_at = monotonic()  # the end of the last renewal, well or not

    @property
    def worker_id(self) -> str:
        """This worker's name in the leases."""
        return self._leases.worker_id

    async def run(self) -> None:
        """Hold leases until ``stop``; then give all up. Stop first what works under them: another worker may take them at once."""
        renewing, acquiring = self._wakeups
        await asyncio.gather(
            self._repeat("renewing", self._renew, renewing), self._repeat("acquiring", self._acquire, acquiring)
        )
        await self._give_up(self._mine.all())

    def drain(self) -> None:
        """Take no lease any more; what is held is kept until ``stop``. On the loop."""
        self._draining = True

    def stop(self) -> None:
        self._draining = self._stopping = True
        for wakeup in self._wakeups:
            wakeup.set()

    def lease(self, name: str) -> Lease | None:
        """Return the lease if it is held now."""
        lease = self._mine.find(name)
        return lease if lease is not None and lease.held else None

    def held(self) -> list[Lease]:
        """Return the leases that are held now."""
        return [lease for lease in self._mine.all() if lease.held]

    def wanted(self) -> tuple[str, ...]:
        """Decide which leases this worker should hold: all that it knows. What is held and not wanted is given up."""
        return self._names

    async def _repeat(self, what: str, step: Callable[[], Awaitable[None]], wakeup: Wakeup) -> None:
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
            await wakeup.wait(self._next_round_at(what, began_at) - boottime())

    async def _renew(self) -> None:
        """Renew all leases in one round trip, and act on what Redis says."""
        try:
            wanted = frozenset(self.wanted())
            await self._give_up([lease for lease in self._mine.all() if lease.name not in wanted])
            if not (asked := self._mine.all()):
                return
            renewed = await asyncio.to_thread(self._leases.renew, asked)
            kept = {lease for lease in asked if lease in self._mine and renewed.apply(lease)}
            for lease in asked:
                if lease in self._mine and lease not in kept:
                    self._mine.lose(lease, "it lapsed or another worker took it")
            if lapsed := list(
                renewed.ours - kept
            ):  # the answer came after their end: in Redis they would live on unused
                await self._release(lapsed)
        finally:
            self.looked_at = monotonic()

    async def _acquire(self) -> None:
        """Take what is wanted and free, a slice at a time."""
        missing = [name for name in self.wanted() if self._mine.find(name) is None]
        for start in range(0, len(missing), _ASKED_AT_ONCE):
            if self._draining:
                return
            names = missing[start : start + _ASKED_AT_ONCE]
            acquired = await asyncio.to_thread(self._leases.acquire, names)
            if refused := [lease for lease in acquired.leases if self._draining or not self._mine.gain(lease)]:
                await self._release(refused)
            for name in names:
                problem = acquired.problems.get(name)
                _FAILED.works(name) if problem is None else _FAILED.fails(name, problem)

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
        """Log when Redis does not answer any more, and when it answers both rounds again."""
        if away is not None:
            if not self._away:
                log.warning("leases_wait_for_redis", reason=str(away), held=self._mine.names())
            self._away.add(what)
        elif what in self._away:
            self._away.remove(what)
            if not self._away:
                log.info("redis_answers_again", held=self._mine.names())

    def _next_round_at(self, what: str, began_at: float) -> float:
        rounds = _TRIES_PER_TTL if what in self._away else _RENEWALS_PER_TTL
        return began_at + self._leases.ttl_seconds / rounds * random.uniform(1 - _JITTER, 1)
