"""What was seen of a call at the bridge, and what it proves.

In: everything observed between the write of a frame and the end of the wait. Out: whether the job is done, refused, in doubt,
or may be tried again. Never: I/O, clocks, guesses. The rules stand in the contract, section 2, "What proves what".

Sends are neither repeatable nor readable, so anything uncertain after the first byte is in doubt. Changes (moderation) and
reads may be repeated, so uncertainty is another try.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, failed, in_doubt, succeeded


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


Confirm = Literal["verdict", "reply", "write"]


def judge_send(seen: Evidence, custom_msg_id: int, confirm: Confirm) -> Outcome | TryAgain:
    """Say what became of a send, once its wait is over. Of an error only 300 lets it be tried again, whatever SLOW_DOWNS names."""
    sent = succeeded({"custom_msg_id": str(custom_msg_id), "message_id": seen.message_id, "sent_at": seen.sent_at})
    if _was_seen_sent(seen):
        return sent
    if not seen.written:
        return TryAgain(ErrorCode.CONNECTION_LOST, _unwritten(seen), spent=False)
    if seen.notice is not None and seen.refused_by_friend:
        return failed(ErrorCode.REFUSED, _refused_by_friend(seen.notice), seen.notice.code)
    if seen.credibly_not_sent:
        return not_sent(seen.refused_by_group)
    if _satisfies(seen, confirm):
        return sent
    if seen.connection_lost:
        words = f"the connection to the bridge was lost after the write, and no verdict came{_taken_or_not(seen)}"
        return in_doubt(ErrorCode.CONNECTION_LOST, words)
    if seen.error is not None and seen.verdict is None and not (seen.taken or seen.maybe_shown):
        return _refusal(seen, seen.error.code == BUSY, REFUSED_BY_GROUP)
    words = f"the message was written, and no verdict proves that it was sent or not{_taken_or_not(seen)}"
    return in_doubt(ErrorCode.NO_VERDICT, words)


def not_sent(code: int | None = None) -> Outcome:
    """Return the outcome of a send by a "not sent" that counts. ``code``: the service's for a group that lets nothing through."""
    why = "" if code is None else f": {REFUSED_BY_GROUP[code]}"
    return failed(ErrorCode.NOT_SENT, f"the bridge's verdict: the message was not sent{why}", code)


def judge_request(seen: Evidence) -> Outcome | TryAgain:
    """Say what became of a read or an idempotent change: a success has the reply's data as ``result["data"]``."""
    if not seen.written:
        return TryAgain(ErrorCode.UNAVAILABLE, _unwritten(seen), spent=False)
    if seen.error is not None:
        return _refusal(seen, seen.error.code == BUSY or seen.error.busy)
    if seen.replied:
        return succeeded({"data": seen.data})
    cause = "the connection was lost" if seen.connection_lost else "no reply came"
    return TryAgain(ErrorCode.UNAVAILABLE, f"written, but {cause}", spent=True)


def judge_unknown_call(seen: Evidence) -> Outcome | TryAgain:
    """Say what became of a call that is not known to be repeatable: it is made once, and a silence leaves it in doubt."""
    finding = judge_request(seen)
    if not isinstance(finding, TryAgain) or not finding.spent:
        return finding
    if seen.error is not None:
        return failed(
            finding.code, f"{finding.reason}; not repeated, for what it does is not known", finding.bridge_code
        )
    code = ErrorCode.CONNECTION_LOST if seen.connection_lost else ErrorCode.NO_VERDICT
    return in_doubt(code, f"the call was {finding.reason}; it may have been carried out")


def give_up(try_again: TryAgain, attempts: int) -> Outcome:
    """Return the outcome of a job whose tries are used up."""
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return failed(try_again.code, f"{try_again.reason}; gave up after {tries}", try_again.bridge_code)


def _was_seen_sent(seen: Evidence) -> bool:
    """A proof without a write of this attempt is of an earlier one under the same ``custom_msg_id``: it counts all the same."""
    return seen.verdict in (Verdict.SENT, Verdict.READ) or seen.echo


def _satisfies(seen: Evidence, confirm: Confirm) -> bool:
    """Whether the weaker proof is there that the account's settings are content with."""
    if confirm == "write":
        return not (seen.connection_lost or seen.cut)
    return confirm == "reply" and seen.replied and seen.error is None


def _unwritten(seen: Evidence) -> str:
    return seen.refusal or "not a byte was written"


def _taken_or_not(seen: Evidence) -> str:
    if seen.taken:
        return "; the client had taken it: it showed the message as its own"
    if seen.maybe_shown:
        return "; a message of the account's own was seen in the chat meanwhile, and may be this one"
    if seen.not_taken:
        return f"; the client did not show it within {TAKEN_SECONDS:.0f} s, so it may not have taken it"
    return ""


def _refused_by_friend(notice: BridgeError) -> str:
    return f"the friend has blocked or removed the account: {notice.text or 'the client gave no words'}"


def _refusal(seen: Evidence, busy: bool, meanings: Mapping[int, str] = MappingProxyType({})) -> Outcome | TryAgain:
    """Say no in the bridge's words; ``busy``: for now. ``meanings``: where it has no words, by its code."""
    assert seen.error is not None
    code = seen.error.code
    text = seen.error.text or (meanings.get(code) if isinstance(code, int) else None) or "it gave no reason"
    if busy:
        return TryAgain(ErrorCode.BUSY, f"the service is busy: {text}", spent=True, bridge_code=code)
    return failed(ErrorCode.REFUSED, f"the bridge refused: {text}", code)
