"""The parts of a worker that are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from redis import Redis

from worker68.execution.relay import Relay
from worker68.fleet.ownership import Ownership
from worker68.loop import LoopThread
from worker68.observe.metrics import LoopLag
from worker68.observe.runs import Runs
from worker68.scheduling.owned_accounts import OwnedAccounts
from worker68.scheduling.scheduler import Scheduler
from worker68.settings import AccountSettings
from worker68.store.engine import Engine
from worker68.store.writer import Writer


@dataclass(frozen=True)
class Parts:
    """Built by the runtime, and handed to what looks at them: checks, figures, the status."""

    accounts: Mapping[str, AccountSettings]
    engine: Engine
    redis: Redis
    writer: Writer
    relay: Relay
    owned: OwnedAccounts
    scheduler: Scheduler
    ownership: Ownership
    runs: Runs
    loop: LoopThread
    lag: LoopLag
