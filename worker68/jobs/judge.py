"""What the evidence proves: the rules of the contract, section 2, "What proves what".

Sends are neither repeatable nor readable, so anything uncertain after the first byte is in doubt. Changes (moderation) and
reads may be repeated, so uncertainty is another try.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from worker68.jobs.evidence import BUSY, REFUSED_BY_GROUP, TAKEN_SECONDS, BridgeError, Evidence, Verdict
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, failed, in_doubt, succeeded

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
