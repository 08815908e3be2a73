"""One account's bridge from connection to connection: connect, hear and write, lose, connect again.

In: calls to write; readiness of the socket; the time. Out: frames on the connection, what was heard, the state. Never: a wait; a
step of more than some milliseconds, however much there is to hear: then the other accounts and the jobs have the loop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import structlog

from worker68.bridge.api_url import ApiUrl
from worker68.bridge.calls import Call
from worker68.bridge.connection import Connection, Opcode, Received
from worker68.bridge.dial import Dial, Redial
from worker68.bridge.exchange import Exchange, LinkOptions, Listener
from worker68.bridge.frames import Frame, Hello, Network
from worker68.bridge.health import Health, Timing
from worker68.bridge.inbox import Inbox
from worker68.bridge.runner import Runner
from worker68.clock import monotonic

log = structlog.get_logger(__name__)

#: The longest documented reply is a contact list of some megabytes; this is what a worker can lose to a bridge gone mad.
MESSAGE_LIMIT = 64 * 1024 * 1024

#: What has come in is heard for so long in one step; the rest in the next.
STEP_SECONDS = 0.004


@dataclass(frozen=True)
class Terms:
    """What all sessions of a worker have in common. ``message_limit`` is in bytes."""

    listener: Listener
    timing: Timing
    message_limit: int


@dataclass(frozen=True)
class State:
    """What a session is at one moment. Replaced as a whole, so that any thread may read it."""

    #: None while calls are taken (connected, Hello seen, the client's login to its server fresh), else the reason in plain words.
    why_not_ready: str | None = "not opened yet"
    #: None while the client itself can be called, logged in or not, else the reason in plain words.
    why_not_reached: str | None = "not opened yet"
    #: The base of the service's HTTP API as the bridge said it on this connection, without a slash at its end.
    api_url: str | None = None
    #: Not ready, but only because a new connection has not sent everything yet.
    coming_up: bool = False
    closed: bool = False


class Session:
    """The connection of one account. All of it runs in steps of its ``Runner``."""

    def __init__(
        self, account: str, url: str, options: LinkOptions, terms: Terms, runner: Runner, *, ids_given_back: bool
    ) -> None:
        self.account = account
        self._runner = runner
        self.exchange = Exchange(account, options, terms.listener, ids_given_back=ids_given_back)
        self._health = Health(url, terms.timing)
        self._redial = Redial(url, terms.timing, terms.message_limit)
        self._api = ApiUrl(self.exchange, terms.timing.api_url_retry)
        self._inbox: Inbox | None = None
        self._closed = False

    # -- what the runner asks

    @property
    def connection(self) -> Connection | None:
        return None if self._inbox is None else self._inbox.connection

    @property
    def wants_read(self) -> bool:
        return self._inbox is not None and self._inbox.wants_read

    @property
    def has_more(self) -> bool:
        """Whether ``on_ready`` has something to do that the selector does not show."""
        return self._inbox is not None and self._inbox.has_more

    @property
    def next_due(self) -> float:
        """When ``on_time`` wants to be called, in monotonic seconds."""
        return min(self._redial.due_at, self._api.ask_at, self.exchange.held_until, self._health.next_due)

    def state(self) -> State:
        if self._closed:
            return State("the link is closed", "the link is closed", closed=True)
        health = self._health
        return State(health.why_not_ready(monotonic()), health.why_not_reached, self._api.url, health.coming_up)

    # -- steps

    def open(self) -> None:
        """Begin to connect, and go on until closed."""
        self._start_dial()

    def on_ready(self) -> None:
        """The socket can be read or written, or what was read can be heard."""
        now = monotonic()
        inbox = self._inbox
        if inbox is None:
            return
        self._hear_all(inbox, now, until=now + STEP_SECONDS)
        self._write(now)

    def on_time(self) -> None:
        """The time ``next_due`` has come."""
        now = monotonic()
        if now >= self._redial.due_at:
            self._start_dial()
        if self._health.why_drop(now) is not None:
            self.on_ready()  # where the process stood still, its timers come before what came in meanwhile
        reason = self._health.why_drop(now)
        if reason is not None:
            self._drop(reason)
        elif self._health.take_ping(now) and self.connection is not None:
            self.connection.ping()
        if now >= self._api.ask_at:
            self._api.ask(now)
        self._write(now)

    def submit(self, call: Call) -> None:
        """Take a call, and write it now if the socket takes it; or refuse it."""
        now = monotonic()
        refusal = "the link is closed" if self._closed else self._why_not_write(call, now)
        if refusal is not None:
            self.exchange.refuse(call, refusal)
            return
        self.exchange.add(call)
        self._write(now)

    def fail(self) -> None:
        """Something in here broke that must not: start over with a new connection, the calls keep their rules."""
        self.exchange.tally["internal_errors"] += 1
        reason = "an error of worker68's own, see the log"
        self._health.note_lost(reason)
        self._drop(reason)
        self._redial.abandon()
        if not self._closed and self._redial.due_at == math.inf:
            self._redial.plan(monotonic())

    def close(self) -> None:
        """Drop the connection and end every call. Afterwards nothing is written and every new call is refused.

        What has come in is heard before: it may be a verdict that nothing repeats, also where the account was lost.
        """
        if self._closed:
            return
        self._closed = True
        if self._inbox is not None:
            self._hear_all(self._inbox, monotonic())
        self._drop("closed by worker68")
        self._redial.stop()
        self.exchange.end_all()

    # -- writing

    def _write(self, now: float) -> None:
        """Write what can be written now. A connection that is lost is dropped once all that came over it was heard."""
        inbox = self._inbox
        if inbox is None:
            return
        self.exchange.write(inbox.connection, now, partial(self._why_not_write, now=now))
        if inbox.connection.lost is not None and inbox.wants_read:
            self._drop(inbox.connection.lost)

    def _why_not_write(self, call: Call, now: float) -> str | None:
        """What goes to the client alone needs no more than Hello."""
        return self._health.why_not_ready(now) if call.needs_login else self._health.why_not_reached

    # -- hearing

    def _hear_all(self, inbox: Inbox, now: float, until: float = math.inf) -> None:
        """Hear what has come in, or what there is time for."""
        inbox.read()
        while (heard := inbox.take()) is not None:
            self._hear(inbox, heard, now)
            if monotonic() >= until:
                inbox.behind = True
                break

    def _hear(self, inbox: Inbox, heard: Received | Frame, now: float) -> None:
        self._health.note_heard(now)
        match heard:
            case Received(Opcode.PING):
                inbox.connection.pong(heard.payload)
            case Received(Opcode.CLOSE):
                inbox.connection.lose(heard.close_reason())
            case Received():
                pass
            case Hello():
                self._health.note_hello(now)
                self._api.ask(now)
            case Network(status):
                self._health.note_network(status, now)
            case _:
                self.exchange.take(heard, now)

    # -- connecting and losing

    def _start_dial(self) -> None:
        self._redial.start(lambda dial, result: self._runner.tell(partial(self._take_dialled, dial, result)))

    def _take_dialled(self, dial: Dial, result: Connection | str) -> None:
        if not self._redial.take(dial):
            if isinstance(result, Connection):
                result.close()
            return
        now = monotonic()
        if isinstance(result, str):
            self.exchange.tally["connection_failures"] += 1
            self._health.note_failure(result)
            self._redial.plan(now)
            return
        self.exchange.tally["connections"] += 1
        self._inbox = Inbox(result, self.exchange, self._runner.in_pool)
        self._health.note_connected(now)
        self.on_ready()

    def _drop(self, reason: str) -> None:
        connection, self._inbox = self.connection, None
        if connection is None:
            return
        self._runner.release(connection)
        log_it = log.info if self._closed else log.warning
        log_it("bridge_connection_lost", account=self.account, reason=reason)
        now = monotonic()
        if self._health.has_held(now):
            self._redial.note_held()
        self.exchange.tally["connection_drops"] += 1
        self.exchange.tally["too_large"] += connection.too_large
        self._health.note_lost(reason)
        self._api.forget()
        self.exchange.lose_connection(now, reason)
        self._redial.plan(now)
