"""How an account, or one kind of its calls, slows down when the service says busy, and recovers: the share of its limits to use.

In: busy answers and successes, from any worker, each with the time since its slot was granted. Out: the pace and, where the service
keeps saying busy, a pause in which one probe at a time may go; both kept in Redis so that they survive workers, and read by
``gcra.lua`` in the call that grants. Never: a word about what is done with the job that met the busy answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import redis
import structlog

from worker68.jobs.evidence import BUSY
from worker68.limits.slow_downs import DEFAULT_RULES, TOGETHER_SECONDS, SlowDown
from worker68.redis_calls import LuaScript, redis_errors

#: A pace is a whole number of steps, so that no sum of fractions decides when it is full; the slowest is one step of these.
FULL_PACE: Final = 20

#: A step is won back by as many successes as a full pace has steps: the faster we are, the sooner the next one.
SUCCESSES_PER_STEP: Final = 20

#: Busy moments in a row, without a success after them, that open a pause: by then half the pace and a quarter of it were too fast.
MOMENTS_BEFORE_PAUSE: Final = 3

#: A pause is short at first, because most busy moments are; it doubles with each probe that meets busy, up to what the rule says:
#: by default the minute after which a back-off asks again too.
FIRST_PAUSE_SECONDS: Final = 2

#: What the service thought of us a day ago says nothing about now.
_FORGOTTEN_AFTER_SECONDS: Final = 24 * 3600

#: What sends are called among the kinds of calls.
_SEND: Final = "send"

_MICROSECONDS: Final = 1_000_000

log = structlog.get_logger(__name__)


def pace_key(account: str) -> str:
    """Return the key of an account's pace, in the same cluster slot as its limits."""
    return f"worker68:pace:{{{account}}}"


@dataclass(frozen=True)
class PaceState:
    """What holds for an account: the share of its limits that it may use, and how long no probe may go, where it is paused.

    ``calls``: the same for the kinds of calls that alone are slowed down.
    """

    share: float = 1.0
    probe_in_seconds: float | None = None
    calls: Mapping[str, PaceState] = field(default_factory=dict)

    @property
    def words(self) -> str | None:
        """Say what is slower than the limits, None at full pace."""
        found = [f"{call}: {pace._own_words('its pace')}" for call, pace in sorted(self.calls.items())]
        if self.share < 1 or self.probe_in_seconds is not None:
            found.insert(0, self._own_words("its limits"))
        return "; ".join(found) or None

    def _own_words(self, of: str) -> str:
        slow = f"slowed down to {self.share:.0%} of {of} after busy answers"
        if self.probe_in_seconds is None:
            return slow
        return f"{slow}; the service keeps saying busy, so only a probe goes, the next one within {self.probe_in_seconds:.0f} s"


class Pace:
    """Changes the pace of accounts. Each call is one atomic step in Redis; raises ``RedisAway``. Thread-safe.

    ``age_seconds`` is how long ago the slot of the frame that was answered was granted: an answer to a frame of the pace before
    the last slow-down changes nothing. ``call``: the kind of call that was answered, empty for a send. It has a pace of its own
    beside the account's. ``clock`` is for tests: microseconds in place of Redis's own clock.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], int] | None = None) -> None:
        self._slow_down = LuaScript(client, __package__, "slow_down.lua")
        self._speed_up = LuaScript(client, __package__, "speed_up.lua")
        self._end_probe = LuaScript(client, __package__, "end_probe.lua")
        self._clock = clock or (lambda: 0)
        # Accounts, and kinds of calls of them, that were at full pace when last asked about, so that a success costs no call.
        self._at_full_pace: set[tuple[str, str]] = set()
        # Changes with each busy answer: what was asked before one says nothing about the pace after it. Several calls run at once:
        # a busy answer changes this first and then the set, a success the set first and then looks here.
        self._numbers = itertools.count(1)
        self._busy_answer = 0

    def report_busy(
        self, account: str, age_seconds: float = 0.0, call: str = "", rule: SlowDown = DEFAULT_RULES[BUSY]
    ) -> float:
        """Slow down by the rule, once for all answers of one moment; return what is left of the pace, as a share of 1.

        It is the pace of the kind of call, or the account's. When several moments in a row were busy a pause opens, or becomes
        longer.
        """
        narrow = int(call != "" and rule.slows == "call")
        arguments: list[str | int] = [self._clock(), _microseconds(age_seconds), FULL_PACE, MOMENTS_BEFORE_PAUSE]
        arguments += [FIRST_PAUSE_SECONDS * _MICROSECONDS, _microseconds(rule.longest_pause_seconds)]
        arguments += [_FORGOTTEN_AFTER_SECONDS, call or _SEND, narrow, _microseconds(TOGETHER_SECONDS), str(rule.share)]
        steps, pause, counted, narrow = self._slow_down.run([pace_key(account)], arguments)
        self._busy_answer = next(self._numbers)
        self._at_full_pace.discard((account, call if narrow else ""))
        if counted:
            words = {"call": call} if narrow else {}
            log.warning(
                "account_slowed_down", account=account, pace=steps / FULL_PACE, pause=pause / _MICROSECONDS, **words
            )
        return int(steps) / FULL_PACE

    def forget(self, account: str) -> None:
        """Ask Redis again whether the account is at full pace: another worker may have owned it meanwhile."""
        for known in self._at_full_pace.copy():  # in one step: reports run in other threads
            if known[0] == account:
                self._at_full_pace.discard(known)

    def is_full(self, account: str, call: str = "") -> bool:
        """Whether all was at full pace when this worker last asked: then a success, or a silence, tells nothing new."""
        return all((account, one) in self._at_full_pace for one in {"", call})

    def note_success(self, account: str, age_seconds: float = 0.0, call: str = "") -> None:
        """Report a success, unless the pace was full when this worker last asked.

        A slow-down that another worker caused since is then not seen; but one account has one worker at a time (``forget``).
        """
        for one in sorted({"", call}):
            if (account, one) in self._at_full_pace:
                continue
            before = self._busy_answer
            if self.report_success(account, age_seconds=age_seconds, call=one) == 1.0:
                self._at_full_pace.add((account, one))
                if self._busy_answer != before:
                    self._at_full_pace.discard((account, one))

    def note_unclear(self, account: str, age_seconds: float, written: bool, call: str = "") -> None:
        """Report that a frame got no answer that says anything, or was not written: if it was a probe the next one may go."""
        for one in sorted({"", call}):
            if (account, one) not in self._at_full_pace:
                self._end_probe.run([pace_key(account)], [self._clock(), _microseconds(age_seconds), int(written), one])

    def report_success(self, account: str, successes: int = 1, age_seconds: float = 0.0, call: str = "") -> float:
        """Raise a pace by a twentieth for every 20 successes since its last change, and end a pause.

        ``call``: the pace of this kind of call, else the account's. Returns it as a share of 1.
        """
        arguments = [self._clock(), _microseconds(age_seconds), FULL_PACE, _FORGOTTEN_AFTER_SECONDS]
        before, steps, ended = self._speed_up.run(
            [pace_key(account)], [*arguments, successes, SUCCESSES_PER_STEP, call]
        )
        if steps != before or ended:
            words = {"call": call} if call else {}
            log.info("account_sped_up", account=account, pace=steps / FULL_PACE, **words)
        return int(steps) / FULL_PACE


def read_paces(client: redis.Redis, accounts: Iterable[str]) -> dict[str, PaceState]:
    """Return what holds for each account now. Raises ``RedisAway``."""
    names = list(accounts)
    with redis_errors(), client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        for name in names:
            pipeline.hgetall(pace_key(name))
        (seconds, microseconds), *found = pipeline.execute()
    now = seconds * _MICROSECONDS + microseconds
    return {name: _read_state(fields, now) for name, fields in zip(names, found, strict=True)}


def read_pace(fields: Mapping[bytes, bytes], call: str, now: int) -> PaceState:
    """Return one pace of a hash as Redis holds it: that of a kind of call, else the account's. ``now`` in microseconds."""
    of = f"call:{call}:" if call else ""
    pace, probe_at = fields.get(f"{of}pace".encode()), fields.get(f"{of}probe_at".encode())
    share = int(pace) / FULL_PACE if pace is not None else 1.0
    return PaceState(share, max(0.0, (int(probe_at) - now) / _MICROSECONDS) if probe_at is not None else None)


def _read_state(fields: Mapping[bytes, bytes], now: int) -> PaceState:
    names = [field.decode().split(":") for field in fields]
    calls = {name[1]: read_pace(fields, name[1], now) for name in names if name[0] == "call" and name[2] == "pace"}
    return replace(read_pace(fields, "", now), calls=calls)


def _microseconds(seconds: float) -> int:
    return round(max(0.0, seconds) * _MICROSECONDS)
