"""Wakes the intake when a producer pushes, without polling.

In: nothing but the bell of Redis: the connection that pops has *client tracking* on, and Redis tells a second, subscribed
connection when a key that the pop script read is changed by another client (0.2 ms). Each key rings once after each pop. Out: a
descriptor that becomes readable, and the keys that rang.

The bell may fail in silence (a half-open connection, an evicted subscriber, a server that does not allow tracking), so it
never is the only way: its user also polls. Used by the one thread that pops. Never reads a queue.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from redis.exceptions import ResponseError

from worker68.broker.wire import Wire, WireSelector
from worker68.clock import monotonic
from worker68.errors import RedisAway

_CHANNEL = "__redis__:invalidate"
_PING = "PING"

# A lost subscriber is asked after this often. It costs two small commands, and until then the poll does the work.
_CHECK_SECONDS = 10.0

# A server that refuses the bell (an old one, a proxy, an ACL) will refuse it again: ask rarely, and poll meanwhile.
_REFUSED_SECONDS = 60.0

# What Redis says when the connection that is to ring has been lost meanwhile.
_BELL_GONE = "redirect to does not exist"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Changed:
    """The keys that rang. ``missed``: any other key may have rung unheard, because a connection was lost or is new."""

    keys: frozenset[bytes] = frozenset()
    missed: bool = False

    def __bool__(self) -> bool:
        return self.missed or bool(self.keys)


class Doorbell:
    """The bell for the keys that are read over ``pops``; ``bell`` must be a wire of its own."""

    def __init__(self, pops: Wire, bell: Wire) -> None:
        self._pops = pops
        self._bell = bell
        self._selector = WireSelector()
        self._armed: tuple[int, int] | None = None
        self._bell_id = 0
        self._next_check = 0.0
        self._pong_due = False
        self._refused_until = 0.0
        self._rung: set[bytes] = set()
        self._missed = False

    @property
    def armed(self) -> bool:
        """Whether the bell rang would be heard, as far as this side can tell."""
        both_up = self._pops.connected and self._bell.connected
        return both_up and self._armed == (self._pops.epoch, self._bell.epoch)

    def fileno(self) -> int:
        """Return the descriptor to wait for; it stays the same for the life of this object."""
        return self._selector.fileno()

    def arm(self) -> None:
        """Make sure that what is read over ``pops`` from now on will ring.

        Call it right before a pop. Raises ``RedisAway`` if ``pops`` cannot be opened. Trouble with the bell alone is logged and
        left to the poll.
        """
        self._listen()
        self._pops.connect()
        self._selector.watch(self._pops)
        if monotonic() < self._refused_until:
            return
        try:
            if monotonic() >= self._next_check:
                self._check()
            if not self.armed:
                self._hang_up_new_bell()
        except RedisAway as error:
            self._bell.close()
            # Lost in the middle of this: the pop would open another one, to which no bell is tied.
            if not self._pops.connected:
                raise
            log.warning("doorbell_lost", reason=str(error))
        except ResponseError as error:
            self._bell.close()
            if _BELL_GONE in str(error):  # it was cut between its opening and this: the next pop opens another
                log.warning("doorbell_lost", reason=str(error))
                return
            self._refused_until = monotonic() + _REFUSED_SECONDS
            log.warning("doorbell_refused", reason=str(error), remedy="jobs are looked for each second instead")

    def take_changed(self) -> Changed:
        """Silence the bell without waiting. Return what rang since the last time."""
        self._listen()
        changed = Changed(frozenset(self._rung), self._missed)
        self._rung.clear()
        self._missed = False
        return changed

    def close(self) -> None:
        self._bell.close()
        self._selector.close()

    def _listen(self) -> None:
        ready = self._selector.ready()
        if self._pops in ready:
            # No reply is awaited here, so there is only one thing that Redis can have to say: good-bye.
            self._pops.close()
            self._missed = True
        if self._bell in ready:
            self._read_bell()

    def _read_bell(self) -> None:
        try:
            while self._bell.connected and self._bell.has_reply():
                message = self._bell.read()
                if message[0] == b"pong":
                    self._pong_due = False
                elif message[0] == b"message" and message[-1] is None:  # all keys are gone
                    self._missed = True
                elif message[0] == b"message" and isinstance(
                    message[-1], list
                ):  # else another program has published there
                    self._rung.update(message[-1])
        except (RedisAway, ResponseError):
            self._bell.close()
            self._missed = True

    def _hang_up_new_bell(self) -> None:
        if self._armed is not None and self._armed[0] != self._pops.epoch:
            self._bell.close()  # after a failover it may lead to another server, where its number is another client's
        if not self._bell.connected:
            self._bell_id = self._bell.call("CLIENT", "ID")
            self._bell.call("SUBSCRIBE", _CHANNEL)
            self._selector.watch(self._bell)
            self._pong_due = False
        self._pops.call("CLIENT", "TRACKING", "ON", "REDIRECT", self._bell_id, "NOLOOP")
        self._armed = (self._pops.epoch, self._bell.epoch)
        self._missed = True  # no key is watched before its next pop

    def _check(self) -> None:
        """Drop a bell that did not answer the last question, or to which Redis no longer redirects; ask the next one."""
        self._next_check = monotonic() + _CHECK_SECONDS
        if not self.armed:
            return
        if self._pong_due or b"broken_redirect" in self._pops.call("CLIENT", "TRACKINGINFO")[1]:
            raise RedisAway("the subscribed connection does not answer any more")
        self._pong_due = True
        self._bell.send(_PING)
