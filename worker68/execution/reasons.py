"""Why a job waits, in words: for its row, the log and the command line. One wording for each reason, wherever it is found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from worker68.limits.limiter import Refusal
from worker68.limits.rates import Limits

#: An attempt was spent. The row says until when, and what went wrong.
BACKS_OFF: Final = "backing off after an attempt"

#: So many ids are named at most.
_NAMED = 3


def refused(refusal: Refusal, limits: Limits) -> str:
    """Say which limit refuses a job."""
    if refusal.limit == "busy":
        return "the service keeps saying busy: only a probe goes now and then, until one succeeds"
    rate = getattr(limits, refusal.limit)
    of = f"limit {refusal.limit} of the account's settings" + (f" ({rate})" if rate is not None else "")
    return of if refusal.pace >= 1 else f"{of}, slowed down to {refusal.pace:.0%} of it after busy answers"


def not_written(reason: str) -> str:
    """Say that a job had its turn and was put back, because its frame could not be written then."""
    return f"it had its turn, but was not written: {reason}"


def behind(job_ids: Iterable[str]) -> str:
    """Say that jobs of the same lane are under way."""
    ids = list(job_ids)
    named = ", ".join(ids[:_NAMED]) + (" and others" if len(ids) > _NAMED else "")
    return f"behind {named}, which is under way" if len(ids) < 2 else f"behind {named}, which are under way"
