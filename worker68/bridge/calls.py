"""A call as its caller holds it: something to wait for, and to give up. On the loop.

In: what becomes of the call. Out: the evidence. Never: a wait without end, also when the connection is lost or the link closed.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable
from types import TracebackType

from msgspec.structs import replace

from worker68.bridge.pending import Pending
from worker68.clock import Deadline, monotonic
from worker68.jobs.evidence import Evidence

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
    ) -> None:
        """``needs_login``: it goes on to the service, so the client must be logged in to it."""
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

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
