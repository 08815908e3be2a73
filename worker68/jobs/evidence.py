"""What was seen of a call at the bridge, and what it proves.

In: everything observed between the write of a frame and the end of the wait. Out: whether the job is done, refused, in doubt,
or may be tried again. Never: I/O, clocks, guesses. The rules stand in the contract, section 2, "What proves what".
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import msgspec


class Verdict(IntEnum):
    """``readStatus`` of a verdict event. [doc] for 0 and 1, [seen] for -1 and 2 (PROTOCOL.md, Sending)."""

    PENDING = -1
    NOT_SENT = 0
    SENT = 1
    READ = 2


#: A "not sent" that comes later than this after the write only says that the client gave up waiting (about 15 s, [seen]).
NOT_SENT_CREDIBLE_SECONDS = 10.0

#: The bridge's "service busy". [doc: the error example of GroupReqList]
BUSY = 300

#: ``errorType`` of the notice that a friend has blocked or removed the account; which of them says what is not known. [seen]
REFUSED_BY_FRIEND = frozenset({5113, 5114})

#: What the service says of a message to a group that it does not let through, at once. [seen]
REFUSED_BY_GROUP = {
    1021: "the group is muted, or the account is in it",
    1022: "the account is banned in the group, or the group is",
}

#: The client shows a message of its own at once when it has taken the frame [seen]: so long it is waited for that.
TAKEN_SECONDS = 2.0


def is_credible(seconds: float | None) -> bool:
    """Whether a "not sent" is believed that came so long after the write."""
    return seconds is not None and seconds <= NOT_SENT_CREDIBLE_SECONDS


@dataclass(frozen=True)
class BridgeError:
    """The bridge's or the service's own "no": its code as an integer where it is one, and its words.

    ``busy``: by the account's SLOW_DOWNS a read or a change that is answered so may be tried again.
    """

    code: int | str | None
    text: str
    busy: bool = False


class Evidence(msgspec.Struct, frozen=True):
    """All that was seen of one call.

    ``written``: at least one byte of the frame was handed to the socket; while False nothing can have happened at the bridge, and
    ``refusal`` says in words why none was.
    ``maybe_shown``: a message of the account's own, of unknown origin, was seen in its chat meanwhile.
    ``cut``: its last byte was not when the wait ended, so the bridge may never read it as a message.
    ``replied``: the direct reply came; ``data`` is its ``data`` as decoded JSON, ``error`` its error (or the service's
    ``commonResult.errCode`` other than 200). ``verdict``: the last one seen that is not PENDING; ``verdict_seconds``: its delay
    after the write; ``tied_by``: by what it (or the echo) was tied to this send: by its chat also where an earlier attempt with
    the same id may still be said not to be sent. ``echo``: the account's own message was seen with a server id. ``message_id``,
    ``sent_at``: from verdict or echo. ``connection_lost``: the connection on which the frame was written dropped before the call
    was settled. ``notice``: what the client said in the send's chat while no other send of ours was under way there. ``taken``:
    the client spoke of the message in any way, so it has taken the frame; ``not_taken``: it did not within ``TAKEN_SECONDS``, on a
    link that was ready. That alone proves nothing: a client may hold back what it says. [seen]
    """

    written: bool = False
    cut: bool = False
    maybe_shown: bool = False
    refusal: str | None = None
    replied: bool = False
    data: Any = None
    error: BridgeError | None = None
    verdict: Verdict | None = None
    verdict_seconds: float | None = None
    tied_by: Literal["id", "chat"] | None = None
    echo: bool = False
    message_id: int | None = None
    sent_at: dt.datetime | None = None
    connection_lost: bool = False
    notice: BridgeError | None = None
    taken: bool = False
    not_taken: bool = False

    @property
    def refused_by_friend(self) -> bool:
        return self.notice is not None and self.notice.code in REFUSED_BY_FRIEND

    @property
    def refused_by_group(self) -> int | None:
        """The code with which the group did not let the message through, None without one."""
        codes = [error.code for error in (self.notice, self.error) if error is not None]
        return next((code for code in codes if isinstance(code, int) and code in REFUSED_BY_GROUP), None)

    @property
    def credibly_not_sent(self) -> bool:
        """Whether the bridge's word that the message was not sent counts: tied by its id, and soon after the write."""
        return self.verdict is Verdict.NOT_SENT and self.tied_by == "id" and is_credible(self.verdict_seconds)
