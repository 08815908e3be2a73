"""How an account slows down when the service says busy (300), and recovers: the share of its limits that it may use.

In: busy answers and successes, from any worker, each with the time since its slot was granted. Out: the pace and, where the service
keeps saying busy, a pause in which one probe at a time may go; both kept in Redis so that they survive workers, and read by
``gcra.lua`` in the call that grants. Never: a word about what is done with the job that met the busy answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import redis
import structlog

from worker68.redis_calls import LuaScript, redis_errors

#: A pace is a whole number of steps, so that no sum of fractions decides when it is full; the slowest is one step of these.
FULL_PACE: Final = 20

#: A step is won back by as many successes as a full pace has steps: the faster we are, the sooner the next one.
SUCCESSES_PER_STEP: Final = 20

#: Busy moments in a row, without a success after them, that open a pause: by then half the pace and a quarter of it were too fast.
MOMENTS_BEFORE_PAUSE: Final = 3

#: A pause is short at first, because most busy moments are; it doubles with each probe that is answered busy, up to the
#: minute after which a back-off asks again too.
FIRST_PAUSE_SECONDS: Final = 2
LONGEST_PAUSE_SECONDS: Final = 60

#: What the service thought of us a day ago says nothing about now.
_FORGOTTEN_AFTER_SECONDS: Final = 24 * 3600

_MICROSECONDS: Final = 1_000_000

log = structlog.get_logger(__name__)


def pace_key(account: str) -> str:
    """Return the key of an account's pace, in the same cluster slot as its limits."""
    return f"worker68:pace:{{{account}}}"


@dataclass(frozen=True)
class PaceState:
    """What holds for an account: the share of its limits that it may use, and how long no probe may go, where it is paused."""

    share: float = 1.0
    probe_in_seconds: float | None = None

    @property
    def words(self) -> str | None:
        """Say what is slower than the limits, None at full pace."""
        if self.share >= 1 and self.probe_in_seconds is None:
            return None
        slow = f"slowed down to {self.share:.0%} of its limits after busy answers"
        if self.probe_in_seconds is None:
            return slow
        return f"{slow}; the service keeps saying busy, so only a probe goes, the next one within {self.probe_in_seconds:.0f} s"


class Pace:
    """Changes the pace of accounts. Each call is one atomic step in Redis; raises ``RedisAway``. Thread-safe.

    ``age_seconds`` is how long ago the slot of the frame that was answered was granted: an answer to a frame of the pace before
    the last slow-down changes nothing. ``clock`` is for tests: microseconds in place of Redis's own clock.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], int] | None = None) -> None:
        self._slow_down = LuaScript(client, __package__, "slow_down.lua")
        self._speed_up = LuaScript(client, __package__, "speed_up.lua")
        self._end_probe = LuaScript(client, __package__, "end_probe.lua")
        self._clock = clock or (lambda: 0)
        # Accounts that were at full pace when last asked about, so that a success costs no call.
        self._at_full_pace: set[str] = set()
        # Changes with each busy answer: what was asked before one says nothing about the pace after it. Several calls run at once:
        # a busy answer changes this first and then the set, a success the set first and then looks here.
        self._numbers = itertools.count(1)
        self._busy_answer = 0

    def report_busy(self, account: str, age_seconds: float = 0.0) -> float:
        """Halve the account's pace, down to a twentieth, once for all answers of one moment; return it as a share of 1.

        When several moments in a row were busy a pause opens, or becomes longer.
        """
        arguments = [self._clock(), _microseconds(age_seconds), FULL_PACE, MOMENTS_BEFORE_PAUSE]
        arguments += [FIRST_PAUSE_SECONDS * _MICROSECONDS, LONGEST_PAUSE_SECONDS * _MICROSECONDS]
        steps, pause, counted = self._slow_down.run([pace_key(account)], [*arguments, _FORGOTTEN_AFTER_SECONDS])
        self._busy_answer = next(self._numbers)
        self._at_full_pace.discard(account)
        if counted:
            log.warning("account_slowed_down", account=account, pace=steps / FULL_PACE, pause=pause / _MICROSECONDS)
        return int(steps) / FULL_PACE

    def is_full(self, account: str) -> bool:
        """Whether the account was at full pace when this worker last asked: then a success, or a silence, tells nothing new."""
        return account in self._at_full_pace

    def note_success(self, account: str, age_seconds: float = 0.0) -> None:
        """Report a success, unless the account was at full pace when this worker last asked.

        A slow-down that another worker caused since is then made good only after this worker's own next busy answer; but one
        account has one worker at a time.
        """
        if self.is_full(account):
            return
        before = self._busy_answer
        if self.report_success(account, age_seconds=age_seconds) == 1.0:
            self._at_full_pace.add(account)
            if self._busy_answer != before:
                self._at_full_pace.discard(account)

    def note_unclear(self, account: str, age_seconds: float, written: bool) -> None:
        """Report that a frame got no answer that says anything, or was not written: if it was a probe the next one may go."""
        if not self.is_full(account):
            self._end_probe.run([pace_key(account)], [self._clock(), _microseconds(age_seconds), int(written)])

    def report_success(self, account: str, successes: int = 1, age_seconds: float = 0.0) -> float:
        """Raise the account's pace by a twentieth for every 20 successes since its last change, and end a pause.

        Returns the pace as a share of 1.
        """
        arguments = [self._clock(), _microseconds(age_seconds), FULL_PACE, _FORGOTTEN_AFTER_SECONDS]
        before, steps, ended = self._speed_up.run([pace_key(account)], [*arguments, successes, SUCCESSES_PER_STEP])
        if steps != before or ended:
            log.info("account_sped_up", account=account, pace=steps / FULL_PACE)
        return int(steps) / FULL_PACE


def read_paces(client: redis.Redis, accounts: Iterable[str]) -> dict[str, PaceState]:
    """Return what holds for each account now. Raises ``RedisAway``."""
    names = list(accounts)
    with redis_errors(), client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        for name in names:
            pipeline.hmget(pace_key(name), ["pace", "probe_at"])
        (seconds, microseconds), *found = pipeline.execute()
    now = seconds * _MICROSECONDS + microseconds
    return {name: _read_state(now, *fields) for name, fields in zip(names, found, strict=True)}


def _read_state(now: int, pace: bytes | None, probe_at: bytes | None) -> PaceState:
    share = int(pace) / FULL_PACE if pace is not None else 1.0
    return PaceState(share, max(0.0, (int(probe_at) - now) / _MICROSECONDS) if probe_at is not None else None)


def _microseconds(seconds: float) -> int:
    return round(max(0.0, seconds) * _MICROSECONDS)
