"""How an account slows down when the service says busy (300), and recovers: the share of its limits that it may use.

In: busy answers and successes, from any worker. Out: the pace, kept in Redis so that it survives workers, read by ``gcra.lua``
in the call that grants. Never: a pause, a probe, or a word about what is done with the job that met the busy answer.
"""

from __future__ import annotations

from typing import Final

import redis
import structlog

from worker68.redis_calls import LuaScript

#: A pace is a whole number of steps, so that no sum of fractions decides when it is full; the slowest is one step of these.
FULL_PACE: Final = 20

#: A step is won back by as many successes as a full pace has steps: the faster we are, the sooner the next one.
SUCCESSES_PER_STEP: Final = 20

#: What the service thought of us a day ago says nothing about now.
_FORGOTTEN_AFTER_SECONDS: Final = 24 * 3600

log = structlog.get_logger(__name__)


def pace_key(account: str) -> str:
    """Return the key of an account's pace, in the same cluster slot as its limits."""
    return f"worker68:pace:{{{account}}}"


class Pace:
    """Changes the pace of accounts. Each call is one atomic step in Redis; raises ``RedisAway``. Thread-safe."""

    def __init__(self, client: redis.Redis) -> None:
        self._slow_down = LuaScript(client, __package__, "slow_down.lua")
        self._speed_up = LuaScript(client, __package__, "speed_up.lua")
        # Accounts that were at full pace when last asked about, so that a success costs no call; replaced, never changed in place.
        self._at_full_pace: frozenset[str] = frozenset()

    def report_busy(self, account: str) -> float:
        """Halve the account's pace, down to a twentieth; return the new one as a share of 1."""
        steps = int(self._slow_down.run([pace_key(account)], [FULL_PACE, _FORGOTTEN_AFTER_SECONDS]))
        self._at_full_pace -= {account}
        log.warning("account_slowed_down", account=account, pace=steps / FULL_PACE)
        return steps / FULL_PACE

    def note_success(self, account: str) -> None:
        """Report a success, unless the account was at full pace when this worker last asked.

        A slow-down that another worker caused since is then made good only after this worker's own next busy answer; but one
        account has one worker at a time.
        """
        if account not in self._at_full_pace and self.report_success(account) == 1.0:
            self._at_full_pace |= {account}

    def report_success(self, account: str, successes: int = 1) -> float:
        """Raise the account's pace by a twentieth for every 20 successes since its last change; return it as a share of 1."""
        arguments = [FULL_PACE, _FORGOTTEN_AFTER_SECONDS, successes, SUCCESSES_PER_STEP]
        before, steps = self._speed_up.run([pace_key(account)], arguments)
        if steps != before:
            log.info("account_sped_up", account=account, pace=steps / FULL_PACE)
        return int(steps) / FULL_PACE
