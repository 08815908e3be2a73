"""The watch over kill switches: one thread that asks SQL which accounts are paused, so that nothing else holds that up.

In: the accounts that this worker owns. Out: their permits, renewed once a second and whenever somebody rings; the owner's word
in the row of a pause that it has seen. Never: a frame; a permit renewed without SQL's word.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog

from worker68.clock import boottime
from worker68.errors import DatabaseAway
from worker68.execution.permit import Permit
from worker68.observe import outages
from worker68.store import pauses
from worker68.store.engine import Engine
from worker68.store.pauses import Pause

log = structlog.get_logger(__name__)

#: SQL is asked this often even if nobody rings; a permit lasts five times as long.
LOOK_SECONDS: Final = 1.0

_FAILED: Final = outages.Outage(
    "pause_watch_failed",
    "pause_watch_works_again",
    "a fault in worker68: nothing is written without a permit",
    fault=True,
)


class PauseWatch:
    """Renews the permits of one worker's accounts. ``changed`` is called when an account was paused or resumed."""

    def __init__(self, engine: Engine, owner: str, changed: Callable[[], None]) -> None:
        self._engine = engine
        self._owner = owner
        self._changed = changed
        self._lock = threading.Lock()  # guards the two below
        self._permits: dict[str, Permit] = {}
        self._told: dict[str, Pause] = {}
        self._rung = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="worker68-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._rung.set()
        self._thread.join()

    def ring(self) -> None:
        """Look now. On any thread; does not wait."""
        self._rung.set()

    def open(self, account: str) -> Permit:
        """Return the permit of an account that this worker owns from now on, as SQL says now. Raises ``DatabaseAway``."""
        permit = Permit()
        with self._lock:
            self._permits[account] = permit
            self._told.pop(account, None)
        self.look()
        return permit

    def close(self, account: str) -> None:
        """Let the permit of an account that was lost run out."""
        with self._lock:
            self._permits.pop(account, None)

    def look(self) -> None:
        """Ask SQL once, for all accounts, and act on it. On any thread. Raises ``DatabaseAway``."""
        asked_at = boottime()
        holding = pauses.list_pauses(self._engine)
        with self._lock:
            renewed = {name for name, permit in self._permits.items() if permit.renew(holding.get(name), asked_at)}
            unseen = [one for name, one in holding.items() if name in renewed and one.seen_by != self._owner]
            if len(renewed) < len(self._permits):
                self.ring()  # another thread's look overlapped with this one: ask again at once
            before = self._told
            self._told = {name: pause for name, one in self._permits.items() if (pause := one.pause) is not None}
            told = self._told
        # Only now, when nothing more is written: whoever has paused an account waits for this.
        for one in unseen:
            pauses.note_seen(self._engine, one.id, self._owner)
        self._tell(before, told)

    def _tell(self, before: dict[str, Pause], now: dict[str, Pause]) -> None:
        for account in now.keys() - before.keys():
            pause = now[account]
            remedy = f"when the reason is gone: worker68 resume {account} --reason ..."
            log.warning("account_paused", account=account, by=pause.paused_by, reason=pause.reason, remedy=remedy)
        for account in before.keys() - now.keys():
            log.info("account_resumed", account=account)
        if before.keys() != now.keys():
            self._changed()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.look()
                outages.DATABASE.works("watch")
                _FAILED.works("watch")
            except DatabaseAway as away:  # the permits end by themselves
                outages.DATABASE.fails("watch", away)
            except Exception as error:  # noqa: BLE001 - logged, with its traceback
                _FAILED.fails("watch", error)
            self._rung.wait(LOOK_SECONDS)
            self._rung.clear()
