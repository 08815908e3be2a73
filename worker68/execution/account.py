"""An account as its owner has it: everything of it that this worker knows, from the lease that it was gained with to its loss.

In: the lease, and what all accounts share. Out: whether and why not its jobs may run, and which of them may start now. On the loop.
Never: anything that outlives the lease; what is in memory alone can be found again in SQL and Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from worker68.bridge.link import Link, LinkOptions
from worker68.clock import monotonic, utc_now
from worker68.execution.dispatch import Dispatch
from worker68.execution.pacing import Pacing
from worker68.execution.recorder import Recorder
from worker68.execution.shared import Shared
from worker68.execution.slots import AccountPause, Choice, WriteGuard
from worker68.execution.upkeep import Upkeep
from worker68.fleet.leases import Lease
from worker68.jobs.job import Job
from worker68.settings import AccountSettings
from worker68.store.lanes import UnknownHead, load_lanes

#: While it is not known whether the account is paused, it is looked at again this often.
PAUSE_LOOK_SECONDS: Final = 1.0


class Account:
    """One account under one lease."""

    def __init__(
        self,
        settings: AccountSettings,
        lease: Lease,
        pause: AccountPause,
        shared: Shared,
        open_link: Callable[[LinkOptions], Link],
    ) -> None:
        self.settings = settings
        self.lease = lease
        self.shared = shared
        self.guard = WriteGuard(settings.limits, lease, pause)
        self.pacing = Pacing(settings, shared.pace, partial(shared.wake, settings.name))
        options = LinkOptions(
            match=settings.verdict_match,
            newline=settings.newline,
            guard=self.guard.why_not,
            on_error=self.pacing.note_error,
        )
        self.link = open_link(options)
        self.dispatch = Dispatch(settings, shared.slots, self._load_lanes, shared.capacity, self._ready_in)
        self.upkeep = Upkeep(settings, shared, self.dispatch, self.why_not, lease)
        self.recorder = Recorder(settings.name, shared.kept, shared.stopping)
        self.task_memory: dict[type[Any], Any] = {}  # what tasks remember of it, by its class

    @property
    def name(self) -> str:
        return self.settings.name

    def why_not(self, needs_login: bool) -> str | None:
        """Return why no frame can leave now, None where one can. ``needs_login``: it goes on to the service."""
        return self.guard.why_not() or self.link.why_not(needs_login)

    @property
    def needs_upkeep(self) -> bool:
        """Whether ``run_upkeep`` has something to do."""
        return self.pacing.has_busy or self.upkeep.next_at <= monotonic()

    async def run_upkeep(self) -> None:
        """Do what is due. Raises ``DatabaseAway`` and ``RedisAway``."""
        await self.pacing.report_busy()
        await self.upkeep.run()

    async def choose(self) -> Choice:
        """Return what may start now, as far as the worker has room; nothing while memory is distrusted, or the lease leaves.

        Raises ``RedisAway`` and ``DatabaseAway``.
        """
        link = self.link
        if not self.upkeep.knows_lanes or link.why_not_reached or not self.lease.held or self.lease.leaving:
            return Choice([], [], None)
        if self.guard.why_not():  # no event says that SQL answers again
            return Choice([], [], monotonic() + PAUSE_LOOK_SECONDS if self.dispatch.has_lanes else None)
        choice = await self.dispatch.choose(
            link.one_send_per_chat, utc_now(), link.api_url is not None, link.ready, link.one_send
        )
        for ready in choice.ready:
            self.guard.expect(ready.job, ready.slot)
        self.upkeep.note_chosen(choice.ready)
        return choice

    async def _load_lanes(self, lanes: Sequence[str], depth: int) -> list[Job | UnknownHead]:
        async with self.shared.capacity.loads:
            return await asyncio.to_thread(load_lanes, self.shared.engine, self.name, depth, lanes)

    def _ready_in(self) -> float:
        return max(0.0, self.pacing.lead.commit_seconds - self.guard.tolerance_seconds)
