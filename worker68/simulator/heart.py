"""What the bridge says unasked: that the client is logged in, that it no longer is, and what others write.

In: the faults and the time. Out: events to all clients. For the event loop's thread only. Never: a word about a message of the
account (``delivery``).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from worker68.clock import monotonic
from worker68.simulator import events
from worker68.simulator.faults import Faults
from worker68.simulator.queues import EventStream, Later, wait
from worker68.simulator.world import World

#: Between two looks whether others are to write.
_QUIET_SECONDS: Final = 0.1
#: A client that is so far behind gets no more to read: it is late enough for every test, and memory is bounded.
MOST_BEHIND_SECONDS: Final = 30.0


class Heart:
    """The bridge's own rhythm. ``interval``: between two heartbeats, in seconds."""

    def __init__(
        self, world: World, faults: Faults, stream: EventStream, later: Later, interval: Callable[[], float]
    ) -> None:
        self._world = world
        self._faults = faults
        self._stream = stream
        self._later = later
        self._interval = interval
        self._lost_at: float | None = None
        self._logout_announced = False

    async def beat(self) -> None:
        """Say again and again whether the client is logged in."""
        while True:
            self.announce()
            await asyncio.sleep(self._interval())

    def announce(self) -> None:
        """Say now whether the client is logged in: a login each time, its end once, and as late as the client notices it."""
        if not self._faults.logged_out:
            self._lost_at, self._logout_announced = None, False
        elif self._lost_at is None:
            self._lost_at = monotonic()
            wait(self._later, self._faults.client.logout_delay_seconds, self._announce_logout)
        if not (self._logout_announced or self._faults.no_heartbeat):
            self._stream.post(events.NETWORK_UP)

    def _announce_logout(self) -> None:
        """Say it, unless the client has logged in again, or again lost its server only now."""
        delay = self._faults.client.logout_delay_seconds
        if self._lost_at is not None and monotonic() >= self._lost_at + delay and not self._logout_announced:
            self._logout_announced = True
            self._stream.post(events.NETWORK_DOWN)

    async def chatter(self) -> None:
        """Let others write in the account's groups, as many messages a second as the faults say."""
        for number in itertools.count(1):
            each_second = self._faults.chatter_per_second
            if each_second <= 0 or self._stream.behind_seconds > MOST_BEHIND_SECONDS:
                await asyncio.sleep(_QUIET_SECONDS)
                continue
            groups = [group for group in self._world.groups.values() if len(group.members) > 1]
            if groups:
                group = groups[number % len(groups)]
                others = [uid for uid in group.members if uid != self._world.account]
                event = events.group_message(
                    self._world, group.group_id, others[number % len(others)], f"chat {number}"
                )
                self._stream.take_in_event(event)
            await asyncio.sleep(1 / each_second)
