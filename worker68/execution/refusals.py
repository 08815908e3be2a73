"""What Redis refuses for good, by the key: a missing right, a key of another type. Named in the log, in ``check``, in metrics.

In: each refusal, and each key that was taken. Out: the keys that are refused now, with Redis's words. Never: more than a hundred of
them, whatever names producers make up; message text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from worker68.clock import monotonic
from worker68.observe.metrics import counter

log = structlog.get_logger(__name__)

#: Keys that are remembered by name. Of further ones only their number is known.
MOST_KEYS: Final = 100
#: A key that was not refused again for so long is forgotten: what is refused is tried again within five minutes.
FORGET_SECONDS: Final = 900.0
#: The same refusal is logged at most this often.
LOG_SECONDS: Final = 3600.0
#: The place of all keys beyond the hundred.
OTHERS: Final = "others"


@dataclass(frozen=True)
class Refused:
    """One key that Redis refuses. ``what`` is refused there: ``reply``, ``result``, ``event``, ..."""

    key: str
    what: str
    problem: str
    count: int
    last_at: float


class Refusals:
    """From any thread: what is read is replaced as a whole. Of two that note at once one may be known at its next note only."""

    def __init__(self) -> None:
        self._refused: dict[str, Refused] = {}
        self.counted = counter(
            "worker68_redis_refused_total",
            "What Redis refused for good: a key of another type, a missing right. `worker68 check` names the keys.",
            ("what",),
        )
        self._logged_at: dict[str, float] = {}

    def note(self, key: str, what: str, problem: str, remedy: str, count: int = 1) -> None:
        """Redis has refused this. Logged where it is new, and once an hour."""
        self.counted.labels(what).inc(count)
        known = {name: one for name, one in self._refused.items() if one.last_at > monotonic() - FORGET_SECONDS}
        if key not in known and len(known) >= MOST_KEYS:
            key = OTHERS
        before = known[key].count if key in known else 0
        self._refused = {**known, key: Refused(key, what, problem, before + count, monotonic())}
        if self._logged_at.get(key, 0.0) <= monotonic():
            logged_at = {name: at for name, at in self._logged_at.items() if at > monotonic()}
            self._logged_at = {**logged_at, key: monotonic() + LOG_SECONDS}
            log.error("redis_refused", key=key, what=what, problem=problem, count=before + count, remedy=remedy)

    def taken(self, key: str) -> None:
        """Redis has taken something at this key."""
        if key in self._refused:
            self._refused = {name: one for name, one in self._refused.items() if name != key}

    def now(self) -> list[Refused]:
        """Return what is refused now, by key."""
        since = monotonic() - FORGET_SECONDS
        return sorted((one for one in self._refused.values() if one.last_at > since), key=lambda one: one.key)
