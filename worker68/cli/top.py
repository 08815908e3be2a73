"""``worker68 top``: a live view of the fleet: each account, who owns it, its bridge, what waits, how fast it goes.

In: what the workers report about themselves in Redis, leases, queues, paces; the database for what waits. Out: a table that is
drawn anew, or one look as a table or JSON. Never: a word to a bridge, a write.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import click
from redis import Redis
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from worker68.broker.place import FRONT_DOOR, queue_of
from worker68.broker.strays import count_messages
from worker68.cli.output import make_table, open_console, print_json, printable, show_length
from worker68.cli.reach import explain_database, open_redis, saying_away
from worker68.clock import utc_now
from worker68.errors import DatabaseAway
from worker68.fleet.accounts import known_from_settings, read_known
from worker68.fleet.leases import FRONT, account_lease, read_owners
from worker68.limits.pace import read_paces
from worker68.observe.roster import Roster, WorkerStatus
from worker68.settings import Settings, load_settings
from worker68.store.accounts import newest_version
from worker68.store.engine import Engine
from worker68.store.figures import Backlog, count_outbox, sum_waiting_jobs
from worker68.store.pauses import list_pauses
from worker68.store.reports import open_ledger

#: Behind the name of an account that stands in the database; the others stand in the settings.
_STORED: Final = "*"

#: A bridge that can be used.
READY: Final = "ready"


@dataclass
class AccountLine:
    """An account. ``source``: where it stands, settings or database.

    ``owner`` is None where no worker owns it; what only its owner knows is None then as well.
    ``paused``: by whom, since when and why, in words; ``slow``: how busy answers have slowed it down. None where they have not.
    """

    account: str
    owner: str | None
    source: str
    bridge: str | None = None
    queued: int = 0
    ready: int | None = None
    deferred: int | None = None
    sending: int | None = None
    oldest_ready_seconds: float | None = None
    ended_per_minute: float | None = None
    endings: dict[str, int] = field(default_factory=dict)
    pace: float = 1.0
    slow: str | None = None
    paused: str | None = None
    outbox: int | None = None


@dataclass
class Overview:
    """One look. ``problems``: what keeps it from being complete, and what keeps accounts from working as they could."""

    accounts: list[AccountLine]
    workers: list[WorkerStatus]
    front_owner: str | None
    front_queued: int
    problems: list[str]


@click.command()
@click.option("--once", is_flag=True, help="Look once, and end.")
@click.option(
    "--interval", type=click.FloatRange(0.5, 3600), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one line a look.")
def top(once: bool, interval: float, as_json: bool) -> None:
    """Watch accounts and workers: owner, bridge, what waits, jobs a minute, slow-down. Ctrl-C ends it.

    \b
    Example:
      worker68 top --once --json
    """
    settings = load_settings()
    redis_url = settings.require_redis_url()
    with saying_away(redis_url), open_redis(redis_url) as redis:
        source = _Source(settings, redis)
        if as_json:
            _print_json(source, once, interval)
            return
        if once:
            open_console().print(_draw(source.look()))
            return
        with Live(_draw(source.look()), console=open_console(), auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(interval)
                live.update(_draw(source.look()), refresh=True)


def _print_json(source: _Source, once: bool, interval: float) -> None:
    while True:
        print_json(source.look())
        if once:
            return
        time.sleep(interval)


class _Source:
    """Where a look comes from. The database is opened when it answers, and tried again at each look until then."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings = settings
        self._known = known_from_settings(settings)
        self._redis = redis
        self._engine: Engine | None = None

    @property
    def _accounts(self) -> list[str]:
        return sorted(self._known.accounts)

    def look(self) -> Overview:
        away = self._try(self._read_accounts)
        workers = Roster(self._redis).read()
        owners, lines, front_queued = self._read_redis()
        reported = {(worker.worker, name): status for worker in workers for name, status in worker.accounts.items()}
        for line in lines:
            status = reported.get((line.owner or "", line.account))
            if status is not None:
                line.bridge = status.bridge or READY
                line.ended_per_minute, line.endings = status.ended_per_minute, status.endings
        troubles = ((one.worker, words) for one in workers for words in (one.silence, one.problem) if words)
        problems = [f"worker {worker}: {words}" for worker, words in troubles]
        problems += [f"account {line.account}: no worker owns it" for line in lines if line.owner is None]
        down = (line for line in lines if line.bridge not in (None, READY))
        problems += [printable(f"bridge of {line.account}: {line.bridge}") for line in down]
        problems += [printable(f"account {name}: {words}") for name, words in sorted(self._known.problems.items())]
        if away is None:
            away = self._try(lambda engine: self._read_database(engine, lines))
        problems += [] if away is None else [away]
        held_back = ((line.account, words) for line in lines for words in (line.paused, line.slow) if words)
        problems += [printable(f"account {account}: {words}") for account, words in held_back]
        return Overview(lines, workers, owners.get(FRONT), front_queued, problems)

    def _try(self, read: Callable[[Engine], None]) -> str | None:
        """Read something from the database; return in words why it cannot be read."""
        try:
            if self._engine is None:
                self._engine = open_ledger(self._settings.database_url)
            read(self._engine)
        except DatabaseAway as away:
            self._engine = None
            return explain_database(away)
        return None

    def _read_accounts(self, engine: Engine) -> None:
        if newest_version(engine) != self._known.newest:
            self._known = read_known(self._settings, engine)

    def _read_redis(self) -> tuple[dict[str, str], list[AccountLine], int]:
        owners = read_owners(self._redis, [FRONT, *map(account_lease, self._accounts)])
        queued = count_messages(self._redis, [FRONT_DOOR, *map(queue_of, self._accounts)])
        paces = read_paces(self._redis, self._accounts)
        lines = [
            AccountLine(
                account,
                owners.get(account_lease(account)),
                self._known.source_of(account),
                pace=pace.share,
                slow=pace.words,
                queued=queued[queue_of(account)],
            )
            for account, pace in paces.items()
        ]
        return owners, lines, queued[FRONT_DOOR]

    def _read_database(self, engine: Engine, lines: Sequence[AccountLine]) -> None:
        backlogs = sum_waiting_jobs(engine, self._accounts, utc_now())
        entries: dict[str, int] = defaultdict(int)
        for entry in count_outbox(engine, self._accounts):
            entries[entry.account] += entry.number
        paused = list_pauses(engine)
        for line in lines:
            line.paused = paused[line.account].words if line.account in paused else None
            states, oldest = backlogs.get(line.account, Backlog(Counter(), None))
            line.ready, line.deferred, line.sending = states["ready"], states["deferred"], states["sending"]
            line.oldest_ready_seconds = round(max(0.0, oldest or 0.0), 1)
            line.outbox = entries[line.account]


def _draw(overview: Overview) -> Group:
    accounts = make_table(
        (
            "account",
            "bridge",
            "queued",
            "ready",
            "deferred",
            "sending",
            "oldest",
            "per min",
            "pace",
            "outbox",
            "owner",
        ),
        map(_account_row, overview.accounts),
        optional=("owner",),  # the workers' table says it too
    )
    workers = make_table(
        ("worker", "pid", "front door", "health", "reported", "accounts"), map(_worker_row, overview.workers)
    )
    front = f"front door: {overview.front_queued} queued, owner {overview.front_owner or 'none'}"
    head = Text(f"{utc_now():%Y-%m-%d %H:%M:%S} UTC   {front}")
    problems = [Text(problem, style="red") for problem in overview.problems]
    parts: list[RenderableType] = [head, *_origin(overview), *problems, Text(), accounts, Text(), workers]
    return Group(*parts)


def _origin(overview: Overview) -> list[Text]:
    """Say what the mark behind names means, if it is there."""
    are_stored = any(line.source == "database" for line in overview.accounts)
    return [Text(f"{_STORED} from the database: worker68 accounts")] if are_stored else []


def _account_row(line: AccountLine) -> tuple[object, ...]:
    oldest = None if line.oldest_ready_seconds is None else show_length(line.oldest_ready_seconds)
    pace = f"{line.pace:.0%}"
    return (
        f"{line.account} {_STORED}" if line.source == "database" else line.account,
        _short_bridge(line.bridge),
        line.queued,
        line.ready,
        line.deferred,
        line.sending,
        oldest,
        line.ended_per_minute,
        pace,
        line.outbox,
        line.owner,
    )


def _short_bridge(bridge: str | None) -> str | None:
    """Return what has room in a column; why a bridge cannot be used stands among the problems."""
    return bridge if bridge in (None, READY) else "down"


def _worker_row(worker: WorkerStatus) -> tuple[object, ...]:
    health = "silent" if worker.silence else "wrong" if worker.problem else "ok"
    return (
        worker.worker,
        worker.pid,
        "yes" if worker.front else "no",
        health,
        f"{max(0.0, (utc_now() - worker.told_at).total_seconds()):.0f} s ago",
        ", ".join(worker.accounts) or None,
    )
