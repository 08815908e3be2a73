"""The calls of one account: those that wait to be written, and those that wait for what the bridge says.

In: calls; a connection that takes frames; what the bridge said. Out: frames on the connection, calls that are over, late evidence,
events. Never: a wait; a decision about the connection (``session``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from worker68.bridge.calls import Call, Guard
from worker68.bridge.connection import Connection
from worker68.bridge.correlation import Correlation, CorrelationEvent, ErrorReply, LateEvidence, Match, Refused, Settled
from worker68.bridge.frames import Event, Frame
from worker68.bridge.tally import Tally
from worker68.clock import monotonic
from worker68.jobs.evidence import BridgeError, Confirm
from worker68.protocol.messages import Newline

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LinkOptions:
    """What one account's settings and owner say about its bridge. ``max_pending`` bounds the calls under way.

    ``guard`` is asked before every frame of a call that has no guard of its own, such as those that the link makes itself.
    ``on_error`` is called with the guard of a call that was answered with an error, at once: its evidence may come much later.
    """

    match: Match = "auto"
    newline: Newline = "escaped"
    confirm: Confirm = "verdict"
    max_pending: int = 1024
    guard: Guard | None = None
    on_error: Callable[[Guard | None, BridgeError], None] | None = None


@dataclass(frozen=True)
class Listener:
    """What links call, on the loop. Each must be quick, and must neither wait nor make a call. An exception is logged and counted.

    ``on_change``: the state of an account's link has changed. ``on_event``: an account, the operator, and the bytes of an
    unsolicited frame that is not only about sends of ours.
    """

    on_change: Callable[[str], None]
    on_late_evidence: Callable[[str, LateEvidence], None]
    on_event: Callable[[str, str, bytes], None]


class Exchange:
    """One account's calls, over all of its connections."""

    def __init__(self, account: str, options: LinkOptions, listener: Listener, *, ids_given_back: bool) -> None:
        self._account = account
        self._on_error = options.on_error
        self._listener = listener
        self.tally = Tally()
        self.correlation = Correlation(
            options.match,
            self.tally,
            max_pending=options.max_pending,
            ids_given_back=ids_given_back,
            since=monotonic(),
        )
        self._calls: dict[str, Call] = {}
        self._outgoing = Outgoing(account, options.guard, self.tally)
        self._writing: Call | None = None

    @property
    def held_until(self) -> float:
        """When the first of the calls that are held may be written, in monotonic seconds."""
        return self._outgoing.held_until

    # -- calls

    def add(self, call: Call) -> None:
        """Take a call that is to be written, or refuse it."""
        try:
            self.correlation.add(call.pending)
        except Refused as refusal:
            self.refuse(call, str(refusal))
            return
        self._calls[call.pending.request_id] = call
        self._outgoing.add(call)

    def refuse(self, call: Call, reason: str) -> None:
        self.tally["calls_refused"] += 1
        self.end(call, reason)

    def withdraw(self, call: Call) -> None:
        """End a call whose caller has given up. If no byte was written yet, none will be."""
        if call.over:
            return
        if not call.written:
            self.tally["calls_withdrawn"] += 1
        self.end(call, None if call.written else "given up before a byte was written")

    def end(self, call: Call, refusal: str | None = None) -> None:
        self._outgoing.discard(call)
        self._calls.pop(call.pending.request_id, None)
        self.correlation.end(call.pending)
        call.finish(refusal)

    def end_all(self) -> None:
        for call in list(self._calls.values()):
            self.end(call)

    # -- writing

    def write(self, connection: Connection, now: float, why_not: Callable[[Call], str | None]) -> None:
        """Write what may be written now, as far as the connection takes it."""
        self._outgoing.forget_holds()  # while a frame is half written nothing else may go, however long it waits
        while connection.flush():
            self._finish_writing()
            call = self._outgoing.choose(now, why_not, self.refuse)
            if call is None or not connection.begin(call.frame):
                break
            self._outgoing.discard(call)
            self.correlation.note_written(call.pending, now)
            self.tally["messages_out"] += 1
            self._writing = call

    def _finish_writing(self) -> None:
        if self._writing is not None:
            call, self._writing = self._writing, None
            self._dispatch(self.correlation.note_written_whole(call.pending))

    def lose_connection(self, now: float, reason: str) -> None:
        """End what no other connection can answer, and refuse what was not written."""
        self._writing = None
        self._outgoing.forget_holds()
        for call in self._outgoing:
            self.refuse(call, f"the connection was lost before the write: {reason}")
        self._dispatch(self.correlation.note_connection_lost(now))

    # -- what the bridge said

    def take(self, frame: Frame, now: float) -> None:
        self._dispatch(self.correlation.receive(frame, now))

    def _dispatch(self, events: list[CorrelationEvent]) -> None:
        for event in events:
            match event:
                case Settled(pending):
                    call = self._calls.pop(pending.request_id)
                    self._outgoing.discard(call)
                    call.finish()
                case ErrorReply(pending, error):
                    if self._on_error is not None:
                        self.call_back(self._on_error, self._calls[pending.request_id].guard, error)
                case LateEvidence():
                    self.call_back(self._listener.on_late_evidence, self._account, event)
                case Event(operator, raw):
                    self.call_back(self._listener.on_event, self._account, operator, raw)

    def call_back(self, callback: Callable[..., None], *about: object) -> None:
        try:
            callback(*about)
        except Exception:
            log.exception("bridge_callback_failed", account=self._account)
            self.tally["callback_errors"] += 1


class Outgoing:
    """The calls that are not written yet, in the order in which they were made. ``guard``: of those that have none of their own."""

    def __init__(self, account: str, guard: Guard | None, tally: Tally) -> None:
        self._account = account
        self._guard = guard
        self._tally = tally
        self._calls: list[Call] = []
        self.held_until = math.inf
        """When the first of the calls that are held may be written, in monotonic seconds."""

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls))

    def add(self, call: Call) -> None:
        self._calls.append(call)

    def discard(self, call: Call) -> None:
        """Take a call out, if it is there."""
        if call in self._calls:
            self._calls.remove(call)

    def forget_holds(self) -> None:
        """Do not look again by time, until the next choice."""
        self.held_until = math.inf

    def choose(
        self, now: float, why_not: Callable[[Call], str | None], refuse: Callable[[Call, str], None]
    ) -> Call | None:
        """Return the first call that may be written now, and refuse those before it that may not be.

        A call that is held lets later ones pass: each has its own time.
        """
        self.held_until = math.inf
        for call in self:
            word = why_not(call) or self._ask(call)
            if word is None:
                return call
            if isinstance(word, str):
                refuse(call, word)
                continue
            call.held_since = call.held_since or now
            self.held_until = min(self.held_until, word)
        return None

    def _ask(self, call: Call) -> str | float | None:
        try:
            guard = call.guard or self._guard
            return guard() if guard is not None else None
        except Exception:
            log.exception("bridge_guard_failed", account=self._account)
            self._tally["callback_errors"] += 1
            return "the check before the write failed, see the log"
