"""Grants write times under all the limits that jobs meet, in one call to Redis for a whole batch.

In: an account, its limits, and for each job its chat and class. Out, for each job: how long to wait before its bytes may leave,
or which limit refuses it and when to ask again. Never: waiting, a decision about which job comes first, a write to the bridge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec
import redis

from worker68.jobs.fields import Chat
from worker68.jobs.task import LimitClass
from worker68.limits.pace import FULL_PACE, pace_key, read_pace
from worker68.limits.rates import Limits, Rate
from worker68.redis_calls import LuaScript, redis_errors

#: Two are no limits of the settings. ``busy``: the service keeps saying so, and only a probe may go (``pace``). ``call``: this kind
#: of call is slowed down.
LimitName: TypeAlias = Literal["account", "chat", "send", "moderate", "read", "call", "busy"]

#: Long enough that a job is committed and on its way before its slot comes, so that none is wasted; short enough that a job
#: that turns out more urgent need not wait longer behind slots already granted.
AHEAD_SECONDS: Final = 2.0

#: What has no limit must slow down from something when the service says busy: from the contract's default for an account.
RATE_TO_SLOW_DOWN_FROM: Final = Rate(60, 60)

#: The microsecond is the unit of Redis's clock.
_MICROSECONDS: Final = 1_000_000

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[float]).decode


@dataclass(frozen=True, slots=True)
class Ask:
    """One job that wants to write. Reads, and whatever else goes to no chat, have none. ``call``: its kind of call, if any."""

    chat: Chat | None
    job_class: LimitClass
    call: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """The job's bytes may leave ``wait_seconds`` after the call, not sooner. The slot is spent whether it is used or not."""

    wait_seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing was taken. ``limit`` is the one with the longest wait and ``scope_key`` its key in Redis.

    Asking again before ``retry_after_seconds`` is in vain; later asks of the same scope would be refused as well. ``pace``: the
    share of its limits that the account may use now. ``call``: the kind of call that alone is slowed down, if it is one.
    """

    limit: LimitName
    scope_key: str
    retry_after_seconds: float
    pace: float = 1.0
    call: str = ""


class Request(NamedTuple):
    """What one account asks: see ``Limiter.acquire``."""

    account: str
    limits: Limits
    asks: Sequence[Ask]
    not_before_seconds: float = 0.0


class _Scope(NamedTuple):
    """One limit as asks meet it. ``terms``: interval, burst, 1 if it holds only while its pace is not full.

    Its pace is that of the kind of call ``call``, else the account's.
    """

    limit: LimitName
    key: str
    terms: tuple[int, int, int]
    call: str = ""


class _Plan(NamedTuple):
    """What a batch of asks is about, whenever it is asked. ``packed``: the limits and which ask meets which, for ``gcra.lua``.

    ``calls``: the kinds of calls among them.
    """

    scopes: list[_Scope]
    calls: list[str]
    packed: msgspec.Raw
    pace_key: str


class Limiter:
    """Asks for write times, which are at most ``ahead_seconds`` ahead. Thread-safe; keeps no state of its own.

    A Redis that comes back without its data begins anew. ``clock`` is for tests: microseconds in place of Redis's own clock.
    """

    def __init__(
        self, client: redis.Redis, ahead_seconds: float = AHEAD_SECONDS, clock: Callable[[], int] | None = None
    ) -> None:
        self._gcra = LuaScript(client, __package__, "gcra.lua")
        self._ahead_microseconds = round(ahead_seconds * _MICROSECONDS)
        self._clock = clock

    def acquire(
        self, account: str, limits: Limits, asks: Sequence[Ask], not_before_seconds: float = 0.0
    ) -> list[Grant | Refusal]:
        """Answer each ask in order, as one atomic step: earlier grants of a batch count for the later ones.

        ``not_before_seconds``: an earlier slot would be lost, because the asker is not ready yet; less than ``ahead_seconds``.
        Write times of one account may be granted out of order where its limits allow a burst. Raises ``RedisAway``: then
        slots may have been spent, and nothing may be written.
        """
        if not asks:
            return []
        plan = _plan_of(account, limits, asks)
        return _read(plan, self._gcra.run((plan.pace_key,), (self._pack(plan, not_before_seconds),)))

    def acquire_each(self, requests: Sequence[Request]) -> list[list[Grant | Refusal] | Exception]:
        """Answer the requests of several accounts in one round trip, each in a step of its own.

        What Redis refuses to one of them stands in its place, as the error that ``acquire`` would raise. Raises ``RedisAway``.
        """
        if len(requests) == 1:
            return [self.acquire(*requests[0])]
        plans = [_plan_of(request.account, request.limits, request.asks) for request in requests]
        packed = [self._pack(plan, one.not_before_seconds) for plan, one in zip(plans, requests, strict=True)]
        replies = self._gcra.run_each(
            [((plan.pace_key,), (bytes_,)) for plan, bytes_ in zip(plans, packed, strict=True)]
        )
        return [
            self._gcra.error_of(reply) if isinstance(reply, redis.ResponseError) else _read(plan, reply)
            for plan, reply in zip(plans, replies, strict=True)
        ]

    def _pack(self, plan: _Plan, not_before_seconds: float) -> bytes:
        now = 0 if self._clock is None else self._clock()
        ready = round(not_before_seconds * _MICROSECONDS)
        return _encode((now, self._ahead_microseconds, FULL_PACE, ready, plan.packed))


def find_waits(client: redis.Redis, account: str, limits: Limits, asks: Sequence[Ask]) -> list[Refusal | None]:
    """Say for each ask which limit it would have to wait for longest if it were the next one, without taking anything.

    ``retry_after_seconds`` is until its write time. For people who ask why something waits. Raises ``RedisAway``.
    """
    met = [_scopes(account, limits, ask) for ask in asks]
    scopes = {scope.key: scope for of_ask in met for scope in of_ask}
    with redis_errors(), client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        pipeline.hgetall(pace_key(account))
        pipeline.mget(list(scopes))
        (seconds, microseconds), fields, tats = pipeline.execute()
    now = seconds * _MICROSECONDS + microseconds
    paces = {call: read_pace(fields, call, now) for call in {"", *(ask.call for ask in asks)}}  # "": the account's
    account_share = paces[""].share
    waits = {}
    for scope, tat in zip(scopes.values(), tats, strict=True):
        interval, burst, only_when_slow = scope.terms
        own_share = paces[scope.call].share
        holds = tat is not None and (own_share < 1 or not only_when_slow)
        share = account_share * own_share if scope.call else account_share
        waits[scope.key] = float(tat) - now - (burst - 1) * interval / share if holds else 0.0
    found: list[Refusal | None] = []
    for ask, of_ask in zip(asks, met, strict=True):
        longest = max(of_ask, key=lambda scope: waits[scope.key])
        wait = waits[longest.key] / _MICROSECONDS
        probe_in, call = max(
            ((paces[call].probe_in_seconds or 0.0, call) for call in ("", ask.call)), key=itemgetter(0)
        )
        if probe_in:
            found.append(Refusal("busy", pace_key(account), probe_in, account_share, call))
        elif wait > 0:
            found.append(Refusal(longest.limit, longest.key, wait, account_share, longest.call))
        else:
            found.append(None)
    return found


def _plan_of(account: str, limits: Limits, asks: Sequence[Ask]) -> _Plan:
    return _plan_one(account, limits, asks[0]) if len(asks) == 1 else _plan(account, limits, asks)


def _plan(account: str, limits: Limits, asks: Sequence[Ask]) -> _Plan:
    scopes: list[_Scope] = []
    places: dict[str, int] = {}
    calls: dict[str, int] = {"": 1}  # the account's pace is the first
    of_asks: list[int] = []
    for ask in asks:
        met = _scopes(account, limits, ask)
        of_asks += calls.setdefault(ask.call, len(calls) + 1), len(met)
        for scope in met:
            if scope.key not in places:
                scopes.append(scope)
                places[scope.key] = len(scopes)
            of_asks.append(places[scope.key])
    keys = [scope.key for scope in scopes]
    terms = [term for scope in scopes for term in (*scope.terms, calls[scope.call])]
    kinds = list(calls)[1:]
    return _Plan(scopes, kinds, msgspec.Raw(_encode((keys, terms, of_asks, kinds))), pace_key(account))


@lru_cache(maxsize=4096)
def _plan_one(account: str, limits: Limits, ask: Ask) -> _Plan:
    """Plan for an ask that comes alone, as most do. Remembered, as ``_scopes`` are."""
    return _plan(account, limits, (ask,))


@lru_cache(maxsize=4096)
def _scopes(account: str, limits: Limits, ask: Ask) -> tuple[_Scope, ...]:
    """Return the limits that an ask meets. Remembered, because this costs more than what is done with it."""
    only_when_slow = limits.account is None
    scopes = [_scope(account, "account", limits.account or RATE_TO_SLOW_DOWN_FROM, only_when_slow=only_when_slow)]
    if ask.chat is not None and limits.chat is not None:
        scopes.append(_scope(account, "chat", limits.chat, f"chat:{ask.chat.type}:{ask.chat.id}"))
    of_class: Rate | None = getattr(limits, ask.job_class)
    if of_class is not None:
        scopes.append(_scope(account, ask.job_class, of_class))
    if ask.call:
        own = _scope(account, "call", RATE_TO_SLOW_DOWN_FROM, f"call:{ask.call}", only_when_slow=True)
        scopes.append(own._replace(call=ask.call))
    return tuple(scopes)


def _scope(account: str, limit: LimitName, rate: Rate, name: str = "", only_when_slow: bool = False) -> _Scope:
    key = f"worker68:limit:{{{account}}}:{name or limit}"
    return _Scope(limit, key, (rate.interval_microseconds, rate.burst, int(only_when_slow)))


def _read(plan: _Plan, reply: bytes) -> list[Grant | Refusal]:
    pace, *answers = _decode(reply)
    return [
        Grant(microseconds / _MICROSECONDS) if place == 0 else _refuse(plan, int(place), microseconds, pace)
        for place, microseconds in zip(answers[::2], answers[1::2], strict=True)
    ]


def _refuse(plan: _Plan, place: int, microseconds: float, pace: float) -> Refusal:
    share, seconds = pace / FULL_PACE, microseconds / _MICROSECONDS
    if place < 0:
        return Refusal("busy", plan.pace_key, seconds, share, plan.calls[-place - 2] if place < -1 else "")
    scope = plan.scopes[place - 1]
    return Refusal(scope.limit, scope.key, seconds, share, scope.call)
