"""The one thread of a worker that reads and writes all its bridge connections.

In: accounts to open and close. Out: links, and callbacks about what happens on them. Never: a wait but in the selector, whose
timeout is the next timer: an idle worker costs nothing. One thread for both directions, because a thread that writes to a TLS
connection beside one that reads it breaks the connection on CPython (its issue 143756).
"""

from __future__ import annotations

import math
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import urlsplit

import structlog

from worker68.bridge.connection import Connection
from worker68.bridge.correlation import LateEvidence
from worker68.bridge.health import Timing
from worker68.bridge.link import Link
from worker68.bridge.session import LinkOptions, Session, Surroundings
from worker68.clock import monotonic

log = structlog.get_logger(__name__)

#: The longest documented reply is a contact list of some megabytes; this is what a worker can lose to a bridge gone mad.
MESSAGE_LIMIT = 64 * 1024 * 1024

#: What ``select`` takes at most without an overflow; longer sleeps are cut, which costs one turn a day.
_LONGEST_SLEEP_SECONDS = 86_400.0


#: A session that cannot even start over is left alone for so long.
REST_SECONDS = 1.0

T = TypeVar("T")


class BridgeIO:
    """All bridge connections of this process.

    The callbacks run on the I/O thread: they must be quick, and must neither wait for a call nor close an account. An exception
    in one is logged and counted. ``on_state`` gets an account and why its link is not ready, None where it is; the first call may
    come before ``open`` has returned. ``on_event`` gets every unsolicited frame that is not about a send of ours.
    """

    def __init__(
        self,
        *,
        on_state: Callable[[str, str | None], None],
        on_late_evidence: Callable[[str, LateEvidence], None],
        on_event: Callable[[str, str, bytes], None],
        frame_limit: int = MESSAGE_LIMIT,
        timing: Timing | None = None,
    ) -> None:
        self._surroundings = Surroundings(
            post=self._post,
            watch=self._watch,
            unwatch=self._unwatch,
            on_state=on_state,
            on_late_evidence=on_late_evidence,
            on_event=on_event,
            message_limit=frame_limit,
            timing=timing or Timing(),
        )
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._sessions: set[Session] = set()  # the I/O thread's own, as the next one
        self._resting: dict[Session, float] = {}  # those that could not even start over, until when
        self._lock = threading.Lock()  # guards _inbox, _awake, _ended, _links, _knows_ids
        self._inbox: deque[tuple[Session, Callable[[], None]]] = deque()
        self._awake = False
        self._ended = False
        self._links: dict[str, Link] = {}
        self._knows_ids: set[tuple[str, str]] = set()
        self._stopping = False
        self.turns = 0  # how often the I/O thread went round
        self._thread = threading.Thread(target=self._run, name="BridgeIO", daemon=True)

    def start(self) -> None:
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._thread.start()

    def stop(self) -> None:
        """Drop every connection and end every wait. Idempotent; afterwards every call is refused."""
        self._stopping = True
        if self._thread.ident is None:
            self._shut_down()
            return
        self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def open(self, account: str, url: str, options: LinkOptions | None = None) -> Link:
        """Begin to connect to an account's bridge, and go on until it is closed. Raises ValueError for a URL that is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"{url!r} is no bridge URL: it should look like ws://127.0.0.1:5600")
        with self._lock:
            if account in self._links:
                raise ValueError(f"the account {account} is open already")
            knows_ids = (account, url) in self._knows_ids
            link = Link(account, url, options or LinkOptions(), self._surroundings, ids_given_back=knows_ids)
            self._links[account] = link
        self._post(link.session, lambda: self._open_session(link.session))
        return link

    def close(self, account: str) -> None:
        """Drop an account's connection. When this returns nothing more is written for it, and its calls are over."""
        with self._lock:
            link = self._links.pop(account, None)
        if link is None:
            return
        closed = threading.Event()
        self._post(link.session, lambda: self._close_session(link.session, closed))
        closed.wait()
        if link.session.correlation.ids_given_back:
            with self._lock:
                self._knows_ids.add((account, link.url))

    def nudge(self) -> None:
        """Make the I/O thread go round once more, also where it has nothing to do. Thread-safe."""
        self._wake()

    # -- between the threads

    def _post(self, session: Session, command: Callable[[], None]) -> None:
        """Have a command run on the I/O thread; once that has ended every session is closed, and it runs here."""
        with self._lock:
            ended = self._ended
            if not ended:
                self._inbox.append((session, command))
        if ended:
            command()
        else:
            self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._awake or self._ended:
                return
            self._awake = True
        # Not under the lock, which everybody who has something to write would wait for. Closed meanwhile: nobody is to be woken.
        with suppress(OSError):
            self._wake_writer.send(b"!")

    # -- the I/O thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        finally:
            self._shut_down()

    def _turn(self) -> None:
        self.turns += 1
        for key, _ in self._selector.select(self._sleep_seconds()):
            if key.data is None:
                with suppress(BlockingIOError):
                    self._wake_reader.recv(64)
            else:
                self._guarded(key.data, key.data.on_ready)
        for session in [session for session in self._active() if self._has_buffered(session)]:
            self._guarded(session, session.on_ready)
        self._run_inbox()
        now = monotonic()
        for session in [session for session in self._active() if self._next_due(session) <= now]:
            self._guarded(session, session.on_time)
        for session in [session for session, until in self._resting.items() if until <= now]:
            del self._resting[session]
            self._start_over(session)

    def _active(self) -> list[Session]:
        return [session for session in self._sessions if session not in self._resting]

    def _has_buffered(self, session: Session) -> bool:
        return self._guarded(session, lambda: session.has_buffered) or False

    def _next_due(self, session: Session) -> float:
        due = self._guarded(session, lambda: session.next_due)
        return monotonic() + REST_SECONDS if due is None else due

    def _sleep_seconds(self) -> float:
        active = self._active()
        if any(self._has_buffered(session) for session in active):
            return 0.0
        due = min([*map(self._next_due, active), *self._resting.values()], default=math.inf)
        return min(_LONGEST_SLEEP_SECONDS, max(0.0, due - monotonic()))

    def _run_inbox(self) -> None:
        with self._lock:
            self._awake = False
            commands = list(self._inbox)
            self._inbox.clear()
        for session, command in commands:
            self._guarded(session, command)

    def _guarded(self, session: Session, step: Callable[[], T]) -> T | None:
        """Run one step of one session: whatever it raises costs that session its connection, and no other one anything."""
        try:
            return step()
        except BaseException:
            log.exception("bridge_io_failed", account=session.account)
        self._start_over(session)
        return None

    def _start_over(self, session: Session) -> None:
        try:
            session.fail()
        except BaseException:
            log.exception("bridge_start_over_failed", account=session.account, remedy="it is tried again")
            # Its sockets may be open still, and would keep this thread busy.
            for key in [key for key in self._selector.get_map().values() if key.data is session]:
                self._selector.unregister(key.fileobj)
            if session in self._sessions:
                self._resting[session] = monotonic() + REST_SECONDS

    def _open_session(self, session: Session) -> None:
        if self._ended:
            session.close()
            return
        self._sessions.add(session)
        session.open()

    def _close_session(self, session: Session, closed: threading.Event) -> None:
        try:
            self._sessions.discard(session)
            self._resting.pop(session, None)
            session.close()
        finally:
            closed.set()

    def _watch(self, session: Session, connection: Connection) -> None:
        known = self._selector.get_map().get(connection)
        if known is None:
            self._selector.register(connection, connection.interest, session)
        elif known.events != connection.interest:
            self._selector.modify(connection, connection.interest, session)

    def _unwatch(self, connection: Connection) -> None:
        try:
            self._selector.unregister(connection)
        except KeyError:
            pass  # It was lost before it was ever watched.

    def _shut_down(self) -> None:
        for session in list(self._sessions):
            self._guarded(session, session.close)
        with self._lock:
            self._ended = True
            commands = list(self._inbox)
            self._inbox.clear()
        for session, command in commands:
            self._guarded(session, session.close)
            self._guarded(session, command)
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()
