"""The leases that this worker holds, and the word to its owner when one is gained or lost. On the loop.

In: leases that Redis gave, and those that it does not confirm any more; a timer finds those that were not renewed in time. Out: one
``on_gained`` and one ``on_lost`` for each. Never: a call to Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from worker68.clock import boottime
from worker68.fleet.leases import Lease
from worker68.loop import Loop

log = structlog.get_logger(__name__)

LeaseCallback = Callable[[Lease], None]


class HeldLeases:
    """Each ``on_gained`` that returns is followed by exactly one ``on_lost`` for the same lease. Both must not wait.

    In ``on_lost`` the lease is still held when it is given up, and no longer when it was lost. A callback that raises is logged.
    """

    def __init__(self, loop: Loop, on_gained: LeaseCallback, on_lost: LeaseCallback) -> None:
        self._loop = loop
        self._on_gained = on_gained
        self._on_lost = on_lost
        self._leases: dict[str, Lease] = {}
        self._lapse_timer: asyncio.TimerHandle | None = None

    def __contains__(self, lease: Lease) -> bool:
        return self._leases.get(lease.name) is lease

    def all(self) -> list[Lease]:
        """Return all, also one that has just lapsed. On any thread."""
        return list(self._leases.values())

    def names(self) -> list[str]:
        return sorted(self._leases)

    def find(self, name: str) -> Lease | None:
        """Return the lease of this name, also one that has just lapsed. On any thread."""
        return self._leases.get(name)

    def gain(self, lease: Lease) -> bool:
        """Hold a lease from now on; return False, and end it, where ``on_gained`` raises."""
        self._leases[lease.name] = lease
        log.info("lease_gained", lease=lease.name, account=lease.account, fence=lease.fence)
        if not self._call("on_gained", self._on_gained, lease):
            del self._leases[lease.name]
            lease.end()
            return False
        self._watch_for_lapses()
        return True

    def lose(self, lease: Lease, reason: str) -> None:
        """Hold a lease no more that is not ours any more."""
        del self._leases[lease.name]
        log.warning("lease_lost", lease=lease.name, account=lease.account, fence=lease.fence, reason=reason)
        self._call("on_lost", self._on_lost, lease)

    def give_up(self, leases: Iterable[Lease]) -> None:
        """Hold these no more. They may be released afterwards: nothing works under them then."""
        for lease in leases:
            del self._leases[lease.name]
            self._call("on_lost", self._on_lost, lease)
            lease.end()

    def _watch_for_lapses(self) -> None:
        """Look at the leases when the first one ends, if it is not renewed until then. A later one ends later."""
        if self._lapse_timer is None and self._leases:
            end = min(lease.valid_until for lease in self._leases.values())
            self._lapse_timer = self._loop.call_later(max(0.0, end - boottime()), self._drop_lapsed)

    def _drop_lapsed(self) -> None:
        self._lapse_timer = None
        for lease in self.all():
            if not lease.held:
                self.lose(lease, "it was not renewed in time: Redis was away, or this worker stood still")
        self._watch_for_lapses()

    def _call(self, what: str, callback: LeaseCallback, lease: Lease) -> bool:
        """Call back; return whether it went well. Also a SystemExit must not end the service of the leases."""
        try:
            callback(lease)
        except BaseException:
            log.exception("lease_callback_failed", callback=what, lease=lease.name, account=lease.account)
            return False
        return True
