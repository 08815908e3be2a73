"""The base URL of the service's HTTP API, as a bridge says it on this connection.

In: the replies to ``getApiUrl``. Out: the URL. It changes over time, so it is asked for after each Hello [doc].
"""

from __future__ import annotations

import math

from worker68.bridge.calls import Call, Pending, new_request_id
from worker68.bridge.exchange import Exchange
from worker68.clock import monotonic
from worker68.protocol.messages import encode_call

#: A question that the account's guard has refused is asked again after this, then after twice as long, up to the usual time: for a
#: new owner SQL has not said yet whether the account is paused, and says so within milliseconds.
REFUSED_RETRY_SECONDS = 0.02


class ApiUrl:
    """One account's. ``ask_at``: when to ask (again), in monotonic seconds."""

    def __init__(self, exchange: Exchange, retry_seconds: float) -> None:
        self._exchange = exchange
        self._retry_seconds = retry_seconds
        self._call: Call | None = None
        self._refused = 0  # in a row
        self.url: str | None = None
        self.ask_at = math.inf

    def ask(self, now: float) -> None:
        """Ask the bridge; again after a while, as long as it does not say it."""
        self._end_call("asked again")
        pending = Pending(new_request_id())
        frame = encode_call(pending.request_id, "getApiUrl")
        self._call = Call(pending, frame, needs_login=False, on_end=self._take)
        self.ask_at = now + self._retry_seconds
        self._exchange.add(self._call)

    def forget(self) -> None:
        """The connection was lost."""
        self._end_call("the connection was lost")
        self._refused = 0
        self.url = None
        self.ask_at = math.inf

    def _take(self, call: Call) -> None:
        """Take the URL, if the bridge has said it; plan to ask again soon, if the question could not be written."""
        if call is not self._call:
            return
        self._call = None
        if call.refusal is not None:
            self.ask_at = monotonic() + min(self._retry_seconds, REFUSED_RETRY_SECONDS * 2.0 ** min(self._refused, 20))
            self._refused += 1
            return
        self._refused = 0
        seen = call.pending.evidence
        if seen.error is None and isinstance(seen.data, str) and seen.data.startswith(("http://", "https://")):
            self.url = seen.data.rstrip("/")
            self.ask_at = math.inf

    def _end_call(self, reason: str) -> None:
        call, self._call = self._call, None
        if call is not None and not call.over:
            self._exchange.end(call, reason)
