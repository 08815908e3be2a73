"""A call that is under way, and everything seen of it so far.

In: what was written, replied, and seen of its message. Out: its evidence, and whether there is anything left to wait for.
Never: a decision about which call a frame belongs to (``correlation``), nor about what the evidence proves (``jobs.judge``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec.structs import replace

from worker68.bridge.frames import Sighting
from worker68.jobs.evidence import BridgeError, Evidence, Verdict
from worker68.jobs.fields import Chat
from worker68.jobs.judge import Confirm

TiedBy = Literal["id", "chat"]

_PROOF = (Verdict.SENT, Verdict.READ)


@dataclass(frozen=True)
class SendTerms:
    """What a send needs in order to be recognised. ``texts``: an own message with one of them may be this send.

    ``attempt``: which try of its job it is; all of them have the same ``custom_msg_id``.
    """

    custom_msg_id: str
    chat: Chat
    texts: frozenset[str]
    confirm: Confirm
    attempt: int | None = None


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
