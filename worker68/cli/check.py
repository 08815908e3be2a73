"""``worker68 check``: does everything work, and what to do about what does not.

In: the settings. Out: a finding for Redis, the database, and the bridge of each account, and those of ``LOOKS``. Never: a second
connection to a bridge whose account a worker owns, for it may cost that one its frames (PROTOCOL.md, Connection, [seen]); a write.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import click
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from worker68.bridge.exchange import Listener
from worker68.bridge.link import Bridges, Link
from worker68.bridge.url import show_bridge_url
from worker68.broker.url import read_redis_url
from worker68.cli.findings import RIGHTS, Finding, Ground, NotThere, cause_of, gather
from worker68.cli.output import JSON, print_json, print_table
from worker68.cli.overlooked import (
    find_dead,
    find_doubts,
    find_fast_limits,
    find_paces,
    find_pauses,
    find_refused_entries,
    find_refused_keys,
    find_strays,
    find_unpublished,
    find_waiting,
    find_workers,
    find_wrong_accounts,
    find_wrong_queues,
)
from worker68.cli.reach import explain_database, find_owners, open_redis, saying_away
from worker68.cli.redis_rights import find_refused
from worker68.clock import Deadline
from worker68.embedded import OLDEST_VERSION
from worker68.errors import DatabaseAway, RedisAway
from worker68.fleet.accounts import Known, known_from_settings, read_known
from worker68.loop import Loop
from worker68.observe.roster import Roster
from worker68.settings import AccountSettings, Settings, load_settings
from worker68.store.engine import Engine
from worker68.store.reports import open_ledger
from worker68.store.schema import VERSION, current_version, is_later

#: Hello comes at once, and a heartbeat every 3 s.
BRIDGE_SECONDS: Final = 6.0

#: Between two looks whether the connection has failed.
LOOK_SECONDS: Final = 0.1

#: Refused commands in one line: one missing right may refuse a hundred.
MOST_RIGHTS: Final = 5

LOOK_AT_CLIENT: Final = "look at the 68 client: is it logged in, and is this the port of its bridge?"
START_CLIENT: Final = "start the 68 client and its bridge, or fix its bridge URL"

_PORTS: Final = {"ws": 80, "wss": 443}


#: What is looked at besides the parts themselves, in the order in which it is printed. Each look says nothing where all is well
#: and nothing is worth to be known, and leaves alone what does not answer.
LOOKS: Final[Sequence[Callable[[Ground], Iterable[Finding]]]] = (
    find_paces,
    find_pauses,
    find_workers,
    find_wrong_accounts,
    find_fast_limits,
    find_wrong_queues,
    find_dead,
    find_strays,
    find_waiting,
    find_doubts,
    find_unpublished,
    find_refused_keys,
    find_refused_entries,
)


@click.command()
@JSON
def check(as_json: bool) -> int:
    """Check that everything works: Redis, the database, the workers, the bridge of each account; and what is overlooked.

    Exit code 1 if anything is wrong: jobs are not taken in, run or answered until a person acts. What is a warning
    works, and should be looked at. It writes nothing anywhere.

    \b
    Example:
      worker68 check --json
    """
    settings = load_settings()
    findings = gather(_find(settings, settings.require_redis_url(), known_from_settings(settings)))
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        rows = ((one.part, one.verdict, one.found, one.remedy) for one in findings)
        print_table(("part", "", "found", "what to do"), rows)
    return 0 if all(finding.ok for finding in findings) else 1


def _find(settings: Settings, redis_url: str, known: Known) -> Iterator[Finding]:
    with ExitStack() as stack:
        client = stack.enter_context(open_redis(redis_url))
        redis = None
        database, engine = check_database(settings.database_url)
        if engine is not None:
            stack.callback(engine.dispose)
            with suppress(DatabaseAway):
                known = read_known(settings, engine)
        accounts = known.accounts
        try:
            yield check_redis(client, redis_url, list(accounts))
            redis = client
        except RedisAway as away:
            yield Finding("redis", False, str(away))
        yield database
        ground = Ground(settings, known, redis, engine)
        for look in LOOKS:
            yield from _go_on(look, ground)
        owners, troubles = _ask_owners(ground, redis_url)
    for name, finding in check_bridges(accounts, owners, troubles):
        yield replace(finding, found=f"{finding.found}; from the {known.source_of(name)}") if name else finding


def _go_on(look: Callable[[Ground], Iterable[Finding]], ground: Ground) -> Iterator[Finding]:
    """Look, and say it where Redis or the database refuses that: the other looks are made all the same."""
    try:
        yield from look(ground)
    except NotThere:
        return
    except (RedisAway, RedisError) as refusal:
        remedy = "grant the rights that docs/redis.md lists, or delete a wrong key"
        yield Finding("redis", False, str(refusal), remedy, cause=cause_of(refusal))
    except DatabaseAway as away:
        yield Finding("database", False, explain_database(away))


def _ask_owners(ground: Ground, redis_url: str) -> tuple[dict[str, str] | None, dict[tuple[str, str], str]]:
    """Return which worker owns which account, and by both why a bridge cannot be used; None, nothing if Redis does not say."""
    owners: dict[str, str] | None = None
    troubles: dict[tuple[str, str], str] = {}
    with suppress(NotThere, RedisAway, RedisError):
        redis = ground.redis
        owners = find_owners(redis_url, list(ground.accounts))
        for one in Roster(redis).read():
            troubles |= {(one.worker, name): status.bridge for name, status in one.accounts.items() if status.bridge}
    return owners, troubles


def check_redis(client: Redis, redis_url: str, accounts: Sequence[str]) -> Finding:
    """Look whether Redis permits what the worker needs, is new enough, and keeps what it accepted. Raises ``RedisAway``."""
    with saying_away(redis_url):
        try:
            info: dict[str, Any] | None = client.info()
        except NoPermissionError:  # find_refused names it
            info = None
    refused = find_refused(redis_url, accounts)
    if refused.needed:
        what = ", ".join(refused.needed[:MOST_RIGHTS]) + (", ..." if len(refused.needed) > MOST_RIGHTS else "")
        remedy = "grant the rights that docs/redis.md lists"
        return Finding("redis", False, f"it refuses its user: {what}", remedy, cause=RIGHTS)
    without = f"; refused, and done without: {', '.join(refused.optional)}" if refused.optional else ""
    if info is None:
        return Finding("redis", True, f"it answers, version unknown{without}", "look whether Redis is 6.2 or newer")
    version = str(info["redis_version"])
    if tuple(map(int, version.split(".")[:2])) < OLDEST_VERSION:
        wanted = ".".join(map(str, OLDEST_VERSION))
        return Finding("redis", False, f"version {version}", f"install Redis {wanted} or newer")
    if int(info.get("maxmemory", 0)) and info.get("maxmemory_policy") != "noeviction":
        found = f"version {version}, maxmemory-policy {info.get('maxmemory_policy')}"
        return Finding(
            "redis", False, found, "set maxmemory-policy noeviction: jobs may be dropped when memory is short"
        )
    if not int(info.get("aof_enabled", 0)):
        found = f"version {version}, no append-only file{without}"
        return Finding("redis", True, found, "for production: appendonly yes")
    if read_redis_url(redis_url).master is not None and (lack := _find_lack(info)):
        return Finding("redis", True, f"version {version}, {lack[0]}{without}", lack[1], warning=True)
    return Finding("redis", True, f"version {version}{without}")


def _find_lack(info: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what a master that sentinels watch lacks for a failover, and what to do."""
    if not int(info.get("connected_slaves", 0)):
        return "no replica follows it", "start one: without it a failover has no server to go to"
    if "min_slaves_good_slaves" not in info:  # it is shown where the setting is not 0
        remedy = "set min-replicas-to-write and min-replicas-max-lag: docs/redis.md, Sentinels"
        return "it takes writes also when no replica gets them", remedy
    return None


def check_database(database_url: str) -> tuple[Finding, Engine | None]:
    """Look whether the database answers and has the tables that this version needs; return it opened if so."""
    try:
        engine = open_ledger(database_url)
        found = current_version(engine)
        newer = f", for a newer worker68 (this one: {VERSION}), which does no harm" if is_later(found) else ""
        return Finding("database", True, f"{engine.dialect.name}, version {found}{newer}"), engine
    except DatabaseAway as away:
        return Finding("database", False, explain_database(away)), None


def check_bridges(
    accounts: Mapping[str, AccountSettings], owners: Mapping[str, str] | None, troubles: Mapping[tuple[str, str], str]
) -> Iterator[tuple[str, Finding]]:
    """Look at the bridge of each account: connect, wait for Hello and for the client's login, and leave. Yield names with findings.

    Where a worker holds the one connection, what it says of it counts (``troubles``, by owner and account), and the port alone is
    looked at; so it is where ``owners`` is None because Redis does not say.
    """
    if not accounts:
        remedy = "set WORKER68_BRIDGE_URL (account main) or WORKER68_ACCOUNTS, or worker68 accounts add"
        yield "", Finding("bridge", False, "no account", remedy)
    free = {} if owners is None else {name: one.bridge_url for name, one in accounts.items() if name not in owners}
    with asyncio.Runner(loop_factory=Loop) as runner:
        found = runner.run(_connect(free))
    for name, account in accounts.items():
        if name in found:
            yield name, found[name]
        elif owners is None:
            unknown = "not connected to, for without Redis a worker may hold its one connection"
            yield name, check_port(name, account.bridge_url, unknown)
        elif (trouble := troubles.get((owners[name], name))) is not None:
            yield name, Finding(f"bridge of {name}", False, f"worker {owners[name]} says: {trouble}", LOOK_AT_CLIENT)
        else:
            yield name, check_port(name, account.bridge_url, f"worker {owners[name]} holds its one connection")


def check_port(name: str, bridge_url: str, connection: str) -> Finding:
    """Look whether the bridge's port answers, without a WebSocket connection; ``connection`` says why."""
    parts = urlsplit(bridge_url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or _PORTS[parts.scheme]), BRIDGE_SECONDS).close()
    except OSError as error:
        found = f"{show_bridge_url(bridge_url)}: {error.strerror or error}"
        return Finding(f"bridge of {name}", False, found, START_CLIENT)
    return Finding(f"bridge of {name}", True, f"{show_bridge_url(bridge_url)}: the port answers; {connection}")


async def _connect(urls: Mapping[str, str]) -> dict[str, Finding]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    bridges = Bridges(loop, Listener(on_change=_ignore, on_late_evidence=_ignore, on_event=_ignore))
    links = {name: bridges.open(name, url) for name, url in urls.items()}
    deadline = Deadline.after(BRIDGE_SECONDS)
    while not deadline.passed and not all(link.ready or _has_failed(link) for link in links.values()):
        await asyncio.sleep(LOOK_SECONDS)
    found = {name: _judge(name, link) for name, link in links.items()}
    bridges.stop()
    return found


def _judge(name: str, link: Link) -> Finding:
    part = f"bridge of {name}"
    if link.ready:
        return Finding(part, True, f"{show_bridge_url(link.url)}: connected, Hello, logged in")
    reason = link.why_not_ready or "not ready"
    return Finding(part, False, reason, LOOK_AT_CLIENT if link.counters["connections"] else START_CLIENT)


def _has_failed(link: Link) -> bool:
    """Whether a try to connect has failed: another one is not waited for."""
    return link.counters["connection_failures"] > 0


def _ignore(*_: object) -> None:
    """Nothing that a bridge says by itself matters to a check."""
