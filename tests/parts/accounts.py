"""An account as its owner has it, with a link, a pace and limits that the test may replace."""

from __future__ import annotations

import math
from typing import Any, cast

from tests.parts.jobs import account as settings_of
from tests.parts.ledger import FENCE, OWNER, Ledger
from tests.parts.slots import Slots
from worker68.bridge.link import Link
from worker68.execution.account import Account
from worker68.execution.recorder import Kept
from worker68.execution.shared import Shared
from worker68.execution.slots import AccountPause, Answer, SlotRequests
from worker68.execution.under_way import Capacity
from worker68.fleet.leases import Lease, account_lease
from worker68.limits.pace import Pace
from worker68.loop import Loop, Stopping
from worker68.settings import AccountSettings
from worker68.store.pauses import Pause
from worker68.store.writer import Writer


class ReadyLink:
    """A link of which only the state matters."""

    ready = True
    why_not_ready = why_not_reached = None
    api_url = ""
    one_send = one_send_per_chat = False

    def why_not(self, needs_login: bool) -> str | None:
        return None


class NoPace:
    """A pace that learns nothing."""

    def forget(self, account: str) -> None: ...

    def is_full(self, account: str, call: str = "") -> bool:
        return False

    def report_busy(self, account: str, age_seconds: float = 0.0, call: str = "", rule: Any = None) -> None: ...

    def note_success(self, account: str, age_seconds: float = 0.0, call: str = "") -> None: ...

    def note_unclear(self, account: str, age_seconds: float, written: bool, call: str = "") -> None: ...


def lease_of(account: str = "main") -> Lease:
    """Return a lease that is held until it is ended."""
    return Lease(account_lease(account), OWNER, FENCE, math.inf)


def pause_of(account: str = "main", pause: Pause | None = None) -> AccountPause:
    """Return what SQL says of an account's pause: the same for ever."""
    answer = Answer(math.inf, {} if pause is None else {account: pause})
    return AccountPause(account, lambda: answer)


def open_account(
    ledger: Ledger,
    loop: Loop | None = None,
    *,
    settings: AccountSettings | None = None,
    writer: Writer | None = None,
    slots: SlotRequests | None = None,
    link: Any = None,
) -> Account:
    """Return the account ``main`` over this database. Without ``loop`` it cannot stop, without ``writer`` not run a job."""
    shared = Shared(
        engine=ledger.engine,
        writer=cast(Writer, writer),
        slots=slots or Slots().as_requests(),
        capacity=Capacity(100),
        pace=cast(Pace, NoPace()),
        kept=Kept(cast(Any, None)),
        intake=ledger.intake,
        stopping=cast(Stopping, None) if loop is None else Stopping(loop),
        announce=lambda: None,
        wake=lambda account: None,
    )
    opened = cast(Link, link or ReadyLink())
    return Account(settings or settings_of(), lease_of(), pause_of(), shared, lambda options: opened)
