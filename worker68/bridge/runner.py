"""Runs one session on the event loop: its socket, its timer, its faults.

In: the socket can be read or written; the session's time has come; a step from outside (a call, the end of a try to connect). Out:
steps of the session, one at a time. Never: a fault of one session that another one, or the loop, would notice.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import structlog

from worker68.bridge.connection import Connection
from worker68.clock import monotonic
from worker68.loop import Loop
from worker68.observe.outages import Outage

log = structlog.get_logger(__name__)

#: A session that cannot even start over is left alone for so long.
REST_SECONDS = 1.0

_START_OVER: Final = Outage(
    "bridge_start_over_failed", "bridge_started_over", "a fault in worker68; it is tried again", fault=True
)

T = TypeVar("T")


class Steps(Protocol):
    """What is run: a session, as far as its runner knows it."""

    account: str

    @property
    def connection(self) -> Connection | None: ...

    @property
    def wants_read(self) -> bool: ...

    @property
    def has_more(self) -> bool:
        """Whether ``on_ready`` has something to do that the selector does not show."""

    @property
    def next_due(self) -> float:
        """When ``on_time`` wants to be called, in monotonic seconds."""

    def on_ready(self) -> None: ...

    def on_time(self) -> None: ...

    def fail(self) -> None:
        """Start over: a step has raised."""

    def close(self) -> None: ...


class Runner:
    """One session's place on the loop. ``after`` is called after each step that changed something of the session."""

    def __init__(self, loop: Loop, after: Callable[[], None]) -> None:
        self._loop = loop
        self._after = after
        self._session: Steps | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reads_from: Connection | None = None
        self._writes_to: Connection | None = None
        self._goes_on = False  # a step is on its way that reads what the selector does not show
        self._resting = False  # it could not even start over, and is left alone until the timer

    def attach(self, session: Steps) -> None:
        """Take the session that is run here; once, before its first step."""
        self._session = session

    # -- for everyone on the loop

    def step(self, step: Callable[..., None], *given: Any) -> None:
        """Run a step of the session. Whatever it raises costs the session its connection, and nothing else anything."""
        try:
            step(*given)
            self._follow_up()
        except BaseException:
            log.exception("bridge_io_failed", account=self._its.account)
            self._start_over()

    def close(self) -> None:
        """Close the session for good."""
        self.step(self._its.close)
        self._stop_timer()

    # -- for the session

    def tell(self, step: Callable[[], None]) -> None:
        """Have a step run soon. From any thread."""
        self._loop.tell(partial(self.step, step))

    def in_pool(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Have something computed that takes long, and its result taken in a step."""
        self._loop.run_in_executor(None, work).add_done_callback(partial(self._take_result, then))

    def release(self, connection: Connection) -> None:
        """Close a connection. The loop forgets its socket first: the number of a closed one may be another one's at once."""
        self._unwatch()
        connection.close()

    # -- inside

    @property
    def _its(self) -> Steps:
        assert self._session is not None
        return self._session

    def _take_result(self, then: Callable[[T], None], result: asyncio.Future[T]) -> None:
        if not result.cancelled():
            self.step(lambda: then(result.result()))

    def _follow_up(self) -> None:
        """Wait for what the session waits for now, and show what it has become."""
        self._after()
        if not self._resting:
            self._watch(self._its)
            self._arm(self._its.next_due)

    def _watch(self, session: Steps) -> None:
        connection = session.connection
        reads_from = connection if session.wants_read else None
        if reads_from is not self._reads_from:
            if self._reads_from is not None:
                self._loop.remove_reader(self._reads_from)
            self._reads_from = reads_from
            if reads_from is not None:
                self._loop.add_reader(reads_from, self._on_ready)
        writes_to = connection if connection is not None and connection.wants_write else None
        if writes_to is not self._writes_to:
            if self._writes_to is not None:
                self._loop.remove_writer(self._writes_to)
            self._writes_to = writes_to
            if writes_to is not None:
                self._loop.add_writer(writes_to, self._on_ready)
        if session.has_more and not self._goes_on:
            self._goes_on = True
            self._loop.call_soon(self._go_on)

    def _unwatch(self) -> None:
        if self._reads_from is not None:
            self._loop.remove_reader(self._reads_from)
        if self._writes_to is not None:
            self._loop.remove_writer(self._writes_to)
        self._reads_from = self._writes_to = None

    def _on_ready(self) -> None:
        self.step(self._its.on_ready)

    def _go_on(self) -> None:
        self._goes_on = False
        self._on_ready()

    def _arm(self, due: float) -> None:
        """See to it that the timer comes no later than ``due``. One that comes too early only looks again."""
        if due == math.inf or (self._timer is not None and self._timer.when() <= due):
            return
        self._stop_timer()
        self._timer = self._loop.call_at(due, self._on_time)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        self._timer = None
        self.step(self._look_at_the_time)

    def _look_at_the_time(self) -> None:
        if self._its.next_due <= monotonic():
            self._its.on_time()

    def _start_over(self) -> None:
        account = self._its.account
        try:
            self._its.fail()
            self._follow_up()
        except BaseException as error:  # noqa: BLE001 - logged, with its traceback
            _START_OVER.fails(account, error, account=account)
            self._rest()
        else:
            _START_OVER.works(account)

    def _rest(self) -> None:
        """Leave the session alone for a moment. Its socket may be open still, and would keep the loop busy."""
        self._resting = True
        self._unwatch()
        self._stop_timer()
        self._timer = self._loop.call_later(REST_SECONDS, self._end_rest)

    def _end_rest(self) -> None:
        self._timer = None
        self._resting = False
        self._start_over()
