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

LeaseCallback = Callable[[Lease], None]


class Ownership:
    """Holds leases for this worker while it runs. On the loop; ``lease`` and ``held`` on any thread.

    Renewals wait for nothing else: neither for a call that takes free leases, nor for a callback. Each ``on_gained`` that returns
    is followed by exactly one ``on_lost`` for the same lease. Both are called on the loop and must not wait. In ``on_lost`` the
    lease is still held when it is given up at ``stop``, and no longer when it was lost. A callback that raises is logged; if it was
    ``on_gained`` the lease is released without ``on_lost``, and tried again later.
    """

    def __init__(
        self, leases: Leases, names: Iterable[str], loop: Loop, *, on_gained: LeaseCallback, on_lost: LeaseCallback
    ) -> None:
        self._leases = leases
        self._names = tuple(dict.fromkeys(names))
        self._loop = loop
        self._on_gained = on_gained
        self._on_lost = on_lost
        self._mine: dict[str, Lease] = {}
        self._away: set[str] = set()  # which of the two rounds Redis did not answer
        self._lapse_timer: asyncio.TimerHandle | None = None
        self._wakeups = (Wakeup(loop), Wakeup(loop))
        self._draining = self._stopping = False
        self.looked_at = monotonic()  # the end of the last renewal, well or not

    async def run(self) -> None:
        """Hold leases until ``stop``; then give all up. Stop first what works under them: another worker may take them at once."""
        renewing, acquiring = self._wakeups
        await asyncio.gather(
            self._repeat("renewing", self._renew, renewing), self._repeat("acquiring", self._acquire, acquiring)
        )
        await self._give_up(list(self._mine.values()))

    def drain(self) -> None:
        """Take no lease any more; what is held is kept until ``stop``. On the loop."""
        self._draining = True

    def stop(self) -> None:
        self._draining = self._stopping = True
        for wakeup in self._wakeups:
            wakeup.set()

    def lease(self, name: str) -> Lease | None:
        """Return the lease if it is held now."""
        lease = self._mine.get(name)
        return lease if lease is not None and lease.held else None

    def held(self) -> list[Lease]:
        """Return the leases that are held now."""
        return [lease for lease in list(self._mine.values()) if lease.held]

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
            await self._give_up([lease for lease in self._mine.values() if lease.name not in wanted])
            if not (asked := list(self._mine.values())):
                return
            renewed = await asyncio.to_thread(self._leases.renew, asked)
            for lease in asked:
                if self._mine.get(lease.name) is lease and not renewed.apply(lease):
                    self._lose(lease, "it lapsed or another worker took it")
        finally:
            self.looked_at = monotonic()

    async def _acquire(self) -> None:
        """Take what is wanted and free, a slice at a time."""
        missing = [name for name in self.wanted() if name not in self._mine]
        for start in range(0, len(missing), _ASKED_AT_ONCE):
            if self._draining:
                return
            names = missing[start : start + _ASKED_AT_ONCE]
            acquired = await asyncio.to_thread(self._leases.acquire, names)
            if refused := [lease for lease in acquired.leases if self._draining or not self._gain(lease)]:
                await self._release(refused)
            for name in names:
                problem = acquired.problems.get(name)
                _FAILED.works(name) if problem is None else _FAILED.fails(name, problem)

    def _drop_lapsed(self) -> None:
        self._lapse_timer = None
        for lease in list(self._mine.values()):
            if not lease.held:
                self._lose(lease, "it was not renewed in time: Redis was away, or this worker stood still")
        self._watch_for_lapses()

    def _watch_for_lapses(self) -> None:
        """Look at the leases when the first one ends, if it is not renewed until then. A later one ends later."""
        if self._lapse_timer is None and self._mine:
            end = min(lease.valid_until for lease in self._mine.values())
            self._lapse_timer = self._loop.call_later(max(0.0, end - boottime()), self._drop_lapsed)

    def _gain(self, lease: Lease) -> bool:
        """Return False where it could not be taken over; it is not held then."""
        self._mine[lease.name] = lease
        log.info("lease_gained", lease=lease.name, account=lease.account, fence=lease.fence)
        if not self._call("on_gained", self._on_gained, lease):
            self._forget(lease)
            lease.end()
            return False
        self._watch_for_lapses()
        return True

    def _lose(self, lease: Lease, reason: str) -> None:
        self._forget(lease)
        log.warning("lease_lost", lease=lease.name, account=lease.account, fence=lease.fence, reason=reason)
        self._call("on_lost", self._on_lost, lease)

    async def _give_up(self, leases: list[Lease]) -> None:
        """Release leases only after ``on_lost``, so that no other worker takes one while something still works under it."""
        for lease in leases:
            self._forget(lease)
            self._call("on_lost", self._on_lost, lease)
            lease.end()
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

    def _forget(self, lease: Lease) -> None:
        if self._mine.get(lease.name) is lease:
            del self._mine[lease.name]

    def _call(self, what: str, callback: LeaseCallback, lease: Lease) -> bool:
        """Call back; return whether it went well. Also a SystemExit must not end this service."""
        try:
            callback(lease)
        except BaseException:
            log.exception("lease_callback_failed", callback=what, lease=lease.name, account=lease.account)
            return False
        return True

    def _note_redis(self, what: str, away: RedisAway | None) -> None:
        """Log when Redis does not answer any more, and when it answers both rounds again."""
        if away is not None:
            if not self._away:
                log.warning("leases_wait_for_redis", reason=str(away), held=sorted(self._mine))
            self._away.add(what)
        elif what in self._away:
            self._away.remove(what)
            if not self._away:
                log.info("redis_answers_again", held=sorted(self._mine))

    def _next_round_at(self, what: str, began_at: float) -> float:
        rounds = _TRIES_PER_TTL if what in self._away else _RENEWALS_PER_TTL
        return began_at + self._leases.ttl_seconds / rounds * random.uniform(1 - _JITTER, 1)
