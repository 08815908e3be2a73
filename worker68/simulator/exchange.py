"""One frame from its arrival to its reply: recorded, answered (or not: faults), its messages handed on to ``delivery``.

In: what a client wrote, and the event loop's clock. Out: frames to that client, events to all, records. For the event loop's
thread only. No frame of a client can raise here. Never: message text in a log.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from worker68.clock import monotonic
from worker68.simulator.clients import Client, Clients
from worker68.simulator.delivery import HOLD_SECONDS, Delivery
from worker68.simulator.events import Message
from worker68.simulator.faults import Faults
from worker68.simulator.garbage import GARBAGE
from worker68.simulator.knobs import BadFault
from worker68.simulator.magic import PREFIX, MagicTexts
from worker68.simulator.queues import wait
from worker68.simulator.records import Received
from worker68.simulator.replay import Replay
from worker68.simulator.requests import (
    BAD_REQUEST,
    BUSY_ERROR,
    NOT_FOUND,
    Answer,
    Kind,
    Malformed,
    Request,
    read_request,
    refuse,
    respond,
)

log = structlog.get_logger(__name__)

#: Of a ``custom_msg_id`` (PROTOCOL.md, doc).
ID_DIGITS: Final = 11

_decoder: Final = msgspec.json.Decoder()


def _make_noise() -> Iterator[str]:
    return itertools.cycle(kind for kind in GARBAGE if kind != "huge")


@dataclass(slots=True)
class Exchange:
    """What the frames of all clients run through. ``faults`` are the bridge's; a message may have its own.

    ``replay``: a record that is played, whatever the faults are.
    """

    kind: Kind
    faults: Faults
    clients: Clients
    delivery: Delivery
    restart: Callable[[], None]
    replay: Replay | None = None
    _magic: MagicTexts = field(init=False)
    _noise: Iterator[str] = field(init=False, default_factory=_make_noise)

    def __post_init__(self) -> None:
        self._magic = MagicTexts(self.faults)

    def take(self, client: Client, raw: str | bytes) -> None:
        """Take one frame from a client and see it through. A malformed one is recorded and not answered."""
        request = self._read(client, raw)
        if request is None or self._replay(client, request):
            return
        try:
            faults = (
                self.faults if isinstance(raw, bytes) or PREFIX not in raw else self._magic.faults_of(request.frame)
            )
        except BadFault as error:
            self._carry_out(client, request, refuse(BAD_REQUEST, f"{PREFIX}... {error}"), self.faults)
            return
        if faults.drop_before_answer.take():
            if faults.done_anyway:
                self.delivery.launch(client.number, self._respond(request, faults).messages, faults)
            client.drop()
            return
        answer = self._misanswer(request, faults)
        if answer is None:
            answer = self._respond(request, faults)
        elif faults.done_anyway:
            answer = replace(self._respond(request, faults), body=answer.body)
        self._carry_out(client, request, answer, faults)

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
            self.delivery.records.note(Received(monotonic(), client.number, frame, problem))
            return None
        self.delivery.records.note(Received(monotonic(), client.number, frame))
        return request

    def _replay(self, client: Client, request: Request) -> bool:
        """Say what a record has for a request; return whether it has something."""
        played = None if self.replay is None else self.replay.play(request.frame)
        for after, frame in played or ():
            is_reply = isinstance(frame, dict) and "operator" not in frame
            self.delivery.later(after, partial(client.post if is_reply else self.clients.post, frame))
        return played is not None

    def _respond(self, request: Request, faults: Faults) -> Answer:
        answer = respond(
            self.delivery.world,
            request,
            kind=self.kind,
            check_api_base=faults.check_api_base,
            paging=faults.paging,
        )
        if faults.only_eleven_digits:
            answer = replace(answer, messages=[self._with_own_id(message) for message in answer.messages])
        if answer.body is None and not answer.restart and faults.unknown_type_error:
            return refuse(NOT_FOUND, "未知的类型")
        if answer.body is None or "error" in answer.body:
            return answer
        return replace(answer, body=faults.spelling.write(answer.body))

    def _with_own_id(self, message: Message) -> Message:
        is_right = len(message.custom_msg_id) == ID_DIGITS
        return message if is_right else replace(message, custom_msg_id=self.delivery.world.make_custom_id())

    def _misanswer(self, request: Request, faults: Faults) -> Answer | None:
        """Return what the faults want said instead of the truth, or None."""
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

    def _carry_out(self, client: Client, request: Request, answer: Answer, faults: Faults) -> None:
        """Reply, then what follows from it; the verdicts of a send in the order that the faults want."""
        drop = faults.drop_after_answer.take()
        reply = partial(self._reply, client, request, answer, faults, drop=drop)
        reply_late = partial(wait, self.delivery.later, faults.reply_delay_seconds, partial(self._unless_held, reply))
        if answer.messages and faults.verdict_before_reply:
            self.delivery.launch(client.number, answer.messages, faults, then=reply_late)
            return
        reply_late()
        self.delivery.launch(client.number, answer.messages, faults)

    def _unless_held(self, reply: Callable[[], None]) -> None:
        """Reply, once replies are not held any more."""
        if self.faults.hold_replies:
            self.delivery.later(HOLD_SECONDS, partial(self._unless_held, reply))
        else:
            reply()

    def _reply(self, client: Client, request: Request, answer: Answer, faults: Faults, *, drop: bool) -> None:
        body = answer.body
        if answer.restart and faults.restarting_reply:
            body = {"data": "restarting"}
        if request.effect == "send" and faults.no_reply_to_sends and body is not None and "error" not in body:
            body = None
        if body is not None:
            self._post_reply(client, request, body, faults)
        for event in answer.events:
            self.delivery.stream.take_in_event(event)
        if answer.restart:
            self.restart()
        elif drop:
            client.drop()

    def _post_reply(self, client: Client, request: Request, body: dict[str, Any], faults: Faults) -> None:
        reply_id = request.id
        if faults.wrong_reply_ids.take():
            reply_id = f"not-{reply_id}"
        elif faults.numeric_reply_ids and isinstance(reply_id, str) and reply_id.isdecimal():
            reply_id = int(reply_id)
        reply = {"id": reply_id, "type": request.type, **body}
        if faults.garbage:
            client.post_garbage(GARBAGE[next(self._noise)]())
        for _ in range(1 + faults.double_replies.take()):
            if faults.replies_to_all:
                self.clients.post(reply)
            else:
                client.post(reply)
