"""One account's bridge as the I/O thread sees it: connect, say and hear, lose, connect again.

In: calls to write; readiness of the socket; the time. Out: calls that are over, what the bridge said, the state. Never: a
wait; never on another thread: all of this runs on the I/O thread.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from worker68.bridge.calls import Call, Guard
from worker68.bridge.connection import Connection, Dial
from worker68.bridge.correlation import (
    Correlation,
    CorrelationEvent,
    LateEvidence,
    Match,
    Refused,
    Settled,
    ToldBusy,
)
from worker68.bridge.frames import Event, Hello, Network
from worker68.bridge.framing import Opcode, Received
from worker68.bridge.health import Health, Timing
from worker68.bridge.outgoing import Outgoing
from worker68.bridge.pending import Pending
from worker68.bridge.tally import Tally
from worker68.clock import monotonic
from worker68.jobs.judge import Confirm
from worker68.protocol.messages import Newline, encode_call

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LinkOptions:
    """What one account's settings and owner say about its bridge. ``max_pending`` bounds the calls under way.

    ``guard`` is asked before every frame, also before those that the link writes of its own accord. ``on_busy`` is called on the
    I/O thread with the guard of a call that was answered with "busy", at once: its evidence may be waited for much longer.
    """

    match: Match = "auto"
    newline: Newline = "escaped"
    confirm: Confirm = "verdict"
    max_pending: int = 1024
    guard: Guard | None = None
    on_busy: Callable[[Guard | None], None] | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a session needs of the thread it runs on, and whom it tells. The callbacks must be quick and must not wait."""

    post: Callable[[Session, Callable[[], None]], None]
    watch: Callable[[Session, Connection], None]
    unwatch: Callable[[Connection], None]
    on_state: Callable[[str, str | None], None]
    on_late_evidence: Callable[[str, LateEvidence], None]
    on_event: Callable[[str, str, bytes], None]
    message_limit: int
    timing: Timing


class Session:
    """The connection of one account, and the calls on it."""

    def __init__(
        self,
        account: str,
        url: str,
        options: LinkOptions,
        surroundings: Surroundings,
        *,
        ids_given_back: bool,
        new_request_id: Callable[[], str],
        publish: Callable[[str | None, str | None, str | None], bool],
    ) -> None:
        self.account = account
        self._url = url
        self._on_busy = options.on_busy
        self._around = surroundings
        self._timing = surroundings.timing
        self._new_request_id = new_request_id
        self._publish = publish
        self.tally = Tally()
        self.correlation = Correlation(
            options.match, self.tally, max_pending=options.max_pending, ids_given_back=ids_given_back
        )
        self._health = Health(url, self._timing)
        self._calls: dict[str, Call] = {}
        self._outgoing = Outgoing(account, options.guard, self.tally)
        self._writing: Call | None = None
        self._dial: Dial | None = None
        self._connection: Connection | None = None
        self._failures = 0
        self._redial_at = math.inf
        self._api_url: str | None = None
        self._api_call: Call | None = None
        self._api_ask_at = math.inf
        self._closed = False

    # -- what the I/O loop asks and tells

    @property
    def next_due(self) -> float:
        """When ``on_time`` wants to be called, in monotonic seconds."""
        return min(self._redial_at, self._api_ask_at, self._outgoing.held_until, self._health.next_due)

    @property
    def has_buffered(self) -> bool:
        return self._connection is not None and self._connection.has_buffered

    def open(self) -> None:
        """Begin to connect, and go on until closed."""
        if self._closed:
            return
        self._start_dial()
        self._show(monotonic())

    def on_ready(self) -> None:
        """The socket can be read or written."""
        now = monotonic()
        connection = self._connection
        if connection is None:
            return
        for received in connection.receive():
            self._hear(connection, received, now)
        self._pump(now)
        self._show(now)

    def on_time(self) -> None:
        """The time ``next_due`` has come."""
        now = monotonic()
        if now >= self._redial_at:
            self._start_dial()
        reason = self._health.why_drop(now)
        if reason is not None:
            self._drop(reason)
        elif self._health.take_ping(now) and self._connection is not None:
            self._connection.ping()
        if now >= self._api_ask_at:
            self._ask_api_url(now)
        self._pump(now)
        self._show(now)

    def fail(self) -> None:
        """Something in here broke that must not: start over with a new connection, the calls keep their rules."""
        now = monotonic()
        self.tally.count("internal_errors")
        reason = "an error of worker68's own, see the log"
        self._health.note_lost(reason)
        self._drop(reason)
        if self._dial is not None:
            self._dial.abandon()
            self._dial = None
        if not self._closed and self._redial_at == math.inf:
            self._plan_redial(now)
        self._show(now)

    def close(self) -> None:
        """Drop the connection and end every call. Afterwards nothing is written and every new call is refused."""
        if self._closed:
            return
        self._closed = True
        if self._dial is not None:
            self._dial.abandon()
        self._drop("closed by worker68")
        self._redial_at = math.inf
        for call in list(self._calls.values()):
            self._end(call)
        self._show(monotonic())

    # -- calls

    def submit(self, call: Call) -> None:
        """Take a call, and write it now if the socket takes it; or refuse it."""
        now = monotonic()
        refusal = "the link is closed" if self._closed else self._why_not_write(call, now)
        if refusal is not None:
            self.tally.count("calls_refused")
            call.finish(refusal)
            return
        self._enqueue(call)
        self._pump(now)
        self._show(now)

    def withdraw(self, call: Call) -> None:
        """End a call whose caller has given up. If no byte was written yet, none will be."""
        if call.over:
            return
        if not call.written:
            self.tally.count("calls_withdrawn")
        self._end(call, None if call.written else "given up before a byte was written")

    def _enqueue(self, call: Call) -> None:
        try:
            self.correlation.add(call.pending)
        except Refused as refusal:
            self.tally.count("calls_refused")
            call.finish(str(refusal))
            return
        self._calls[call.pending.request_id] = call
        self._outgoing.add(call)

    def _refuse(self, call: Call, reason: str) -> None:
        self.tally.count("calls_refused")
        self._end(call, reason)

    def _end(self, call: Call, refusal: str | None = None) -> None:
        self._outgoing.discard(call)
        self._calls.pop(call.pending.request_id, None)
        self.correlation.end(call.pending)
        call.finish(refusal)

    # -- writing

    def _pump(self, now: float) -> None:
        """Write what can be written now."""
        self._outgoing.held_until = (
            math.inf
        )  # until it is looked at again; while a frame is half written nothing else may go
        connection = self._connection
        if connection is None:
            return
        while connection.flush():
            self._finish_writing()
            call = self._outgoing.choose(now, lambda one: self._why_not_write(one, now), self._refuse)
            if call is None or not connection.begin(call.frame):
                break
            self._outgoing.discard(call)
            self.correlation.note_written(call.pending, now)
            self.tally.count("messages_out")
            self._writing = call
        if connection.lost is not None:
            self._drop(connection.lost)
        else:
            self._around.watch(self, connection)

    def _why_not_write(self, call: Call, now: float) -> str | None:
        """What goes to the client alone needs no more than Hello."""
        return self._health.why_not_ready(now) if call.needs_login else self._health.why_not_reached

    def _finish_writing(self) -> None:
        if self._writing is not None:
            call, self._writing = self._writing, None
            self._dispatch(self.correlation.note_written_whole(call.pending), monotonic())

    # -- hearing

    def _hear(self, connection: Connection, received: Received, now: float) -> None:
        self._health.note_heard(now)
        match received.opcode:
            case Opcode.PING:
                connection.pong(received.payload)
            case Opcode.PONG:
                pass
            case Opcode.CLOSE:
                connection.lose(received.close_reason())
            case _:
                self.tally.count("messages_in")
                self._dispatch(self.correlation.receive(received.payload, now), now)

    def _dispatch(self, events: list[CorrelationEvent], now: float) -> None:
        for event in events:
            match event:
                case Settled(pending):
                    self._settle(pending)
                case ToldBusy(pending):
                    if self._on_busy is not None:
                        self._tell(self._on_busy, self._calls[pending.request_id].guard)
                case Hello():
                    self._health.note_hello()
                    self._ask_api_url(now)
                case Network(status):
                    self._health.note_network(status, now)
                case LateEvidence():
                    self._tell(self._around.on_late_evidence, self.account, event)
                case Event(operator, raw):
                    self._tell(self._around.on_event, self.account, operator, raw)

    def _settle(self, pending: Pending) -> None:
        call = self._calls.pop(pending.request_id)
        self._outgoing.discard(call)
        call.finish()
        if call is self._api_call:
            self._take_api_url(call)

    # -- the API's base URL: it changes over time, so it is asked for after each Hello [doc]

    def _ask_api_url(self, now: float) -> None:
        if self._api_call is not None:
            self._end(self._api_call, "asked again")
        pending = Pending(self._new_request_id())
        frame = encode_call(pending.request_id, "getApiUrl")
        self._api_call = Call(pending, frame, None, lambda call: None, needs_login=False)
        self._api_ask_at = now + self._timing.api_url_retry
        self._enqueue(self._api_call)

    def _take_api_url(self, call: Call) -> None:
        self._api_call = None
        seen = call.pending.evidence
        if seen.error is None and isinstance(seen.data, str) and seen.data.startswith(("http://", "https://")):
            self._api_url = seen.data.rstrip("/")
            self._api_ask_at = math.inf

    # -- connecting and losing

    def _start_dial(self) -> None:
        self._redial_at = math.inf
        self._dial = Dial(
            self._url,
            timeout_seconds=self._timing.connect,
            message_limit=self._around.message_limit,
            done=lambda dial, result: self._around.post(self, partial(self._take_dialled, dial, result)),
        )
        self._dial.start()

    def _take_dialled(self, dial: Dial, result: Connection | str) -> None:
        if dial is not self._dial or self._closed:
            if isinstance(result, Connection):
                result.close()
            return
        self._dial = None
        now = monotonic()
        if isinstance(result, str):
            self.tally.count("connection_failures")
            self._health.note_failure(result)
            self._plan_redial(now)
        else:
            self.tally.count("connections")
            self._connection = result
            self._health.note_connected(now)
            self._around.watch(self, result)
        self._show(now)
        self.on_ready()

    def _plan_redial(self, now: float) -> None:
        """Full jitter: anywhere between now and a range that doubles, so that a fleet does not come back all at once."""
        widest = min(self._timing.backoff_cap, self._timing.backoff_base * 2.0 ** min(self._failures, 30))
        self._failures += 1
        self._redial_at = now + random.uniform(0.0, widest)

    def _drop(self, reason: str) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._around.unwatch(connection)
        connection.close()
        tell = log.info if self._closed else log.warning
        tell("bridge_connection_lost", account=self.account, reason=reason)
        now = monotonic()
        if self._health.has_held(now):
            self._failures = 0
        self.tally.count("connection_drops")
        self.tally.count("too_large", connection.too_large)
        self._health.note_lost(reason)
        self._forget_api_url()
        self._writing = None
        for call in self._outgoing:
            self._refuse(call, f"the connection was lost before the write: {reason}")
        self._dispatch(self.correlation.note_connection_lost(now), now)
        self._plan_redial(now)

    def _forget_api_url(self) -> None:
        self._api_url = None
        self._api_ask_at = math.inf
        if self._api_call is not None:
            self._end(self._api_call, "the connection was lost")
            self._api_call = None

    # -- telling

    def _show(self, now: float) -> None:
        """Publish the state; tell whoever listens if it has changed. A link that we have closed is no trouble of the bridge."""
        closed = "the link is closed" if self._closed else None
        ready, reached = closed or self._health.why_not_ready(now), closed or self._health.why_not_reached
        if self._publish(ready, reached, self._api_url) and not self._closed:
            self._tell(self._around.on_state, self.account, ready)

    def _tell(self, callback: Callable[..., None], *about: object) -> None:
        try:
            callback(*about)
        except Exception:
            log.exception("bridge_callback_failed", account=self.account)
            self.tally.count("callback_errors")
