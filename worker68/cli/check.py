"""``worker68 check``: are the parts within reach, and what to do about those that are not.

In: the settings. Out: a finding for Redis, the database, and the bridge of each account. Never: a second connection to a bridge
whose account a worker owns, for it may cost that one its frames (PROTOCOL.md, Connection, [seen]).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import click

from worker68.bridge.link import Link
from worker68.bridge.loop import BridgeIO
from worker68.cli.output import print_json, print_table
from worker68.cli.reach import explain_database, find_owners, open_redis, saying_away
from worker68.cli.refused import find_refused_keys, find_refused_parcels
from worker68.clock import Deadline
from worker68.embedded import OLDEST_VERSION
from worker68.errors import DatabaseAway, RedisAway
from worker68.limits.pace import read_paces
from worker68.settings import AccountSettings, load_settings
from worker68.store.pauses import list_pauses
from worker68.store.reports import open_ledger
from worker68.store.schema import current_version

#: Hello comes at once, and a heartbeat every 3 s.
BRIDGE_SECONDS: Final = 6.0

#: Between two looks whether the connection has failed.
LOOK_SECONDS: Final = 0.1

_PORTS: Final = {"ws": 80, "wss": 443}


@dataclass(frozen=True)
class Finding:
    """What was found at one part; ``remedy`` says what to do about it, where ``found`` does not."""

    part: str
    ok: bool
    found: str
    remedy: str | None = None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(as_json: bool) -> int:
    """Check that Redis, the database and the bridge of each account are within reach.

    Exit code 0 if all are, else 1. It writes nothing anywhere.

    \b
    Example:
      worker68 check --json
    """
    settings = load_settings()
    redis_url, accounts = settings.require_redis_url(), settings.account_settings()
    redis, database = check_redis(redis_url), check_database(settings.database_url)
    findings = [redis, database]
    if redis.ok:
        findings += check_paces(redis_url, list(accounts))
        findings += (Finding("redis", False, *words) for words in find_refused_keys(redis_url))
    if database.ok:
        findings += (Finding("replies", False, *words) for words in find_refused_parcels(settings.database_url))
        findings += check_pauses(settings.database_url)
    findings += check_bridges(accounts, find_owners(redis_url, list(accounts)) if redis.ok else {})
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = ((one.part, "ok" if one.ok else "wrong", one.found, one.remedy) for one in findings)
        print_table(("part", "", "found", "what to do"), rows)
    return 0 if all(finding.ok for finding in findings) else 1


def check_redis(redis_url: str) -> Finding:
    """Look whether Redis answers, is new enough, and keeps what it accepted."""
    try:
        with saying_away(redis_url), open_redis(redis_url) as redis:
            info: dict[str, Any] = redis.info()
    except RedisAway as away:
        return Finding("redis", False, str(away))
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
        return Finding("redis", True, f"version {version}, no append-only file", "for production: appendonly yes")
    return Finding("redis", True, f"version {version}")


def check_database(database_url: str) -> Finding:
    """Look whether the database answers and has the tables that this version needs."""
    try:
        engine = open_ledger(database_url)
    except DatabaseAway as away:
        return Finding("database", False, explain_database(away))
    try:
        return Finding("database", True, f"{engine.dialect.name}, version {current_version(engine)}")
    finally:
        engine.dispose()


def check_paces(redis_url: str, accounts: list[str]) -> Iterator[Finding]:
    """Tell the accounts that busy answers have slowed down: nothing is wrong with any part, but jobs wait longer."""
    with saying_away(redis_url), open_redis(redis_url) as redis:
        paces = read_paces(redis, accounts)
    for account, pace in paces.items():
        if pace.words is not None:
            yield Finding(f"account {account}", True, pace.words, "nothing: it recovers by itself with each success")


def check_pauses(database_url: str) -> Iterator[Finding]:
    """Tell the accounts that somebody has paused."""
    engine = open_ledger(database_url)
    try:
        for account, pause in list_pauses(engine).items():
            remedy = f"when the reason is gone: worker68 resume {account} --reason ..."
            yield Finding(f"account {account}", True, pause.words, remedy)
    finally:
        engine.dispose()


def check_bridges(accounts: dict[str, AccountSettings], owners: dict[str, str]) -> Iterator[Finding]:
    """Look at the bridge of each account: connect, wait for Hello and for the client's login, and leave."""
    if not accounts:
        yield Finding("bridge", False, "no account", "set WORKER68_BRIDGE_URL (account main) or WORKER68_ACCOUNTS")
    bridges = BridgeIO(on_state=_ignore, on_late_evidence=_ignore, on_event=_ignore)
    bridges.start()
    try:
        links = {name: bridges.open(name, one.bridge_url) for name, one in accounts.items() if name not in owners}
        deadline = Deadline.after(BRIDGE_SECONDS)
        for name, account in accounts.items():
            if name in owners:
                yield check_port(name, account.bridge_url, owners[name])
            else:
                yield _judge(name, links[name], deadline)
    finally:
        bridges.stop()


def check_port(name: str, bridge_url: str, owner: str) -> Finding:
    """Look whether somebody listens at the bridge's port, and leave the one WebSocket connection to the account's owner."""
    parts = urlsplit(bridge_url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or _PORTS[parts.scheme]), BRIDGE_SECONDS).close()
    except OSError as error:
        found = f"{bridge_url}: {error.strerror or error}"
        return Finding(f"bridge of {name}", False, found, "start the 68 client and its bridge, or mend its bridge URL")
    return Finding(
        f"bridge of {name}", True, f"{bridge_url}: the port answers; worker {owner} holds its one connection"
    )


def _judge(name: str, link: Link, deadline: Deadline) -> Finding:
    part = f"bridge of {name}"
    while not (link.wait_ready(Deadline.after(LOOK_SECONDS)) or _has_failed(link) or deadline.passed):
        pass
    if link.ready:
        return Finding(part, True, f"{link.url}: connected, Hello, logged in")
    reason = link.why_not_ready or "not ready"
    if link.counters["connections"]:
        remedy = "look at the 68 client: is it logged in, and is this the port of its bridge?"
    else:
        remedy = "start the 68 client and its bridge, or mend its bridge URL"
    return Finding(part, False, reason, remedy)


def _has_failed(link: Link) -> bool:
    """Whether a try to connect has failed: another one is not waited for."""
    return link.counters["connection_failures"] > 0


def _ignore(*_: object) -> None:
    """Nothing that a bridge says by itself matters to a check."""
