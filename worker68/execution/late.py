"""Late evidence: a verdict or an own message for which no job waits any more corrects the job that it belongs to.

In: what the connection saw of a ``custom_msg_id`` without a waiting call. Out: the next revision of the job's outcome. Never: a
new attempt; a wait of what is new for what is offered again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from worker68.bridge.correlation import LateEvidence
from worker68.clock import Deadline, utc_now
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution.recorder import Kept, NotesRefused, Seen, try_to_keep, written
from worker68.jobs.evidence import Verdict, not_sent
from worker68.jobs.outcome import Outcome, Status, succeeded, whole_outcome
from worker68.loop import Loop, Wakeup
from worker68.observe import outages
from worker68.store.engine import Connection
from worker68.store.statements import attempts
from worker68.store.writer import Writer, each

log = structlog.get_logger(__name__)

#: Evidence may come between the end of a call's wait and the commit of its outcome: it is offered again for this long.
OFFER_SECONDS = 60.0
PAUSE_SECONDS = 1.0
#: A database that takes longer than this is as one that is away: it may never answer. What it was given then may be written all the
#: same, which does no harm.
WRITE_SECONDS = 5.0
#: Offers that are written together.
BATCH: Final = 50


@dataclass(frozen=True)
class _Offer:
    account: str
    seen: LateEvidence
    until: Deadline
    kept: bool = False


class LateOffers:
    """Applies late evidence: a service of the loop. ``hand_in`` may be called from any thread and never waits."""

    def __init__(self, writer: Writer, kept: Kept, announce: Callable[[], None], loop: Loop) -> None:
        self._writer = writer
        self._kept = kept
        self._announce = announce
        self._new: deque[_Offer] = deque()
        # What is offered again, and from when on. Each waits as long, so the first is due first.
        self._again: deque[tuple[Deadline, _Offer]] = deque()
        self._wakeup = Wakeup(loop)
        self._stopping = False

    async def run(self) -> None:
        """Offer until ``stop``, and then once more; what finds no job is kept in Redis, for the account's next owner."""
        while not self._stopping:
            if offers := self._take_due():
                await self._offer(offers)
            else:
                await self._wakeup.wait(self._again[0][0].remaining() if self._again else None)
        left = [*self._new, *(offer for _, offer in self._again)]
        self._new.clear()
        self._again.clear()
        for start in range(0, len(left), BATCH):
            await self._offer(left[start : start + BATCH])
        await asyncio.to_thread(self._keep, [offer for _, offer in self._again])

    def stop(self) -> None:
        self._stopping = True
        self._wakeup.set()

    def hand_in(self, account: str, seen: LateEvidence, *, kept: bool = False) -> None:
        """Offer evidence to its job. ``kept``: Redis keeps it, until it has been offered long enough or was taken."""
        self._new.append(_Offer(account, seen, Deadline.after(OFFER_SECONDS), kept))
        self._wakeup.set()

    def _take_due(self) -> list[_Offer]:
        """Take what is new, or else what is due again: while the database hangs, that is always so."""
        if self._new:
            return [self._new.popleft() for _ in range(min(BATCH, len(self._new)))]
        due: list[_Offer] = []
        while self._again and self._again[0][0].passed and len(due) < BATCH:
            due.append(self._again.popleft()[1])
        return due

    async def _offer(self, offers: list[_Offer]) -> None:
        settled = await asyncio.gather(*map(self._apply, offers))
        away = [offer for offer, of_it in zip(offers, settled, strict=True) if of_it is None]
        # What was seen is not forgotten, however long the database is away, and also if this process ends meanwhile.
        kept = await asyncio.to_thread(self._keep, away) if away else frozenset()
        over: list[_Offer] = []
        for offer, of_it in zip(offers, settled, strict=True):
            if of_it is None:
                renewed = replace(offer, until=Deadline.after(OFFER_SECONDS), kept=offer.kept or offer in kept)
                self._again.append((Deadline.after(PAUSE_SECONDS), renewed))
            elif not of_it and not offer.until.passed:
                self._again.append((Deadline.after(PAUSE_SECONDS), offer))
            elif offer.kept:
                over.append(offer)
        if over:
            await asyncio.to_thread(self._forget, over)

    def _keep(self, offers: Iterable[_Offer]) -> frozenset[_Offer]:
        """Keep offers in Redis; return those that are there for certain. While it does not answer, the others wait."""
        kept = set()
        for offer in offers:
            certain = offer.kept or try_to_keep(self._kept, offer.account, Seen(offer.seen))
            if certain is None:
                break
            if certain:
                kept.add(offer)
        return frozenset(kept)

    def _forget(self, offers: Iterable[_Offer]) -> None:
        for offer in offers:
            try:
                self._kept.forget(offer.account, Seen(offer.seen))
            except RedisAway as away:  # then the next owner offers it again, which does no harm
                outages.REDIS.fails("late", away)
                return
            except NotesRefused as refused:  # likewise
                log.warning("note_not_forgotten", account=offer.account, problem=str(refused), remedy="look at the key")

    async def _apply(self, offer: _Offer) -> bool | None:
        """Return False where the evidence should be offered again: its job has not ended; None where the database is away."""
        account, seen = offer.account, offer.seen
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

        try:
            revised = await asyncio.wait_for(written(self._writer, each, revise), WRITE_SECONDS)
        except (DatabaseAway, TimeoutError):
            return None
        except asyncio.CancelledError:
            raise
        except BaseException:  # whatever it is: nothing else corrects outcomes
            log.exception("late_evidence_failed", account=account)
            return True
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
