"""Which leases this worker holds: one thread that renews them, takes free ones, and says what was gained and lost.

In: the names of the leases that this worker may hold. Out: calls of ``on_gained`` and ``on_lost``, and for any thread the lease
held now. Never: an end of the thread before ``stop``, whatever Redis or a callback does; a write on the strength of its own word:
``Lease.held`` decides that.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from worker68.clock import boottime, monotonic
from worker68.errors import RedisAway
from worker68.fleet.leases import Lease, Leases
from worker68.observe.outages import Outage

#: Two renewals may fail before a lease is lost.
_RENEWALS_PER_TTL: Final = 3

#: While Redis is away it is asked this often per TTL, so that a short absence costs no lease.
_TRIES_PER_TTL: Final = 10

#: Waits are shortened by up to this share, so that workers that started together do not ask together for ever.
_JITTER: Final = 0.2

log = structlog.get_logger(__name__)

_FAILED: Final = Outage(
    "ownership_round_failed", "ownership_works_again", "a fault in worker68: keep this line, report it", fault=True
)

LeaseCallback = Callable[[str, Lease], None]


class Ownership:
    """Holds leases for this worker from ``start`` to ``stop``.

    Each ``on_gained`` that returns is followed by exactly one ``on_lost`` for the same lease. Both are called on the thread of
    this object, with the lease's name first, and must return well within a third of the lease's time: nothing is renewed
    meanwhile. In ``on_lost`` the lease is still held when it is given up at ``stop``, and no longer when it was lost. A callback
    that raises is logged; if it was ``on_gained`` the lease is released without ``on_lost``, and tried again later.
    """

    def __init__(
        self, leases: Leases, names: Iterable[str], *, on_gained: LeaseCallback, on_lost: LeaseCallback
    ) -> None:
        self._leases = leases
        self._names = tuple(dict.fromkeys(names))
        self._on_gained = on_gained
        self._on_lost = on_lost
        # Replaced as a whole by the own thread and never changed in place, so that other threads read it without a lock.
        self._mine: dict[str, Lease] = {}
        self._redis_is_away = False
        self.looked_at = monotonic()  # the end of the last round, well or not
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker68-ownership", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Give up every lease and end the thread; return when it has ended, at the latest when all leases have run out.

        Stop first what works under the leases: another worker may take them at once.
        """
        self._stopping.set()
        if not self._thread.is_alive():
            return
        self._thread.join(timeout=self._leases.ttl_seconds)
        if self._thread.is_alive():
            log.warning("ownership_stop_overdue", leases=sorted(self._mine))

    def lease(self, name: str) -> Lease | None:
        """Return the lease if it is held now. Thread-safe."""
        lease = self._mine.get(name)
        return lease if lease is not None and lease.held else None

    def held(self) -> list[Lease]:
        """Return the leases that are held now. Thread-safe."""
        return [lease for lease in self._mine.values() if lease.held]

    def wanted(self) -> tuple[str, ...]:
        """Decide which leases this worker should hold: all that it knows. What is held and not wanted is given up."""
        return self._names

    def _run(self) -> None:
        while not self._stopping.is_set():
            began_at = boottime()
            try:
                self._look_after_leases(began_at)
                _FAILED.works("ownership")
            except Exception as error:  # noqa: BLE001 - logged, with its traceback
                _FAILED.fails("ownership", error)
            self.looked_at = monotonic()
            self._stopping.wait(self._pause_seconds(began_at))
        self._give_up(list(self._mine.values()))

    def _look_after_leases(self, began_at: float) -> None:
        wanted = self.wanted()
        try:
            self._renew(wanted)
            self._take_free(wanted, began_at + self._leases.ttl_seconds / _RENEWALS_PER_TTL)
        except RedisAway as error:
            if not self._redis_is_away:
                log.warning("leases_wait_for_redis", reason=str(error), held=sorted(self._mine))
            self._redis_is_away = True
        else:
            if self._redis_is_away:
                log.info("redis_answers_again", held=sorted(self._mine))
            self._redis_is_away = False
        finally:
            self._drop_lapsed()

    def _renew(self, wanted: tuple[str, ...]) -> None:
        self._give_up([lease for lease in self._mine.values() if lease.name not in wanted])
        for lease in self._mine.values():
            if not self._leases.renew(lease):
                self._lose(lease, "it lapsed or another worker took it")

    def _take_free(self, wanted: tuple[str, ...], until: float) -> None:
        """Take what is wanted and free, but stop when slow callbacks have used up the time to the next renewal."""
        for name in wanted:
            if self._stopping.is_set() or boottime() >= until:
                return
            lease = None if name in self._mine else self._leases.acquire(name)
            if lease is not None:
                self._gain(lease)

    def _drop_lapsed(self) -> None:
        for lease in self._mine.values():
            if not lease.held:
                self._lose(lease, "it lapsed while Redis could not be asked")

    def _gain(self, lease: Lease) -> None:
        self._mine = {**self._mine, lease.name: lease}
        log.info("lease_gained", lease=lease.name, account=lease.account, fence=lease.fence)
        if not self._call("on_gained", self._on_gained, lease):
            self._forget([lease])
            self._release([lease])

    def _lose(self, lease: Lease, reason: str) -> None:
        self._forget([lease])
        log.warning("lease_lost", lease=lease.name, account=lease.account, fence=lease.fence, reason=reason)
        self._call("on_lost", self._on_lost, lease)

    def _give_up(self, leases: list[Lease]) -> None:
        """Release leases only after ``on_lost``, so that nobody takes one while something still works under it."""
        self._forget(leases)
        for lease in leases:
            self._call("on_lost", self._on_lost, lease)
        self._release(leases)

    def _release(self, leases: list[Lease]) -> None:
        for place, lease in enumerate(leases):
            try:
                self._leases.release(lease)
            except RedisAway as error:
                # The others are not tried: each could cost a time-out, and all lapse by themselves.
                log.warning("leases_left_to_lapse", leases=[left.name for left in leases[place:]], reason=str(error))
                return
            log.info("lease_released", lease=lease.name, account=lease.account, fence=lease.fence)

    def _forget(self, leases: list[Lease]) -> None:
        gone = {lease.name for lease in leases}
        self._mine = {name: lease for name, lease in self._mine.items() if name not in gone}

    def _call(self, what: str, callback: LeaseCallback, lease: Lease) -> bool:
        """Call back; return whether it went well. Also a SystemExit must not end this thread."""
        try:
            callback(lease.name, lease)
        except BaseException:
            log.exception("lease_callback_failed", callback=what, lease=lease.name, account=lease.account)
            return False
        return True

    def _pause_seconds(self, began_at: float) -> float:
        """Return the time until the next round, or until the first lease ends if that comes sooner."""
        rounds = _TRIES_PER_TTL if self._redis_is_away else _RENEWALS_PER_TTL
        next_at = began_at + self._leases.ttl_seconds / rounds * random.uniform(1 - _JITTER, 1)
        ends = [lease.valid_until for lease in self._mine.values()]
        return max(0.0, min([next_at, *ends]) - boottime())
