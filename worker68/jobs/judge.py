"""What the evidence proves: the rules of the contract, section 2, "What proves what".

Sends are neither repeatable nor readable, so anything uncertain after the first byte is in doubt. Changes (moderation) and
reads may be repeated, so uncertainty is another try.
"""

from __future__ import annotations

from typing import Literal

from worker68.jobs.evidence import BUSY, Evidence, Verdict
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, failed, in_doubt, succeeded

Confirm = Literal["verdict", "reply", "write"]


def judge_send(seen: Evidence, custom_msg_id: int, confirm: Confirm) -> Outcome | TryAgain:
    """Say what became of a send, once its wait is over."""
    sent = succeeded({"custom_msg_id": str(custom_msg_id), "message_id": seen.message_id, "sent_at": seen.sent_at})
    if _was_seen_sent(seen):
        return sent
    if not seen.written:
        return TryAgain(ErrorCode.CONNECTION_LOST, _unwritten(seen), spent=False)
    if seen.credibly_not_sent:
        return not_sent()
    if _satisfies(seen, confirm):
        return sent
    if seen.connection_lost:
        return in_doubt(
            ErrorCode.CONNECTION_LOST, "the connection to the bridge was lost after the write, and no verdict came"
        )
    if seen.error is not None and seen.verdict is None:
        return _refusal(seen)
    return in_doubt(ErrorCode.NO_VERDICT, "the message was written, and no verdict proves that it was sent or not")


def not_sent() -> Outcome:
    """Return the outcome of a send by a "not sent" that counts."""
    return failed(ErrorCode.NOT_SENT, "the bridge's verdict: the message was not sent")


def judge_request(seen: Evidence) -> Outcome | TryAgain:
    """Say what became of a read or an idempotent change: a success has the reply's data as ``result["data"]``."""
    if not seen.written:
        return TryAgain(ErrorCode.UNAVAILABLE, _unwritten(seen), spent=False)
    if seen.error is not None:
        return _refusal(seen)
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
        return not seen.connection_lost  # else the frame may have been cut
    return confirm == "reply" and seen.replied and seen.error is None


def _unwritten(seen: Evidence) -> str:
    return seen.refusal or "not a byte was written"


def _refusal(seen: Evidence) -> Outcome | TryAgain:
    assert seen.error is not None
    code, text = seen.error.code, seen.error.text or "it gave no reason"
    if code == BUSY:
        return TryAgain(ErrorCode.BUSY, f"the service is busy: {text}", spent=True, bridge_code=code)
    return failed(ErrorCode.REFUSED, f"the bridge refused: {text}", code)
