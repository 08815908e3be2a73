"""One frame from its arrival to its last consequence: recorded, answered (or not: faults), its verdict and echo sent.

In: what a client wrote, and the event loop's clock. Out: frames to that client, events to all, records. For the event loop's
thread only. No frame of a client can raise here. Never: message text in a log.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from worker68.clock import monotonic
from worker68.simulator import events
from worker68.simulator.clients import Client, Clients
from worker68.simulator.faults import Faults, Verdict
from worker68.simulator.garbage import GARBAGE
from worker68.simulator.records import Journal, Received, RecordFile, Sent
from worker68.simulator.requests import BUSY_ERROR, Answer, Malformed, Request, read_request, respond
from worker68.simulator.sends import Kind
from worker68.simulator.world import World

log = structlog.get_logger(__name__)

#: Runs a call after so many seconds.
Later = Callable[[float, Callable[[], None]], None]

#: How often it is looked whether verdicts are still held.
_HOLD_SECONDS: Final = 0.02

_GOES_OUT: Final[frozenset[Verdict]] = frozenset({"sent", "gave_up", "corrected", "none"})

_decoder: Final = msgspec.json.Decoder()


@dataclass(slots=True)
class Exchange:
    """What the frames of all clients run through."""

    world: World
    faults: Faults
    kind: Kind
    clients: Clients
    received: Journal[Received]
    sent: Journal[Sent]
    record_file: RecordFile | None
    later: Later
    verdict_delay: Callable[[], float]
    restart: Callable[[], None]
    _noise: Iterator[str] = field(default_factory=lambda: itertools.cycle(kind for kind in GARBAGE if kind != "huge"))

    def take(self, client: Client, raw: str | bytes) -> None:
        """Take one frame from a client and see it through. A malformed one is recorded and not answered."""
        request = self._read(client, raw)
        if request is None:
            return
        if self.faults.drop_before_answer.take():
            if self.faults.done_anyway:
                self._launch(client, self._respond(request).messages)
            client.drop()
            return
        answer = self._misanswer(request)
        if answer is None:
            answer = self._respond(request)
        elif self.faults.done_anyway:
            answer = replace(self._respond(request), body=answer.body)
        self._carry_out(client, request, answer)

    def _read(self, client: Client, raw: str | bytes) -> Request | None:
        frame: Any = None
        try:
            if isinstance(raw, bytes):
                raise Malformed("a binary frame")
            frame = _decoder.decode(raw)
            request = read_request(frame)
        except (Malformed, msgspec.MsgspecError, RecursionError) as error:
            problem = str(error) if isinstance(error, Malformed) else "not JSON"
            log.warning("simulator_got_malformed_frame", connection=client.number, problem=problem, size=len(raw))
            self._record(Received(monotonic(), client.number, frame, problem))
            return None
        self._record(Received(monotonic(), client.number, frame))
        return request

    def _record(self, record: Received | Sent) -> None:
        if isinstance(record, Received):
            self.received.append(record)
        else:
            self.sent.append(record)
        if self.record_file is not None:
            self.record_file.write(record)

    def _respond(self, request: Request) -> Answer:
        answer = respond(
            self.world,
            request,
            kind=self.kind,
            check_api_base=self.faults.check_api_base,
            paging=self.faults.paging,
        )
        if answer.body is None or "error" in answer.body:
            return answer
        return replace(answer, body=self.faults.spelling.write(answer.body))

    def _misanswer(self, request: Request) -> Answer | None:
        """Return what the faults want said instead of the truth, or None."""
        faults = self.faults
        if faults.silence.take(request.name) or (request.type != request.name and faults.silence.take(request.type)):
            return Answer(None)
        busy = {"send": faults.busy_sends, "change": faults.busy_changes, "read": faults.busy_reads}.get(request.effect)
        if busy is not None and busy.take():
            return Answer({"error": BUSY_ERROR})
        if faults.refusals.take():
            return Answer({"error": faults.refusal})
        if request.type != "request":
            return None
        if faults.service_errors.take():
            return Answer({"data": {"commonResult": {"errCode": faults.service_error_code}}})
        if faults.bare_integers.take():
            return Answer({"data": faults.service_error_code})
        return None

    def _carry_out(self, client: Client, request: Request, answer: Answer) -> None:
        """Reply, then what follows from it; the verdicts of a send in the order that the faults want."""
        reply = partial(self._reply, client, request, answer, drop=self.faults.drop_after_answer.take())
        if answer.messages and self.faults.verdict_before_reply:
            self._launch(client, answer.messages, then=partial(self._wait, self.faults.reply_delay_seconds, reply))
            return
        self._wait(self.faults.reply_delay_seconds, reply)
        self._launch(client, answer.messages)

    def _reply(self, client: Client, request: Request, answer: Answer, *, drop: bool) -> None:
        body = answer.body
        if answer.restart and self.faults.restarting_reply:
            body = {"data": "restarting"}
        if request.effect == "send" and self.faults.no_reply_to_sends and body is not None and "error" not in body:
            body = None
        if body is not None:
            self._post_reply(client, request, body)
        for event in answer.events:
            self.clients.post(event)
        if answer.restart:
            self.restart()
        elif drop:
            client.drop()

    def _post_reply(self, client: Client, request: Request, body: dict[str, Any]) -> None:
        reply_id = request.id
        if self.faults.wrong_reply_ids.take():
            reply_id = f"not-{reply_id}"
        elif self.faults.numeric_reply_ids and isinstance(reply_id, str) and reply_id.isdecimal():
            reply_id = int(reply_id)
        reply = {"id": reply_id, "type": request.type, **body}
        if self.faults.garbage:
            client.post_garbage(GARBAGE[next(self._noise)]())
        client.post(reply)
        if self.faults.double_replies.take():
            client.post(reply)

    def _launch(
        self, client: Client, messages: Sequence[events.Message], then: Callable[[], None] | None = None
    ) -> None:
        """Let messages go out, or not, now; say so after the verdict's delay, then call ``then``."""
        if not messages:
            return
        fates = [(message, self._decide(message)) for message in messages]
        for message, fate in fates:
            if fate in _GOES_OUT:
                self._record(
                    Sent(
                        monotonic(),
                        client.number,
                        message.chat_type,
                        message.chat_id,
                        message.text,
                        message.custom_msg_id,
                        message.message_id,
                        message.content_type,
                    )
                )
        delay = self.verdict_delay() + self.faults.extra_verdict_delay_seconds
        self._wait(delay, partial(self._tell_all, fates, then))

    def _decide(self, message: events.Message) -> Verdict:
        if message.refused or self.faults.logged_out:
            return "not_sent"
        if self.faults.verdict == "sent" and self.faults.lose_verdicts.take():
            return "none"
        return self.faults.verdict

    def _tell_all(self, fates: Sequence[tuple[events.Message, Verdict]], then: Callable[[], None] | None) -> None:
        if self.faults.hold_verdicts:
            self._wait(_HOLD_SECONDS, partial(self._tell_all, fates, then))
            return
        for message, fate in fates:
            self._tell(message, fate)
        if then is not None:
            then()

    def _tell(self, message: events.Message, fate: Verdict) -> None:
        """Send the verdict and the echo that go with a message's fate."""
        match fate:
            case "sent":
                first, second = self._tell_verdict, self._echo
                if self.faults.echo_first:
                    first, second = second, first
                first(message)
                second(message)
            case "not_sent" | "gave_up":
                self.clients.post(events.verdict(message, 0))
            case "corrected":
                self.clients.post(events.verdict(message, 0))
                self._wait(self.faults.correction_seconds, partial(self._tell, message, "sent"))
            case "none":
                self._echo(message)
            case "swallowed":
                pass

    def _tell_verdict(self, message: events.Message) -> None:
        self.clients.post(events.verdict(message, 1))

    def _echo(self, message: events.Message) -> None:
        if not self.faults.no_echo:
            line_break = "\\n" if self.faults.echo_keeps_escapes else "\n"
            self.clients.post(events.own_message(self.world, message, line_break=line_break))

    def _wait(self, seconds: float, call: Callable[[], None]) -> None:
        """Call at once when there is nothing to wait for, so that order is kept and a benchmark pays nothing."""
        if seconds > 0:
            self.later(seconds, call)
        else:
            call()
