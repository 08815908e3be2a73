"""What becomes of the messages of the account: whether and when they go out, and the verdicts and echoes that say so.

In: messages that the bridge has accepted, with the faults that hold for them. Out: records of what went out; events to all clients.
For the event loop's thread only. Never: a reply; a decision about a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from worker68.clock import monotonic
from worker68.simulator import events
from worker68.simulator.faults import Faults, Verdict
from worker68.simulator.queues import EventStream, Later, Queue, wait
from worker68.simulator.records import Records, Sent
from worker68.simulator.world import World

#: How often it is looked whether verdicts or replies are still held.
HOLD_SECONDS: Final = 0.02

_GOES_OUT: Final[frozenset[Verdict]] = frozenset({"sent", "gave_up", "corrected", "none"})
#: What the client waits for in vain gets a 0 from the client itself.
_WAITS: Final[frozenset[Verdict]] = frozenset({"sent", "not_sent", "blocked"})
#: What no message may contain that a client sends; spaces do not count (PROTOCOL.md, seen).
_NEVER_SENT: Final = ("eval(", "child_process", ".exec", "atob(")


@dataclass(slots=True, eq=False)
class _Flight:
    """One message on its way. ``connection``: the number of the client that asked for it. ``has_verdict``: one was sent."""

    message: events.Message
    fate: Verdict
    faults: Faults
    connection: int
    then: Callable[[], None] | None = None
    has_verdict: bool = False


@dataclass(slots=True)
class Delivery:
    """All messages on their way. ``verdict_delay``: what the service takes, in seconds."""

    world: World
    faults: Faults
    stream: EventStream
    records: Records
    later: Later
    verdict_delay: Callable[[], float]
    _outward: Queue = field(init=False)

    def __post_init__(self) -> None:
        self._outward = Queue(self.later)

    def launch(
        self,
        connection: int,
        messages: Sequence[events.Message],
        faults: Faults,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Let messages go out, or not; say so after the verdict's delay. After the last one's verdict call ``then``."""
        for number, message in enumerate(messages, start=1):
            flight = _Flight(message, self._decide(message, faults), faults, connection)
            if number == len(messages):
                flight.then = then
            self._launch(flight)

    def _decide(self, message: events.Message, faults: Faults) -> Verdict:
        if message.refused or faults.logged_out:
            return "not_sent"
        if faults.client.drops_code and _is_never_sent(message.text):
            return "not_sent"
        if faults.verdict == "sent" and faults.lose_verdicts.take():
            return "none"
        return faults.verdict

    def _launch(self, flight: _Flight) -> None:
        client, message = flight.faults.client, flight.message
        if (
            client.pending_echo
            and not flight.faults.no_echo
            and not (client.drops_code and _is_never_sent(message.text))
        ):
            self.stream.post(events.pending_message(message))
        if client.give_up_seconds > 0 and flight.fate in _WAITS and not message.refused:
            self.later(client.give_up_seconds, partial(self._give_up, flight))
        self._outward.run(client.out_gap_seconds, partial(self._go_out, flight))

    def _go_out(self, flight: _Flight) -> None:
        message = flight.message
        if flight.fate in _GOES_OUT:
            self.records.note(
                Sent(
                    monotonic(),
                    flight.connection,
                    message.chat_type,
                    message.chat_id,
                    message.text,
                    message.custom_msg_id,
                    message.message_id,
                    message.content_type,
                )
            )
        delay = self.verdict_delay() + flight.faults.extra_verdict_delay_seconds
        wait(self.later, delay, partial(self._come_in, flight))

    def _come_in(self, flight: _Flight) -> None:
        """Let the service's word about a message come in, unless it is held."""
        if self.faults.hold_verdicts:
            self.later(HOLD_SECONDS, partial(self._come_in, flight))
        else:
            self.stream.take_in(partial(self._say, flight))

    def _say(self, flight: _Flight) -> None:
        """Send the verdict and the echo that go with a message's fate."""
        match flight.fate:
            case "sent":
                self._say_sent(flight)
            case "gave_up":
                self._say_verdict(flight, 0)
            case "not_sent":
                self._say_not_sent(flight)
            case "corrected":
                self._say_verdict(flight, 0)
                wait(self.later, flight.faults.correction_seconds, partial(self._say_sent, flight))
            case "blocked":
                self.stream.post(events.refused_by_friend(self.world, flight.message))
                self._say_not_sent(flight)
            case "none":
                self._echo(flight)
            case "swallowed":
                pass
        if flight.then is not None:
            flight.then()

    def _say_not_sent(self, flight: _Flight) -> None:
        """A client that gives up by itself says the 0 then; a muted group refuses at once (PROTOCOL.md, seen)."""
        if flight.faults.client.give_up_seconds == 0 or flight.message.refused:
            self._say_verdict(flight, 0)

    def _say_sent(self, flight: _Flight) -> None:
        steps: list[Callable[[], None]] = [partial(self._say_verdict, flight, 1)]
        if not flight.faults.client.pending_echo:
            steps.append(partial(self._echo, flight))
        for step in reversed(steps) if flight.faults.echo_first else steps:
            step()

    def _give_up(self, flight: _Flight) -> None:
        if not flight.has_verdict:
            self._say_verdict(flight, 0)

    def _say_verdict(self, flight: _Flight, read_status: int) -> None:
        flight.has_verdict = True
        self.stream.post(events.verdict(flight.message, read_status))

    def _echo(self, flight: _Flight) -> None:
        if not flight.faults.no_echo:
            line_break = "\\n" if flight.faults.echo_keeps_escapes else "\n"
            self.stream.post(events.own_message(self.world, flight.message, line_break=line_break))


def _is_never_sent(text: str) -> bool:
    packed = text.replace(" ", "")
    return any(part in packed for part in _NEVER_SENT)
