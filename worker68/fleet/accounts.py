"""The accounts that there are: those of the settings, which win, and those of the database, which come and go while all runs.

In: the settings, and rows of the table ``accounts``. Out: what holds for each account; which came, changed and went. What was read
last holds until something else is read: an account goes only where its row says that it was removed, never because the database
is away or empty. One whose row is wrong stays as it was, as long as the row names the same bridge: one that was left may be another
account's by now.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import structlog

from worker68.bridge.url import address_of
from worker68.clock import monotonic
from worker68.errors import SettingsError
from worker68.fleet.leases import FRONT, account_lease
from worker68.fleet.spread import UNLABELLED
from worker68.loop import Loop, Wakeup
from worker68.observe import outages
from worker68.settings import AccountSettings, Settings, same_bridge
from worker68.store.accounts import AccountRow, newest_version, read_accounts
from worker68.store.engine import Engine
from worker68.store.schema import check_version

log = structlog.get_logger(__name__)

#: SQL is asked this often whether anything has changed: one number.
LOOK_SECONDS: Final = 2.0
#: So many accounts are named in a line of the log.
NAMED: Final = 20

#: What is wrong with a row that has the name of an account of the settings.
HIDDEN: Final = "the settings have an account of this name, which wins"

_PAST: Final = "the database is an older one, or another: accounts that it does not have go on until it says that they were removed"

_FAILED: Final = outages.Outage(
    "accounts_not_read",
    "accounts_read_again",
    "a fault in worker68: the accounts stay as they were read last",
    fault=True,
)


@dataclass(frozen=True)
class Known:
    """What is known of all accounts.

    ``rows``: of those that stand in the database and hold. ``problems``: in words why what stands there for a name does not hold.
    """

    accounts: Mapping[str, AccountSettings]
    rows: Mapping[str, AccountRow] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    newest: int = 0

    @cached_property
    def labels(self) -> Mapping[str, str | None]:
        """By the name of its lease each account's label; None for the front door, which belongs to no share."""
        labels: dict[str, str | None] = {FRONT: None}
        return labels | {account_lease(name): one.label or UNLABELLED for name, one in self.accounts.items()}

    def source_of(self, name: str) -> str:
        """Return where an account stands."""
        return "database" if name in self.rows else "settings"


def known_from_settings(settings: Settings) -> Known:
    """Return the accounts of the settings. Raises ``SettingsError``."""
    return Known(settings.account_settings())


def read_known(settings: Settings, engine: Engine) -> Known:
    """Return all accounts of the settings and of the database. Raises ``SettingsError`` and ``DatabaseAway``."""
    rows = read_accounts(engine)
    return learn(settings, known_from_settings(settings), rows, max((row.version for row in rows), default=0))


def learn(settings: Settings, known: Known, rows: Sequence[AccountRow], newest: int) -> Known:
    """Return what is known after these rows, which were read together, in the order of their changes; ``newest``: up to which."""
    read = {row.name for row in rows}
    own = known.accounts.keys() - known.rows.keys()
    problems = {name: words for name, words in known.problems.items() if name not in read}
    problems |= {row.name: HIDDEN for row in rows if row.name in own and row.removed_at is None}
    fresh = [row for row in rows if row.name not in own]
    holds = dict(known.rows)
    accounts = {name: one for name, one in known.accounts.items() if name in own or name not in read}
    names = {address_of(one.bridge_url): name for name, one in accounts.items()}
    for row in fresh:
        if row.removed_at is not None:
            holds.pop(row.name, None)
            continue
        try:
            account = settings.account_of(row.name, row.settings, f"account {row.name!r}")
            if (first := names.get(address_of(account.bridge_url))) is not None:
                raise SettingsError(same_bridge(first, row.name))
        except SettingsError as problem:
            problems[row.name] = str(problem)
            before = known.accounts.get(row.name)
            if before is None or address_of(before.bridge_url) in names or _has_left(before, row):
                holds.pop(row.name, None)
                continue
            account = before
        else:
            holds[row.name] = row
        accounts[row.name] = account
        names[address_of(account.bridge_url)] = row.name
    return Known(accounts, holds, problems, newest)


def _has_left(account: AccountSettings, row: AccountRow) -> bool:
    """Whether this row, which is wrong here, no longer names the account's bridge. A worker that can read it may have taken it."""
    url = row.settings.get("bridge_url")
    try:
        return not isinstance(url, str) or address_of(url) != address_of(account.bridge_url)
    except ValueError:
        return True


@dataclass(frozen=True)
class Change:
    """What is not as it was: names of accounts that came, that changed, that went; and what is newly wrong with others."""

    came: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    went: tuple[str, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


def compare(before: Known, after: Known) -> Change:
    """Return what has changed. One whose row was written anew has changed, also if the same stands in it.

    After a failover or a restore the database may give a version once more: to another change, of another time.
    """
    return Change(
        came=tuple(name for name in after.accounts if name not in before.accounts),
        changed=tuple(
            name
            for name, row in after.rows.items()
            if (old := before.rows.get(name)) is not None
            and (old.version, old.changed_at) != (row.version, row.changed_at)
        ),
        went=tuple(name for name in before.accounts if name not in after.accounts),
        problems={name: words for name, words in after.problems.items() if before.problems.get(name) != words},
    )


class Accounts(Mapping[str, AccountSettings]):
    """The accounts that this worker knows, by name. What is known is replaced as a whole, so any thread may read.

    ``tell`` is called with each change, in their order, on the thread that has read it; after the first look in any case.
    """

    def __init__(self, settings: Settings, engine: Engine, tell: Callable[[Change], None]) -> None:
        self._settings = settings
        self._engine = engine
        self._tell = tell
        self._lock = threading.Lock()  # guards how far the rows were read: an older answer must not replace a newer one
        self._asked_at: float | None = None
        self.known = known_from_settings(settings)

    def __getitem__(self, name: str) -> AccountSettings:
        return self.known.accounts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known.accounts)

    def __len__(self) -> int:
        return len(self.known.accounts)

    def all_names(self) -> list[str]:
        """Return the names of all accounts, also of those whose rows are wrong here: another worker may own them."""
        known = self.known
        return [*known.accounts, *(name for name in known.problems if name not in known.accounts)]

    @property
    def labels(self) -> Mapping[str, str | None] | None:
        """What there is to own: ``Known.labels``; None as long as SQL has never said which accounts it has."""
        return None if self._asked_at is None else self.known.labels

    def look(self) -> Collection[str]:
        """Ask SQL what is new, unless another thread does so from now on; return the accounts whose rows are wrong here.

        In the pool. Raises ``DatabaseAway``. Tables of an older version say nothing: a worker that waits for their migration owns
        nothing, and the older ones go on.
        """
        called_at = monotonic()
        with self._lock:
            if self._asked_at is not None and self._asked_at > called_at:
                return self.known.problems.keys()
            if self._asked_at is None:
                check_version(self._engine)
            asked_at, before = monotonic(), self.known
            newest = newest_version(self._engine)
            if newest != before.newest:
                if newest < before.newest:
                    log.warning("accounts_of_the_past", newest=newest, known=before.newest, remedy=_PAST)
                rows = read_accounts(self._engine, before.newest if newest > before.newest else 0)
                newest = max((row.version for row in rows), default=newest)
                self.known = learn(self._settings, before, rows, newest)
            is_first, self._asked_at = self._asked_at is None, asked_at
            if is_first or self.known is not before:
                change = compare(before, self.known)
                _log(change)
                self._tell(change)
            return self.known.problems.keys()


def _log(change: Change) -> None:
    if change.came or change.changed or change.went:
        log.info("accounts_changed", came=_few(change.came), changed=_few(change.changed), went=_few(change.went))
    for name, words in change.problems.items():
        log.warning("account_not_usable", account=name, problem=words, remedy="worker68 accounts set, or remove")


def _few(names: Sequence[str]) -> list[str]:
    return [*names[:NAMED], *([f"and {len(names) - NAMED} more"] if len(names) > NAMED else [])]


class AccountWatch:
    """Looks again and again: a service of the loop."""

    def __init__(self, accounts: Accounts, loop: Loop) -> None:
        self._accounts = accounts
        self._wakeup = Wakeup(loop)
        self._stopping = False

    async def run(self) -> None:
        """Ask SQL until ``stop``."""
        while not self._stopping:
            with outages.noting("accounts", _FAILED):
                await asyncio.to_thread(self._accounts.look)
            await self._wakeup.wait(LOOK_SECONDS)

    def stop(self) -> None:
        self._stopping = True
        self._wakeup.set()
