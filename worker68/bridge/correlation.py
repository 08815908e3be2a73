"""Ties what the bridge says to the calls that wait for it.

In: the calls under way, each inbound frame, and the time (monotonic seconds) at which it came. Out: events: which call is settled,
evidence that came too late, and frames that no call asked for. Never: a socket, a clock, a thread; never an exception for what the
bridge says. Everything that does not fit is counted by kind.

How a verdict finds its send: by ``custom_msg_id``, which the caller chose [doc]; a bridge from before that field writes an
id of its own [doc], so there only the chat is left, and then one send per chat is under way. See the contract, VERDICT_MATCH.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

from worker68.bridge.calls import EndedSend, Known, Pending, TiedBy, remember
from worker68.bridge.frames import Event, Frame, Malformed, Notice, Reply, Sighting, Sightings, read_data
from worker68.bridge.tally import Kind, Tally
from worker68.jobs.evidence import BridgeError, Verdict, is_credible
from worker68.jobs.fields import Chat

Match = Literal["auto", "id", "chat"]

#: What a ``custom_msg_id`` looks like [doc: eleven digits, and twelve in its examples]: no other id can be one of ours.
_PLAUSIBLE_ID = re.compile(r"[1-9][0-9]{10,11}")

#: How many messages of unknown origin are held for one send, and sightings of each: more are of another conversation.
_HELD_MESSAGES, _HELD_SIGHTINGS = 16, 8


#: So much of a reply that cannot be read is quoted in its place.
_QUOTED_BYTES = 200


class Refused(Exception):
    """The call was not taken, and not a byte of it was or will be written; the message says why."""


@dataclass(frozen=True)
class Settled:
    """The call has nothing left to wait for, and is no longer registered."""

    pending: Pending


@dataclass(frozen=True)
class ErrorReply:
    """The reply to this call was an error; comes before ``Settled``, where it settles the call."""

    pending: Pending
    error: BridgeError


@dataclass(frozen=True)
class LateEvidence:
    """What became of a message that no call waits for: a job that bears this id may be in doubt.

    It was sent (a verdict, or None for an own message with a server id), whichever attempt did so. Or it was not, tied by id and
    soon enough after the write to be believed: that is said of one ``attempt`` alone, for another one may have sent it.
    """

    custom_msg_id: str
    verdict: Verdict | None
    message_id: int | None
    sent_at: dt.datetime | None
    attempt: int | None = None


CorrelationEvent = Settled | ErrorReply | LateEvidence | Event


class Correlation:
    """The calls of one account that are under way. ``max_pending`` bounds them.

    ``since``: from when on (monotonic seconds) it has seen all sends of the account; another owner may have written earlier ones.
    """

    def __init__(
        self,
        match: Match,
        tally: Tally,
        *,
        max_pending: int,
        ids_given_back: bool = False,
        since: float = -math.inf,
    ) -> None:
        self._match = match
        self._tally = tally
        self._max_pending = max_pending
        self._calls: dict[str, Pending] = {}
        self._sends_by_id: dict[str, Pending] = {}
        self._sends_by_chat: dict[Chat, Pending] = {}
        self._ended_calls: OrderedDict[str, bool] = OrderedDict()
        self._known = Known(since)
        self.ids_given_back = ids_given_back
        """The bridge has given back an id of ours, so it knows ``custom_msg_id``. Once true, it stays true."""
        self._wary_since: float | None = None

    @property
    def writes_ids(self) -> bool:
        """Whether ``custom_msg_id`` is written."""
        return self._match != "chat"

    @property
    def one_send_per_chat(self) -> bool:
        """Whether a verdict may have to be tied by its chat, so that a second send there would make it ambiguous."""
        return self._match == "chat" or (self._match == "auto" and not self.ids_given_back)

    @property
    def one_send(self) -> bool:
        """Whether new sends go one at a time: a connection was lost with sends under way, and none since then is proved.

        Else a bridge that drops each connection would leave as many messages in doubt each time as may be under way.
        """
        return self._wary_since is not None

    # -- the calls

    def add(self, pending: Pending) -> None:
        """Register a call that is about to be written. Raises Refused."""
        if len(self._calls) >= self._max_pending:
            raise Refused(f"{self._max_pending} calls of this account are under way already")
        if pending.send is not None:
            self._add_send(pending, pending.send.custom_msg_id, pending.send.chat)
        self._calls[pending.request_id] = pending

    def _add_send(self, pending: Pending, custom_msg_id: str, chat: Chat) -> None:
        if custom_msg_id in self._sends_by_id:
            raise Refused(f"a send with the custom_msg_id {custom_msg_id} is under way already")
        earlier = self._known.get(custom_msg_id)
        if isinstance(earlier, EndedSend) and earlier.sent:
            # The proof has come while this attempt was prepared; as late evidence it ends the job.
            raise Refused(f"an earlier attempt has sent the message with the custom_msg_id {custom_msg_id}")
        if self._wary_since is not None and any(self._is_since(one.written_at) for one in self._sends_by_id.values()):
            raise Refused("another send is under way, the first since the connection was lost with sends under way")
        if self.one_send_per_chat:
            if chat in self._sends_by_chat:
                raise Refused(f"another send to {chat} is under way, and its verdict can only be tied by the chat")
            self._sends_by_chat[chat] = pending
        self._sends_by_id[custom_msg_id] = pending

    def note_written(self, pending: Pending, now: float) -> None:
        """Take note that the first byte has left."""
        pending.note_written(now)

    def note_written_whole(self, pending: Pending) -> list[CorrelationEvent]:
        """Take note that the last byte has left."""
        pending.written_whole = True
        return self._settle_if_done(pending)

    def note_connection_lost(self, now: float) -> list[CorrelationEvent]:
        """End the plain calls that were written: no reply comes over another connection. Sends stay: their verdict may."""
        if self._wary_since is None and any(send.written_at is not None for send in self._sends_by_id.values()):
            self._wary_since = now
        events: list[CorrelationEvent] = []
        for pending in list(self._calls.values()):
            if pending.written_at is None:
                continue
            pending.note_connection_lost()
            if pending.send is None:
                self.end(pending)
                events.append(Settled(pending))
        return events

    def end(self, pending: Pending) -> None:
        """Stop waiting for a call, settled or not. Idempotent."""
        if self._calls.pop(pending.request_id, None) is None:
            return
        pending.note_end()
        remember(self._ended_calls, pending.request_id, pending.evidence.replied)
        if pending.send is not None:
            self._end_send(pending, pending.send.custom_msg_id, pending.send.chat)

    def _end_send(self, pending: Pending, custom_msg_id: str, chat: Chat) -> None:
        del self._sends_by_id[custom_msg_id]
        if self._sends_by_chat.get(chat) is pending:
            del self._sends_by_chat[chat]
        if pending.written_at is None:
            return
        ended = EndedSend.of(pending)
        for known_as in (custom_msg_id, pending.foreign_id):
            if known_as is not None:
                remember(self._known, known_as, ended)

    def _settle_if_done(self, pending: Pending) -> list[CorrelationEvent]:
        if not pending.settled or pending.request_id not in self._calls:
            return []
        self.end(pending)
        if pending.send is not None:
            self._trust(pending.written_at)
        return [Settled(pending)]

    def _is_since(self, written_at: float | None) -> bool:
        """Whether a send is one of those that go one at a time; None: it is not written yet."""
        return self._wary_since is not None and (written_at is None or written_at > self._wary_since)

    def _trust(self, written_at: float | None) -> None:
        """What became of this send is known: if it was written since the connection was lost, the others may go too."""
        if self._is_since(written_at):
            self._wary_since = None

    # -- what the bridge says

    def reply_shapes(self) -> dict[str, Any]:
        """Return what the data of the replies that are waited for should be, by request id."""
        return {request_id: pending.reply_shape for request_id, pending in self._calls.items()}

    def receive(self, frame: Frame, now: float) -> list[CorrelationEvent]:
        """Take in one frame of the bridge."""
        match frame:
            case Reply():
                return self._take_reply(frame)
            case Sightings():
                return self._take_sightings(frame, now)
            case Malformed():
                self._tally["malformed"] += 1
                return []
            case Notice():
                return self._take_notice(frame)
            case Event():
                return [frame]
            case _:
                return []  # of the connection, not of a call

    def _take_reply(self, reply: Reply) -> list[CorrelationEvent]:
        pending = self._calls.get(reply.request_id)
        if pending is None:
            answered = self._ended_calls.get(reply.request_id)
            kinds: dict[bool | None, Kind] = {None: "unknown_replies", False: "late_replies", True: "double_replies"}
            self._tally[kinds[answered]] += 1
            return []
        if pending.written_at is None:
            self._tally["unknown_replies"] += 1
            return []
        if pending.evidence.replied:
            self._tally["double_replies"] += 1
            return []
        try:
            data, error = read_data(reply, pending.reply_shape)
        except ValueError:
            self._tally["malformed"] += 1
            if pending.send is not None:
                return []  # no word about the message: its verdict will say
            seen = bytes(reply.data)[:_QUOTED_BYTES].decode("utf-8", "replace")
            data, error = None, BridgeError(None, f"its reply cannot be read: {seen}")
        pending.note_reply(data, error)
        refused: list[CorrelationEvent] = [] if error is None else [ErrorReply(pending, error)]
        return [*refused, *self._settle_if_done(pending)]

    def _take_notice(self, notice: Notice) -> list[CorrelationEvent]:
        """Give a refusal to the send that it must be about: the only one that is under way in its chat. It is an event too."""
        event = Event(notice.operator, notice.raw)
        under_way = [send for send in self._sends_by_id.values() if send.is_at_the_bridge(notice.chat)]
        if len(under_way) != 1:
            self._tally["unknown_evidence"] += 1
            return [event]
        under_way[0].note_notice(notice.error)
        return [event, *self._settle_if_done(under_way[0])]

    def _take_sightings(self, frame: Sightings, now: float) -> list[CorrelationEvent]:
        if frame.unreadable:
            self._tally["malformed"] += frame.unreadable
        events: list[CorrelationEvent] = []
        all_ours = bool(frame.seen)
        for sighting in frame.seen:
            all_ours &= self._take_sighting(sighting, now, events)
        if not all_ours and frame.raw:
            events.append(Event(frame.operator, frame.raw))
        return events

    def _take_sighting(self, sighting: Sighting, now: float, events: list[CorrelationEvent]) -> bool:
        """Give one verdict or echo to the send it belongs to, under way or over; return False if it is none of ours."""
        by_id = self._find_by_id(sighting)
        known = self._known.get(sighting.custom_msg_id or "")
        if by_id is not None:
            self.ids_given_back = True
            assert by_id.send is not None
            self._apply(by_id, sighting, "chat" if self._known.may_be_denied(by_id.send, now) else "id", now, events)
            return True
        if isinstance(known, EndedSend):
            self.ids_given_back |= known.owner == sighting.custom_msg_id
            self._take_late(known, sighting, now, events)
            return True
        by_chat = self._find_by_chat(sighting, now)
        if by_chat is not None:
            self._apply(by_chat, sighting, "chat", now, events)
            return True
        self._take_unknown(sighting, now, events)
        return False

    def _find_by_id(self, sighting: Sighting) -> Pending | None:
        if not self.writes_ids or sighting.custom_msg_id is None:
            return None
        return self._sends_by_id.get(sighting.custom_msg_id)

    def _find_by_chat(self, sighting: Sighting, now: float) -> Pending | None:
        if not self.one_send_per_chat or sighting.chat is None:
            return None
        pending = self._sends_by_chat.get(sighting.chat)
        if pending is None or pending.written_at is None:
            return None
        known = self._known.get(sighting.custom_msg_id or "")
        if known is not None and not isinstance(known, EndedSend) and known < pending.written_at:
            return None  # A message seen before the write is not this one.
        if self._match == "auto":
            return self._find_by_echo(pending, sighting, now)
        pending.foreign_id = sighting.custom_msg_id
        return pending

    def _find_by_echo(self, pending: Pending, sighting: Sighting, now: float) -> Pending | None:
        """Tie a message whose id the bridge made to the send in its chat, once an echo shows that its text is the same.

        Until then what is seen of it is held: the verdict may come first.
        """
        foreign_id = sighting.custom_msg_id
        assert pending.send is not None
        if foreign_id is None:
            return None
        if pending.foreign_id is not None:
            return pending if foreign_id == pending.foreign_id else None
        if sighting.echo and sighting.text in pending.send.texts:
            pending.foreign_id = foreign_id
            for earlier, seen_at in pending.held.pop(foreign_id, []):
                pending.note_sighting(earlier, "chat", seen_at)
            return pending
        _hold(pending, foreign_id, sighting, now)
        return None

    def _apply(
        self, pending: Pending, sighting: Sighting, tied_by: TiedBy, now: float, events: list[CorrelationEvent]
    ) -> None:
        if not pending.note_sighting(sighting, tied_by, now) and sighting.verdict is not Verdict.PENDING:
            self._tally["double_evidence"] += 1
        events += self._settle_if_done(pending)

    def _take_late(self, known: EndedSend, sighting: Sighting, now: float, events: list[CorrelationEvent]) -> None:
        not_sent = sighting.verdict is Verdict.NOT_SENT and sighting.custom_msg_id == known.owner
        if sighting.proves_sent and not known.proven:
            known.sent, known.proven = True, sighting.message_id is not None
            self._report_late(known.owner, sighting, events)
        elif not_sent and not (known.sent or known.denied) and is_credible(now - known.written_at):
            known.denied = True
            self._report_late(known.owner, sighting, events, known.attempt)
        else:
            self._tally["double_evidence"] += 1
            return
        self._trust(known.written_at)

    def _take_unknown(self, sighting: Sighting, now: float, events: list[CorrelationEvent]) -> None:
        custom_msg_id = sighting.custom_msg_id
        if custom_msg_id is not None and self.one_send_per_chat and custom_msg_id not in self._known:
            remember(self._known, custom_msg_id, now)
        if custom_msg_id is not None and sighting.proves_sent and _PLAUSIBLE_ID.fullmatch(custom_msg_id):
            self._report_late(custom_msg_id, sighting, events)
        else:
            self._tally["unknown_evidence"] += 1

    def _report_late(
        self, custom_msg_id: str, sighting: Sighting, events: list[CorrelationEvent], attempt: int | None = None
    ) -> None:
        self._tally["late_evidence"] += 1
        events.append(LateEvidence(custom_msg_id, sighting.verdict, sighting.message_id, sighting.sent_at, attempt))


def _hold(pending: Pending, foreign_id: str, sighting: Sighting, now: float) -> None:
    pending.note_held()
    held = pending.held.setdefault(foreign_id, [])
    if len(held) < _HELD_SIGHTINGS:
        held.append((sighting, now))
    if len(pending.held) > _HELD_MESSAGES:
        del pending.held[next(iter(pending.held))]
