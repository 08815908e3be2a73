"""Late evidence: a verdict or an own message that nobody waits for any more corrects the job that it belongs to.

In: what the connection saw of a ``custom_msg_id`` without a waiting call. Out: the next revision of the job's outcome. Never: a
new attempt.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from worker68.bridge.correlation import LateEvidence
from worker68.clock import Deadline, utc_now
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution.kept import Kept, NotesRefused, Seen, try_to_keep
from worker68.jobs.evidence import Verdict
from worker68.jobs.judge import not_sent
from worker68.jobs.outcome import Outcome, Status, succeeded, whole_outcome
from worker68.observe import outages
from worker68.store.engine import Connection
from worker68.store.statements import attempts
from worker68.store.writer import Writer

log = structlog.get_logger(__name__)

#: Evidence may come between the end of a call's wait and the commit of its outcome: it is offered again for this long.
OFFER_SECONDS = 60.0
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class _Offer:
    account: str
    seen: LateEvidence
    until: Deadline
    kept: bool = False


class LateDesk:
    """One thread that applies late evidence. ``hand_in`` may be called from any thread and never waits."""

    def __init__(self, writer: Writer, kept: Kept, announce: Callable[[], None]) -> None:
        self._writer = writer
        self._kept = kept
        self._announce = announce
        self._offers: queue.SimpleQueue[_Offer | None] = queue.SimpleQueue()
        # The thread's own: what is offered again, and from when on. Each waits as long, so the first is due first.
        self._again: deque[tuple[Deadline, _Offer]] = deque()
        self._thread = threading.Thread(target=self._run, name="worker68-late", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Offer once more what is there; what finds no job then is kept in Redis, for the account's next owner."""
        self._offers.put(None)
        self._thread.join()
        left = [offer for _, offer in self._again]
        while not self._offers.empty():
            if (offer := self._offers.get()) is not None:
                left.append(offer)
        for offer in left:
            try_to_keep(self._kept, offer.account, Seen(offer.seen))

    def hand_in(self, account: str, seen: LateEvidence, *, kept: bool = False) -> None:
        """Offer evidence to its job. ``kept``: Redis keeps it, until it has been offered long enough or was taken."""
        self._offers.put(_Offer(account, seen, Deadline.after(OFFER_SECONDS), kept))

    def _run(self) -> None:
        while (offer := self._next()) is not None:
            self._offer(offer)
        again, self._again = self._again, deque()
        for _, offer in again:
            self._offer(offer)

    def _next(self) -> _Offer | None:
        """Wait for what is to be offered: something new, or something whose pause is over; None where the thread is to end.

        What is new goes first: while the database hangs, a try takes longer than the pause, and the others are always due.
        """
        while True:
            with suppress(queue.Empty):
                return self._offers.get_nowait()
            if self._again and self._again[0][0].passed:
                return self._again.popleft()[1]
            with suppress(queue.Empty):
                return self._offers.get(timeout=self._again[0][0].remaining() if self._again else None)

    def _offer(self, offer: _Offer) -> None:
        try:
            settled = self._apply(offer.account, offer.seen)
        except DatabaseAway:
            # What was seen is not forgotten, however long the database is away, and also if this process ends meanwhile.
            kept = offer.kept or try_to_keep(self._kept, offer.account, Seen(offer.seen)) is True
            settled, offer = False, replace(offer, until=Deadline.after(OFFER_SECONDS), kept=kept)
        except BaseException:  # whatever it is: nobody else corrects outcomes
            log.exception("late_evidence_failed", account=offer.account)
            settled = True
        if not settled and not offer.until.passed:
            self._again.append((Deadline.after(PAUSE_SECONDS), offer))
        elif offer.kept:
            self._forget(offer)

    def _forget(self, offer: _Offer) -> None:
        try:
            self._kept.forget(offer.account, Seen(offer.seen))
        except RedisAway as away:  # then the next owner offers it again, which does no harm
            outages.REDIS.fails("late", away)
        except NotesRefused as refused:  # likewise
            log.warning("note_not_forgotten", account=offer.account, problem=str(refused), remedy="look at the key")

    def _apply(self, account: str, seen: LateEvidence) -> bool:
        """Return False where the evidence should be offered again: its job has not ended yet."""
        outcome = _outcome(seen)
        if outcome is None:
            return True

        def revise(connection: Connection) -> bool | None:
            sent = attempts.find_sent(connection, account, int(seen.custom_msg_id))
            if sent is None or seen.attempt not in (None, sent.attempts):
                return None
            now, whole = utc_now(), whole_outcome(outcome, sent.done)
            revised = attempts.revise(connection, sent.seq, whole, now)
            if outcome.status is Status.SUCCEEDED:
                revised = revised or attempts.prove(connection, sent.seq, whole, now)
            return revised or (False if sent.sending else None)

        revised = self._writer.write(revise)
        if revised:
            log.info("outcome_revised", account=account, custom_msg_id=seen.custom_msg_id, status=outcome.status)
            self._announce()
        return revised is not False


def _outcome(seen: LateEvidence) -> Outcome | None:
    """A "sent" or an own message with a server id is a proof. A "not sent" is handed in only where it counts."""
    if seen.verdict is Verdict.NOT_SENT:
        return not_sent()
    if seen.verdict in (Verdict.SENT, Verdict.READ) or (seen.verdict is None and seen.message_id is not None):
        return succeeded({"custom_msg_id": seen.custom_msg_id, "message_id": seen.message_id, "sent_at": seen.sent_at})
    return None
