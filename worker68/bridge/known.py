"""What is remembered of calls and messages that are over: a late or second frame is no unknown one.

In: sends that have ended, messages of the account's own that were seen. Out: what is known of each. Never: more than a bounded
number of them.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, TypeVar

from worker68.bridge.pending import Pending

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


def remember(table: OrderedDict[str, _Value], key: str, value: _Value) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > _REMEMBERED:
        table.popitem(last=False)
