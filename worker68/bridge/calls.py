"""A call as its caller holds it: something to wait for, and to give up.

In: what becomes of the call, from the I/O thread. Out: the evidence, on the caller's thread. Never: a wait without end,
also when the connection, the link or the I/O thread goes away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from msgspec.structs import replace

from worker68.bridge.pending import Pending
from worker68.clock import Deadline, monotonic
from worker68.jobs.evidence import Evidence

#: Asked on the I/O thread just before the first byte: None lets it go, words refuse it, a point in monotonic time holds it until
#: then, when it is asked again. It must be quick and must not wait.
Guard = Callable[[], "str | float | None"]


class Call:
    """One frame to write and the answer to it. Any thread may wait for it, but for the I/O thread and its callbacks.

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
        self._give_up = give_up
        self._over = threading.Event()

    @property
    def written(self) -> bool:
        """Whether the first byte has been handed to the socket."""
        return self.pending.written_at is not None

    @property
    def over(self) -> bool:
        """Whether the evidence is complete, and nothing more will be written."""
        return self._over.is_set()

    def wait(self, deadline: Deadline) -> Evidence:
        """Wait until the call is settled, refused, or cannot be answered any more, or until the deadline; then give it up.

        If the deadline passes before a byte was written, none will be: the evidence says which of the two it was. As long as its
        guard held it, so much longer is waited.
        """
        try:
            if not self._over.wait(deadline.remaining()):
                self._over.wait(self._held_seconds())
        finally:
            self.close()
        self._over.wait()
        seen = self.pending.evidence
        return seen if self.refusal is None else replace(seen, refusal=self.refusal)

    def _held_seconds(self) -> float:
        if self.held_since is None:
            return 0.0
        return (self.pending.written_at or monotonic()) - self.held_since

    def close(self) -> None:
        """Give the call up. Idempotent, and does not wait."""
        if not self._over.is_set():
            self._give_up(self)

    def finish(self, refusal: str | None = None) -> None:
        """End every wait for this call. Only for the I/O thread, which changes nothing of the call afterwards."""
        if not self._over.is_set():
            self.refusal = refusal
            self._over.set()

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
