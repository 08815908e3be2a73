"""The outbox, published batch by batch in the order of its entries, and deleted. Called by the relay, in the pool.

In: entries of the accounts that this worker answers for. Out: the same in Redis; what Redis refuses for good is moved to the table
of refused entries. Never: an entry deleted that Redis does not have.
"""

from __future__ import annotations

from typing import Final

from worker68.clock import monotonic, utc_now
from worker68.execution.publishing import BATCH, STALE_AFTER, Ownership, Publisher
from worker68.execution.retries import pause_after
from worker68.observe.metrics import histogram
from worker68.store.engine import Engine
from worker68.store.outbox import fetch, find_latest_addresses
from worker68.store.refused import settle_outbox

#: The newest requesters, whose reply lists a worker cares for from its start: some milliseconds of SQL.
REQUESTERS_READ: Final = 5000


class Outbox:
    """Raises ``DatabaseAway``, and ``RedisAway``: then what is not published stays where it is."""

    def __init__(self, engine: Engine, publisher: Publisher, ownership: Ownership) -> None:
        self._engine = engine
        self._publisher = publisher
        self._ownership = ownership
        self._knows_lists = False  # to which replies went before this process began
        self.seconds = histogram("worker68_relay_seconds", "One batch of the outbox: read, published, deleted.")
        self.greatest_batch = 0  # of the last pass

    def publish(self) -> None:
        """Publish all that is there."""
        self.greatest_batch = 0
        while self._publish_batch() == BATCH:
            pass

    def find_lists(self) -> None:
        """Once, as owner of the front door: care for the lists and streams to which replies went before this process began."""
        if not self._knows_lists and self._ownership.others() is not None:
            self._publisher.care_for(find_latest_addresses(self._engine, REQUESTERS_READ))
            self._knows_lists = True

    def _publish_batch(self) -> int:
        """Publish one batch; return its size."""
        owned, others = self._ownership.owned_accounts(), self._ownership.others()
        entries = fetch(self._engine, owned, others, utc_now() - STALE_AFTER, BATCH)
        self.greatest_batch = max(self.greatest_batch, len(entries))
        if not entries:
            return 0
        began = monotonic()
        published = self._publisher.publish(entries)
        settle_outbox(self._engine, published.done, published.refused, utc_now() + pause_after(0))
        self._publisher.forget(published.done)
        self.seconds.observe(monotonic() - began)
        if published.away is not None:
            raise published.away
        return len(entries)
