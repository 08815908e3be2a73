"""Whether a bridge can be used, and in words why not.

In: what happened on the connection, and when (monotonic seconds). Out: ready or not, the reason, and when to look again. Never: a
socket, a thread. The wall clock is read only for the words.

Three things can be down apart from each other: the socket, the bridge (no Hello), the client's login to its server (no fresh
``socketLogin``). [doc: PROTOCOL.md, Connection]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from worker68.clock import utc_now


@dataclass(frozen=True)
class Timing:
    """The connection's patience, in seconds."""

    #: TCP, TLS and WebSocket handshakes together. A bridge is a neighbour: 10 s is long.
    connect: float = 10.0
    #: From the WebSocket handshake to Hello, which is the bridge's first frame [doc].
    hello: float = 10.0
    #: A login is fresh for three heartbeats of 3 s [doc] and a little.
    login: float = 10.0
    #: Without any inbound frame: ask with a ping, then give up. Whether pings are answered is [open], so that only prolongs it.
    quiet_until_ping: float = 20.0
    quiet_until_drop: float = 40.0
    #: Full-jitter exponential back-off between tries to connect: first range, and cap.
    backoff_base: float = 0.2
    backoff_cap: float = 15.0
    #: A connection that was up so long, with Hello, has held: the next try begins with the first range again. Hello alone proves
    #: nothing: a bridge that says it and drops at once would be called again and again without a pause.
    held: float = 10.0
    #: Between two tries to learn the API's base URL.
    api_url_retry: float = 5.0


class Health:
    """The state of one account's connection."""

    def __init__(self, url: str, timing: Timing) -> None:
        self._url = url
        self._timing = timing
        self._trouble = f"connecting to the bridge ({url})"
        self._upstream_trouble: str | None = None
        self._connected_at: float | None = None
        self._hello = False
        self._login: Literal["awaited", "in", "out"] = "out"
        self._login_until: float | None = None  # how long it is awaited, or is fresh
        self._heard_at = 0.0
        self._pinged = False

    # -- what happened

    def note_failure(self, reason: str) -> None:
        """The bridge could not be reached."""
        self._trouble = f"bridge not reachable: {reason} ({self._url})"

    def note_connected(self, now: float) -> None:
        self._connected_at = self._heard_at = now
        self._hello = self._pinged = False
        self._login_until = None

    def note_heard(self, now: float) -> None:
        """Any frame came in, control frames included."""
        self._heard_at = now
        self._pinged = False

    def note_hello(self, now: float) -> None:
        self._hello = True
        self._upstream_trouble = "the 68 client has not said yet that it is logged in to its server"
        if self._login != "in" or self._login_until is None:
            self._login, self._login_until = "awaited", now + self._timing.login

    def note_network(self, status: str, now: float) -> None:
        """Up is ``socketLogin`` [doc]; down are ``socketLoginout`` [doc] and ``networkAnomaly`` [seen]; others say nothing."""
        if status == "socketLogin":
            self._login, self._login_until = "in", now + self._timing.login
        elif status in ("socketLoginout", "networkAnomaly") and self._login != "out":
            self._upstream_trouble = f"the 68 client is logged out of its server since {_wall_time()}"
            self._login, self._login_until = "out", None

    def note_lost(self, reason: str) -> None:
        self._trouble = f"connection to the bridge lost: {reason} ({self._url})"
        self._connected_at = self._login_until = None
        self._hello = False

    # -- what follows

    @property
    def why_not_reached(self) -> str | None:
        """None if the client itself listens, whether it is logged in to its server or not; else the reason in words."""
        if self._connected_at is None:
            return self._trouble
        return None if self._hello else f"no Hello yet from the bridge ({self._url})"

    def why_not_ready(self, now: float) -> str | None:
        """Return None if any frame may be written, else the reason in words."""
        if (trouble := self.why_not_reached) is not None:
            return trouble
        if self._login_until is not None and now >= self._login_until:
            self._login_until = None
            self._upstream_trouble = f"no sign since {_wall_time()} that the 68 client is logged in to its server"
        return None if self._login == "in" and self._login_until is not None else self._upstream_trouble

    @property
    def coming_up(self) -> bool:
        """Whether the bridge and the client have some time left to say that all is well, after a connection was made."""
        return self._connected_at is not None and (
            not self._hello or (self._login == "awaited" and self._login_until is not None)
        )

    def why_drop(self, now: float) -> str | None:
        """Return why the connection must be given up now, or None."""
        if self._connected_at is None:
            return None
        if not self._hello and now >= self._connected_at + self._timing.hello:
            return f"no Hello within {self._timing.hello:g} s"
        if now >= self._heard_at + self._timing.quiet_until_drop:
            return f"nothing heard for {self._timing.quiet_until_drop:g} s"
        return None

    def take_ping(self, now: float) -> bool:
        """Return True once when the silence is long enough for a ping."""
        due = (
            self._connected_at is not None
            and not self._pinged
            and now >= self._heard_at + self._timing.quiet_until_ping
        )
        self._pinged |= due
        return due

    def has_held(self, now: float) -> bool:
        """Whether this connection was a good one, so that its end is no reason for a longer pause."""
        return self._connected_at is not None and self._hello and now >= self._connected_at + self._timing.held

    @property
    def next_due(self) -> float:
        """The time at which any of the answers above may change by itself."""
        if self._connected_at is None:
            return math.inf
        quiet = self._timing.quiet_until_drop if self._pinged else self._timing.quiet_until_ping
        due = self._heard_at + quiet
        if not self._hello:
            due = min(due, self._connected_at + self._timing.hello)
        if self._login_until is not None:
            due = min(due, self._login_until)
        return due


def _wall_time() -> str:
    return f"{utc_now():%H:%M:%S} UTC"
