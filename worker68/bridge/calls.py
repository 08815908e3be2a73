"""A call at the bridge: what is seen of it, what is remembered of it, and the handle by which its caller waits. On the loop.

In: what was written, replied, and seen of its message. Out: its evidence, and whether there is anything left to wait for. Never: a
wait without end, also when the connection is lost or the link closed; a decision about which call a frame belongs to
(``correlation``), nor about what the evidence proves (``jobs.evidence``).
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, TypeVar

from msgspec.structs import replace

from worker68.bridge.frames import Sighting
from worker68.clock import Deadline, monotonic
from worker68.jobs.evidence import BridgeError, Confirm, Evidence, Verdict
from worker68.jobs.fields import Chat

TiedBy = Literal["id", "chat"]

_PROOF = (Verdict.SENT, Verdict.READ)


@dataclass(frozen=True)
class SendTerms:
    """What a send needs in order to be recognised. ``texts``: an own message with one of them may be this send.

    ``attempt``: which try of its job it is; all of them have the same ``custom_msg_id``. ``again``: an earlier one may have
    written the message.
    """

    custom_msg_id: str
    chat: Chat
    texts: frozenset[str]
    confirm: Confirm
    attempt: int | None = None
    again: bool = False


@dataclass(slots=True, eq=False)
class Pending:
    """A call, registered from before its write until it is settled or its caller gives up.

    ``reply_shape``: what the data of its reply should be, for msgspec. ``foreign_id``: the id that the bridge itself gave this
    message, once known. ``held``: messages of the account's own seen in this chat since the write, by their id, with the time:
    one of them may turn out to be this send.
    """

    request_id: str
    send: SendTerms | None = None
    reply_shape: Any = Any
    evidence: Evidence = field(init=False, default_factory=Evidence)
    written_at: float | None = field(init=False, default=None)
    written_whole: bool = field(init=False, default=False)
    foreign_id: str | None = field(init=False, default=None)
    held: dict[str, list[tuple[Sighting, float]]] = field(init=False, default_factory=dict)

    @property
    def settled(self) -> bool:
        """Say whether waiting longer can bring nothing that matters.

        An error reply alone never settles a send: with a verdict or an echo behind it, it did not mean "not sent". Nor does a
        "not sent" that came late or was tied by chat only: a "sent" may follow [seen].
        """
        seen = self.evidence
        if self.send is None:
            return seen.replied
        if self.sent or seen.credibly_not_sent or seen.refused_by_friend:
            return True
        confirm = self.send.confirm
        accepted = seen.replied and seen.error is None
        return (confirm == "reply" and accepted) or (confirm == "write" and self.written_whole)

    @property
    def sent(self) -> bool:
        """Say whether the message is known to be sent."""
        return self.evidence.echo or self.evidence.verdict in _PROOF

    def is_at_the_bridge(self, chat: Chat) -> bool:
        """Whether it is a send to this chat of which a byte was written."""
        return self.send is not None and self.send.chat == chat and self.written_at is not None

    @property
    def proven(self) -> bool:
        """Say whether the message is known to be sent, and nothing about it is missing."""
        return self.sent and self.evidence.message_id is not None

    def note_written(self, now: float) -> None:
        self.written_at = now
        self.evidence = replace(self.evidence, written=True)

    def note_end(self) -> None:
        """Nothing more of it is waited for, also not the write of what is left of its frame."""
        if self.written_at is not None and not self.written_whole:
            self.evidence = replace(self.evidence, cut=True)

    def note_reply(self, data: Any, error: BridgeError | None) -> None:
        self.evidence = replace(self.evidence, replied=True, data=data, error=error)

    def note_notice(self, error: BridgeError) -> None:
        """Take in what the client said in the chat while no other send was under way there."""
        self.evidence = replace(self.evidence, notice=error)

    def note_held(self) -> None:
        """A message of the account's own was seen in the chat, which may be this one."""
        self.evidence = replace(self.evidence, maybe_shown=True)

    def note_connection_lost(self) -> None:
        self.evidence = replace(self.evidence, connection_lost=True)

    def note_sighting(self, sighting: Sighting, tied_by: TiedBy, now: float) -> bool:
        """Take in a verdict or an echo that is tied to this send; return whether it added anything.

        A "not sent" stays only until a "sent" replaces it, and never replaces one. Before the write only a proof counts: it can
        only be of an earlier attempt with the same id.
        """
        seen = self.evidence
        newly_taken = self.written_at is not None and not seen.taken
        if newly_taken:
            self.evidence = seen = replace(seen, taken=True)
        if not self._adds(sighting):
            return newly_taken
        if sighting.proves_sent:
            seen = replace(
                seen,
                message_id=sighting.message_id or seen.message_id,
                sent_at=sighting.sent_at or seen.sent_at,
                echo=seen.echo or sighting.echo,
            )
        if sighting.verdict is not None:
            delay = None if self.written_at is None else now - self.written_at
            seen = replace(seen, verdict=sighting.verdict, verdict_seconds=delay, notice=sighting.error or seen.notice)
        self.evidence = replace(seen, tied_by=tied_by)
        return True

    def _adds(self, sighting: Sighting) -> bool:
        if sighting.proves_sent:
            return True
        return sighting.verdict is Verdict.NOT_SENT and self.written_at is not None and self.evidence.verdict is None


_Value = TypeVar("_Value")

#: How many ended calls, and how many messages. At the default limits an account ends 60 calls a minute, so this is over an hour.
_REMEMBERED: Final = 4096

#: The client gives up and says "not sent" some 15 s after the write [seen]; a little more than that.
NOT_SENT_COMES_WITHIN_SECONDS: Final = 20.0


@dataclass(slots=True)
class EndedSend:
    """A send of ours that no call waits for any more. ``owner``: its ``custom_msg_id``.

    ``sent``: it is known to be sent; ``proven``: and nothing about it is missing. ``denied``: a "not sent" holds.
    """

    owner: str
    sent: bool
    proven: bool
    denied: bool
    attempt: int | None
    written_at: float

    def may_be_denied(self, now: float) -> bool:
        """Whether a "not sent" of it may still come: its id alone does not tell it from one of a later attempt then."""
        return not (self.sent or self.denied) and now - self.written_at < NOT_SENT_COMES_WITHIN_SECONDS

    @classmethod
    def of(cls, pending: Pending) -> EndedSend:
        """Return what is known of a send that was written."""
        assert pending.send is not None
        assert pending.written_at is not None
        return cls(
            pending.send.custom_msg_id,
            sent=pending.sent,
            proven=pending.proven,
            denied=pending.evidence.credibly_not_sent,
            attempt=pending.send.attempt,
            written_at=pending.written_at,
        )


class Known(OrderedDict[str, EndedSend | float]):
    """Messages of the account that no call waits for, by each id they have: ours, and when others were first seen.

    ``since``: from when on (monotonic seconds) all sends are among them; another owner may have written earlier ones.
    """

    def __init__(self, since: float) -> None:
        super().__init__()
        self._since = since

    def may_be_denied(self, send: SendTerms, now: float) -> bool:
        """Whether a "not sent" with this send's id may be of an earlier attempt: all attempts of a job have the same id."""
        earlier = self.get(send.custom_msg_id)
        if isinstance(earlier, EndedSend):
            return earlier.may_be_denied(now)
        return send.again and now - self._since < NOT_SENT_COMES_WITHIN_SECONDS


def remember(table: OrderedDict[str, _Value], key: str, value: _Value) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > _REMEMBERED:
        table.popitem(last=False)


#: Asked just before the first byte: None lets the frame go, words refuse it, a point in monotonic time holds it until then, when
#: it is asked again. It must be quick, must not wait, and must not make a call.
Guard = Callable[[], "str | float | None"]

#: Request ids are unique beyond this process: whether a bridge answers clients other than the asker is [open].
_PROCESS = secrets.token_hex(4)
_numbers = itertools.count(1)


def new_request_id() -> str:
    return f"{_PROCESS}-{next(_numbers)}"


class Call:
    """One frame to write and the answer to it, for one who waits.

    As a context manager it is given up at the end of the block.
    """

    def __init__(
        self,
        pending: Pending,
        frame: bytes,
        *,
        guard: Guard | None = None,
        needs_login: bool = True,
        give_up: Callable[[Call], None] | None = None,
        on_end: Callable[[Call], None] | None = None,
    ) -> None:
        """``needs_login``: it goes on to the service, so the client must be logged in to it. ``on_end``: called once it is over."""
        self.pending = pending
        self.needs_login = needs_login
        self.frame = frame
        self.guard = guard
        self.refusal: str | None = None
        """Why not a byte was written, once that is certain."""
        self.held_since: float | None = None
        """From when on its guard has held it."""
        self.over = False
        """Whether the evidence is complete, and nothing more will be written."""
        self._give_up = give_up
        self._on_end = on_end
        self._ended: asyncio.Future[None] | None = None

    @property
    def written(self) -> bool:
        """Whether the first byte has been handed to the socket."""
        return self.pending.written_at is not None

    async def wait(self, deadline: Deadline) -> Evidence:
        """Wait until the call is settled, refused, or cannot be answered any more, or until the deadline; then give it up.

        If the deadline passes before a byte was written, none will be: the evidence says which of the two it was. As long as its
        guard held it, so much longer is waited.
        """
        loop = asyncio.get_running_loop()
        timer = loop.call_later(deadline.remaining(), self._close_once_let_go)
        try:
            if not self.over:
                self._ended = loop.create_future()
                await self._ended
        finally:
            timer.cancel()
            self.close()
        seen = self.pending.evidence
        return seen if self.refusal is None else replace(seen, refusal=self.refusal)

    @property
    def seconds_at_the_bridge(self) -> float:
        """How long ago its first byte was written; 0 if none was."""
        written_at = self.pending.written_at
        return 0.0 if written_at is None else monotonic() - written_at

    def _close_once_let_go(self) -> None:
        """The deadline has passed: give the call up, after as long as its guard has held it."""
        asyncio.get_running_loop().call_later(self._held_seconds(), self.close)

    def _held_seconds(self) -> float:
        if self.held_since is None:
            return 0.0
        return (self.pending.written_at or monotonic()) - self.held_since

    def close(self) -> None:
        """Give the call up. Idempotent, and does not wait."""
        if not self.over and self._give_up is not None:
            self._give_up(self)

    def finish(self, refusal: str | None = None) -> None:
        """End the wait for this call. Nothing of the call is changed afterwards."""
        if self.over:
            return
        self.refusal = refusal
        self.over = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        if self._on_end is not None:
            self._on_end(self)

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
