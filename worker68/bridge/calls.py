"""A call as its caller holds it: something to wait for, and to give up.

In: what becomes of the call, from the I/O thread. Out: the evidence, on the loop. Never: a wait without end,
also when the connection, the link or the I/O thread goes away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from msgspec.structs import replace

from worker68.bridge.pending import Pending
from worker68.clock import Deadline, monotonic
from worker68.jobs.evidence import Evidence
from worker68.loop import Waiter

#: Asked on the I/O thread just before the first byte: None lets it go, words refuse it, a point in monotonic time holds it until
#: then, when it is asked again. It must be quick and must not wait.
Guard = Callable[[], "str | float | None"]


class Call:
    """One frame to write and the answer to it, for one who waits.

    As a context manager it is given up at the end of the block.
    """

    def __init__(
        self,
        pending: Pending,
        frame: bytes,
        guard: Guard | None,
        give_up: Callable[[Call], None],
        needs_login: bool = True,
    ) -> None:
        """``needs_login``: it goes on to the service, so the client must be logged in to it."""
        self.pending = pending
        self.needs_login = needs_login
        self.frame = frame
        self.guard = guard
        self.refusal: str | None = None
        """Why not a byte was written, once that is certain."""
        self.held_since: float | None = None
        """From when on its guard has held it; for the I/O thread, which sets it once."""
        self.over = False
        """Whether the evidence is complete, and nothing more will be written."""
        self._give_up = give_up
        self._ended: Waiter[None] | None = None

    @property
    def written(self) -> bool:
        """Whether the first byte has been handed to the socket."""
        return self.pending.written_at is not None

    async def wait(self, deadline: Deadline) -> Evidence:
        """Wait until the call is settled, refused, or cannot be answered any more, or until the deadline; then give it up.

        If the deadline passes before a byte was written, none will be: the evidence says which of the two it was. As long as its
        guard held it, so much longer is waited.
        """
        ended: Waiter[None] = Waiter()
        self._ended = ended
        timer = asyncio.get_running_loop().call_later(deadline.remaining(), self._close_once_let_go)
        try:
            if not self.over:  # the I/O thread tells after it is over, so one of the two is seen
                await ended
        finally:
            timer.cancel()
            self.close()
        seen = self.pending.evidence
        return seen if self.refusal is None else replace(seen, refusal=self.refusal)

    def _close_once_let_go(self) -> None:
        """The deadline has passed: give the call up, after as long as its guard has held it."""
        asyncio.get_running_loop().call_later(self._held_seconds(), self.close)

    def _held_seconds(self) -> float:
        if self.held_since is None:
            return 0.0
        return (self.pending.written_at or monotonic()) - self.held_since

    def close(self) -> None:
        """Give the call up. Idempotent, and does not wait."""
        if not self.over:
            self._give_up(self)

    def finish(self, refusal: str | None = None) -> None:
        """End the wait for this call. Only for the I/O thread, which changes nothing of the call afterwards."""
        if not self.over:
            self.refusal = refusal
            self.over = True
            if self._ended is not None:
                self._ended.tell(None)

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
