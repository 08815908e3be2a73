"""Counts what happened on a link, by kind: for metrics, and so that nothing is dropped in silence.

Written on the loop; read from anywhere: each kind is there from the beginning, so a reader never meets a table that grows.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, get_args

Kind = Literal[
    "connections",  # opened up to the WebSocket handshake
    "connection_failures",  # not opened
    "connection_drops",  # opened, and lost or given up
    "messages_in",
    "messages_out",
    "too_large",  # messages over the bound; the connection was dropped
    "malformed",  # messages, or entries of a verdict, without meaning in this protocol
    "late_replies",  # to a call whose caller had given up
    "double_replies",
    "unknown_replies",  # to no call of this process
    "late_evidence",  # a message of ours, or that may be, was sent, and no call waits
    "double_evidence",  # of a message already known to be sent, or not adding anything
    "unknown_evidence",  # a verdict or own message that is none of ours
    "calls_refused",  # not a byte written: link down, queue full, chat busy, guard
    "calls_withdrawn",  # their deadline passed before a byte was written
    "callback_errors",
    "internal_errors",
]


class Tally(Counter[Kind]):
    """The counts of one link, from 0."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(get_args(Kind), 0))
