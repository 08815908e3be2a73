"""Grants write times under all the limits that jobs meet, in one call to Redis for a whole batch.

In: an account, its limits, and for each job its chat and class. Out, for each job: how long to wait before its bytes may leave,
or which limit refuses it and when to ask again. Never: waiting, a decision about which job comes first, a write to the bridge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import redis

from worker68.jobs.fields import Chat
from worker68.limits.pace import FULL_PACE, pace_key
from worker68.limits.rates import Limits, Rate
from worker68.redis_calls import LuaScript

JobClass: TypeAlias = Literal["send", "moderate", "read"]
LimitName: TypeAlias = Literal["account", "chat", "send", "moderate", "read"]

#: Long enough that a job is committed and on its way before its slot comes, so that none is wasted; short enough that a job
#: that turns out more urgent need not wait longer behind slots already granted.
AHEAD_SECONDS: Final = 2.0

#: An account without a limit must slow down from something when the service says busy: from the default of the contract.
RATE_TO_SLOW_DOWN_FROM: Final = Rate(60, 60)

#: The microsecond is the unit of Redis's clock.
_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Ask:
    """One job that wants to write. Reads, and whatever else goes to no chat, have none."""

    chat: Chat | None
    job_class: JobClass


@dataclass(frozen=True, slots=True)
class Grant:
    """The job's bytes may leave ``wait_seconds`` after the call, not sooner. The slot is spent whether it is used or not."""

    wait_seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing was taken. ``limit`` is the one with the longest wait and ``scope_key`` its key in Redis.

    Asking again before ``retry_after_seconds`` is in vain; later asks of the same scope would be refused as well.
    """

    limit: LimitName
    scope_key: str
    retry_after_seconds: float


@dataclass(frozen=True, slots=True)
class _Scope:
    """One limit as one ask meets it. ``only_when_slow``: it holds only while the account is slowed down."""

    limit: LimitName
    key: str
    rate: Rate
    only_when_slow: bool = False


class Limiter:
    """Asks for write times, which are at most ``ahead_seconds`` away. Thread-safe; keeps no state of its own.

    A Redis that comes back without its data begins anew. ``clock`` is for tests: microseconds in place of Redis's own clock.
    """

    def __init__(
        self, client: redis.Redis, ahead_seconds: float = AHEAD_SECONDS, clock: Callable[[], int] | None = None
    ) -> None:
        self._gcra = LuaScript(client, __package__, "gcra.lua")
        self._ahead_microseconds = round(ahead_seconds * _MICROSECONDS)
        self._clock = clock

    def acquire(self, account: str, limits: Limits, asks: Sequence[Ask]) -> list[Grant | Refusal]:
        """Answer each ask in order, as one atomic step: earlier grants of a batch count for the later ones.

        Write times of one account may be granted out of order where its limits allow a burst. Raises ``RedisAway``: then
        slots may have been spent, and nothing may be written.
        """
        if not asks:
            return []
        scopes_of_asks = [_scopes(account, limits, ask) for ask in asks]
        scopes = list(dict.fromkeys(scope for met in scopes_of_asks for scope in met))
        places = {scope: place for place, scope in enumerate(scopes, start=1)}
        arguments: list[str | int] = ["" if self._clock is None else self._clock(), self._ahead_microseconds, FULL_PACE]
        for scope in scopes:
            arguments += [scope.rate.interval_microseconds, scope.rate.burst, int(scope.only_when_slow)]
        for met in scopes_of_asks:
            arguments += [len(met), *(places[scope] for scope in met)]
        answers = self._gcra.run([pace_key(account), *(scope.key for scope in scopes)], arguments)
        return [_read_answer(scopes, int(place), int(microseconds)) for place, microseconds in answers]


def _scopes(account: str, limits: Limits, ask: Ask) -> list[_Scope]:
    everything = limits.account or RATE_TO_SLOW_DOWN_FROM
    scopes = [_Scope("account", _limit_key(account, "account"), everything, only_when_slow=limits.account is None)]
    if ask.chat is not None and limits.chat is not None:
        scopes.append(_Scope("chat", _limit_key(account, f"chat:{ask.chat.type}:{ask.chat.id}"), limits.chat))
    of_class: Rate | None = getattr(limits, ask.job_class)
    if of_class is not None:
        scopes.append(_Scope(ask.job_class, _limit_key(account, ask.job_class), of_class))
    return scopes


def _limit_key(account: str, scope: str) -> str:
    return f"worker68:limit:{{{account}}}:{scope}"


def _read_answer(scopes: list[_Scope], place: int, microseconds: int) -> Grant | Refusal:
    if place == 0:
        return Grant(microseconds / _MICROSECONDS)
    refusing = scopes[place - 1]
    return Refusal(refusing.limit, refusing.key, microseconds / _MICROSECONDS)
