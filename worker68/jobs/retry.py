"""When a job is tried again, and when not any more."""

from __future__ import annotations

import datetime as dt
import random

from worker68.jobs.outcome import ErrorCode

#: The first back-off is up to this long; each next one up to twice as long (full jitter, so that jobs do not return in step).
BACK_OFF_BASE_SECONDS = 1.0
#: A send is not repeated sooner: a verdict of the attempt before may still be on its way.
SEND_FLOOR_SECONDS = 1.0
#: No single back-off is longer than this: a busy service is asked again at least once a minute.
BACK_OFF_CAP_SECONDS = 60.0

#: Far beyond the cap, and never too large for a float.
_DOUBLINGS_LIMIT = 30

#: Spent attempts after which a job fails, by what went wrong. A busy service usually recovers within the half minute that five
#: tries take; a bridge that is up but did not answer a request four times will not answer the fifth.
ATTEMPTS = {ErrorCode.BUSY: 5, ErrorCode.UNAVAILABLE: 4}
DEFAULT_ATTEMPTS = 3

#: So many workers may be lost while they try one step of a job: after that it is the job that kills them. On its last chance it
#: runs alone in its account, so that what was under way beside it at the other deaths is not taken for the cause.
DEATHS_ALLOWED = 3


def attempts_allowed(code: ErrorCode) -> int:
    """Return how many spent attempts a job may have when its last one ended with ``code``."""
    return ATTEMPTS.get(code, DEFAULT_ATTEMPTS)


def back_off_seconds(attempts: int, rng: random.Random | None = None, *, floor_seconds: float = 0.0) -> float:
    """Return how long to wait after the ``attempts``-th spent attempt: exponential with full jitter, over a floor."""
    doublings = min(max(0, attempts - 1), _DOUBLINGS_LIMIT)
    ceiling = min(BACK_OFF_CAP_SECONDS, BACK_OFF_BASE_SECONDS * 2**doublings)
    return floor_seconds + (rng or random).uniform(0, ceiling)


def bounded_due_at(due_at: dt.datetime, now: dt.datetime) -> dt.datetime:
    """Return when a back-off is over: no later than any may be, also where the clock was set back meanwhile."""
    return min(due_at, now + dt.timedelta(seconds=BACK_OFF_CAP_SECONDS))
