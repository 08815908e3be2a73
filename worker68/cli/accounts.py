"""``worker68 accounts``: the accounts of the database, beside those of the settings: added, changed and removed while all runs.

In: a name, and what may stand in an account's table. Out: rows that every worker reads within seconds, checked as the settings are.
Never: a bridge for two accounts, also not for the moment in which the worker of one may still be connected to it; a job deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click
import msgspec

from worker68.bridge.url import address_of, show_bridge_url
from worker68.broker.place import queue_of
from worker68.broker.strays import count_messages
from worker68.cli.ledger import open_database
from worker68.cli.output import JSON, count_of, print_json, print_table, printable
from worker68.cli.pause import NoSuchAccount, who
from worker68.cli.reach import find_owners, open_redis, saying_away
from worker68.clock import Deadline, utc_now
from worker68.errors import RedisAway, SettingsError, Worker68Error
from worker68.fleet.accounts import Known, read_known
from worker68.settings import Settings, load_settings, same_bridge
from worker68.store.accounts import AccountRow, change_account, read_accounts
from worker68.store.engine import Engine
from worker68.store.waiting import count_waiting

#: A command waits so long for the account's worker; what is under way there may take longer.
WAIT_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.1


Table = dict[str, Any]


class NotChanged(Worker68Error):
    """The account stays as it is, for a reason that the message names."""


def _read_pair(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> dict[str, Any]:
    """Return the values by their keys. A value is JSON, or else a text as it stands there."""
    pairs: dict[str, Any] = {}
    for pair in values:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"expected KEY=VALUE, like max_in_flight=4 or limits.chat=20/m, not {pair!r}")
        try:
            pairs[key] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            pairs[key] = value
    return pairs


@click.group()
def accounts() -> None:
    """Keep accounts in the database, beside those of the settings, which win: no worker is restarted for them.

    \b
    Example:
      worker68 accounts add shop --bridge-url ws://10.0.0.7:5600
    """


@accounts.command("list")
@JSON
def list_(as_json: bool) -> None:
    """List all accounts. Of each: where it stands, its label and bridge, its worker; and what is wrong with it.

    \b
    Example:
      worker68 accounts list --json
    """
    settings = load_settings()
    with open_database(settings) as engine:
        known, rows = read_known(settings, engine), {row.name: row for row in read_accounts(engine)}
    owners = _find_owners(settings, sorted({*known.accounts, *rows}))
    lines = [_facts(settings, name, known, rows, owners) for name in sorted({*known.accounts, *rows})]
    lines = [line for line in lines if line["note"] != _GONE]
    if as_json:
        print_json(lines)
    elif lines:
        columns = ("account", "from", "label", "bridge", "owner", "note")
        keys = ("account", "source", "label", "bridge_url", "owner", "note")
        print_table(columns, (tuple(line[key] for key in keys) for line in lines))
    else:
        click.echo("no accounts: worker68 accounts add NAME --bridge-url URL")


@accounts.command()
@click.argument("name")
@click.option("--bridge-url", required=True, help="Its bridge: ws://HOST:PORT.")
@click.option("--label", help="Only workers whose LABELS name it hold the account.")
@click.option(
    "--set",
    "values",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_read_pair,
    help="Another setting of the account's table, as often as needed; VALUE is JSON or a text.",
)
@JSON
def add(name: str, bridge_url: str, label: str | None, values: dict[str, Any], as_json: bool) -> None:
    """Add the account NAME. A worker takes it within seconds, and jobs for it are taken in at once.

    \b
    Example:
      worker68 accounts add shop --bridge-url ws://10.0.0.7:5600 --set limits.chat=10/m
    """
    settings = load_settings()
    table = _put({"bridge_url": bridge_url} | ({"label": label} if label is not None else {}), values)

    def decide(before: Table | None) -> Table:
        if before is not None:
            raise NotChanged(f"there is an account {name!r} already: worker68 accounts set {name} KEY=VALUE")
        return table

    with open_database(settings) as engine:
        row = _change(settings, engine, name, decide)
    _say(row, f"{name} is added; a worker takes it within seconds", as_json)


@accounts.command("set")
@click.argument("name")
@click.argument("values", metavar="[KEY=VALUE]...", nargs=-1, callback=_read_pair)
@click.option("--unset", metavar="KEY", multiple=True, help="Let the general setting hold again.")
@JSON
def set_(name: str, values: dict[str, Any], unset: tuple[str, ...], as_json: bool) -> None:
    """Change settings of the account NAME. KEY: what may stand in an account's table, as `bridge_url`, `label`, `limits`.

    Its worker ends what is under way and closes the connection; then the account goes on with the new settings.
    `limits.chat=10/m` changes one of the limits.

    \b
    Example:
      worker68 accounts set shop max_in_flight=4 limits.chat=10/m --unset max_age
    """
    if not values and not unset:
        raise click.UsageError("say what to change: KEY=VALUE, or --unset KEY")
    settings = load_settings()

    def decide(before: Table | None) -> Table:
        if before is None:
            raise NoSuchAccount(_not_there(settings, name, "change"))
        table = _put(before, values)
        for key in unset:
            _take_out(table, key)
        if table == before:
            raise NotChanged(f"{name} has these settings already")
        return table

    with open_database(settings) as engine:
        row = _change(settings, engine, name, decide)
        way = _await(settings, engine, row)
    _say(row, f"{name} is changed; {way}", as_json)


@accounts.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also with unfinished jobs: they wait until the account is added again.")
@JSON
def remove(name: str, force: bool, as_json: bool) -> None:
    """Remove the account NAME. What is under way ends, then its connection is closed.

    Refused while it has unfinished jobs, or messages in its queue. With --force they stay where they are, and go on when
    the account is added again.

    \b
    Example:
      worker68 accounts remove shop
    """
    settings = load_settings()
    hidden = name in settings.account_settings()

    def decide(before: Table | None) -> None:
        if before is None:
            raise NoSuchAccount(_not_there(settings, name, "remove"))

    with open_database(settings) as engine:
        decide(_tables(read_accounts(engine)).get(name))
        left = "" if hidden else _describe_left(settings, engine, name)
        if left and not force:
            raise NotChanged(f"{name} has {left}: wait for them, cancel them, or say --force to let them wait")
        row = _change(settings, engine, name, decide)
        way = "the settings have it, so it goes on" if hidden else _await(settings, engine, row)
    waits = [f"left until it is added again: {left}"] if left else []
    _say(row, "; ".join([f"{name} is removed", *waits, way]), as_json)


def _not_there(settings: Settings, name: str, verb: str) -> str:
    where = f"stands in the settings: {verb} it there"
    if name not in settings.account_settings():
        where = "is not in the database: worker68 accounts list"
    return f"the account {name!r} {where}"


def _change(
    settings: Settings, engine: Engine, name: str, decide: Callable[[Table | None], Table | None]
) -> AccountRow:
    """Change the account as ``decide`` says of its table, None where there is none. Raises ``SettingsError`` for a wrong one."""
    own = settings.account_settings()
    free = _find_free(settings, read_accounts(engine))

    def check(rows: Mapping[str, AccountRow]) -> Table | None:
        table = decide(_tables(rows.values()).get(name))
        if table is None:
            return None
        if name in own:
            raise NotChanged(f"the account {name!r} stands in the settings, which win: change it there")
        account = settings.account_of(name, table, f"account {name!r}")
        for other, one in own.items():
            if address_of(one.bridge_url) == address_of(account.bridge_url):
                raise SettingsError(same_bridge(other, name))
        for row in rows.values():
            if row.name != name:
                _refuse_bridge(name, account.bridge_url, row, free)
        return table

    return change_account(engine, name, check, who(), utc_now())


def _refuse_bridge(name: str, url: str, other: AccountRow, free: Mapping[str, bool]) -> None:
    """Raise where another account has this bridge, or its worker may still be connected to it."""
    if other.removed_at is None and _is_same(other.settings.get("bridge_url"), url):
        raise SettingsError(same_bridge(other.name, name))
    if not other.is_taken and not free.get(other.name) and any(_is_same(left, url) for left in other.left_bridges):
        raise NotChanged(
            f"the worker of {other.name!r} may still be connected to {show_bridge_url(url)}: try again when "
            "`worker68 accounts list` says that it has taken the change"
        )


def _is_same(bridge: object, url: str) -> bool:
    try:
        return isinstance(bridge, str) and address_of(bridge) == address_of(url)
    except ValueError:  # written by hand
        return False


def _find_free(settings: Settings, rows: Sequence[AccountRow]) -> Mapping[str, bool]:
    """Return of accounts that have left a bridge whether no worker owns them: then none is connected to what they left."""
    names = [row.name for row in rows if row.left_bridges and not row.is_taken]
    if not names:
        return {}
    try:
        owners = find_owners(settings.require_redis_url(), names)
    except RedisAway:
        return {}
    return {name: name not in owners for name in names}


def _await(settings: Settings, engine: Engine, row: AccountRow) -> str:
    """Wait for a moment until the account's worker has taken a change; say how far it is."""
    deadline, first = Deadline.after(WAIT_SECONDS), True
    while True:
        try:
            owner = find_owners(settings.require_redis_url(), [row.name]).get(row.name)
        except RedisAway as away:
            return f"whether a worker owns it is not known: {away}"
        newest = next((one for one in read_accounts(engine, row.version - 1) if one.name == row.name), row)
        if newest.is_taken:
            return "its worker has taken that"
        if owner is None and (first or row.removed_at is not None or deadline.passed):
            return "no worker is connected to it"
        if deadline.passed:
            return f"worker {owner} ends first what is under way: see worker68 accounts list"
        first = False
        time.sleep(LOOK_SECONDS)


def _describe_left(settings: Settings, engine: Engine, name: str) -> str:
    """Return in words what waits for an account, in the database and in its queue; nothing where nothing does."""
    redis_url = settings.require_redis_url()
    with saying_away(redis_url), open_redis(redis_url) as redis:
        messages = count_messages(redis, [queue_of(name)])[queue_of(name)]
    jobs = count_waiting(engine, name)
    found = [count_of(jobs, "unfinished job")] if jobs else []
    found += [f"{count_of(messages, 'message')} in its queue"] if messages else []
    return " and ".join(found)


def _tables(rows: Any) -> dict[str, Table]:
    return {row.name: dict(row.settings) for row in rows if row.removed_at is None}


def _put(table: Mapping[str, Any], values: Mapping[str, Any]) -> Table:
    """Return the table with these values. A key may name a part of a setting: `limits.chat`."""
    changed = dict(table)
    for key, value in values.items():
        outer, dot, inner = key.partition(".")
        if dot:
            within = changed.get(outer, {})
            if not isinstance(within, dict):
                raise click.UsageError(f"{outer} is {within!r}, which has no part {inner!r}: set {outer} as a whole")
            changed[outer] = within | {inner: value}
        else:
            changed[key] = value
    return changed


def _take_out(table: Table, key: str) -> None:
    outer, dot, inner = key.partition(".")
    within = table.get(outer)
    if dot and isinstance(within, dict) and inner in within:
        table[outer] = {name: value for name, value in within.items() if name != inner}
    elif not dot and outer in table:
        del table[outer]
    else:
        raise click.UsageError(f"{key!r} is not set for this account")


def _find_owners(settings: Settings, names: list[str]) -> dict[str, str]:
    if settings.redis_url is None:
        return {}
    try:
        return find_owners(settings.redis_url, names)
    except RedisAway as away:
        click.echo(f"worker68: who owns the accounts is not known: {away}", err=True)
        return {}


_GONE: Final = "removed"


def _facts(
    settings: Settings, name: str, known: Known, rows: Mapping[str, AccountRow], owners: Mapping[str, str]
) -> dict[str, Any]:
    """Return what is shown of an account. A bridge's password is in none of it."""
    row, account, owner = rows.get(name), known.accounts.get(name), owners.get(name)
    is_own = account is not None and name not in known.rows
    table = settings.table_of(name) if is_own else dict(row.settings) if row is not None else {}
    if isinstance(url := table.get("bridge_url"), str):
        table["bridge_url"] = show_bridge_url(url)
    note = known.problems.get(name)
    if row is not None and row.removed_at is not None and not is_own:
        note = _GONE if owner is None else "removed; its worker ends first what is under way"
    elif row is not None and not is_own and not row.is_taken and owner is not None and note is None:
        note = "changed; its worker ends first what is under way"
    return {
        "account": name,
        "source": "settings" if is_own else "database",
        "label": table.get("label"),
        "bridge_url": table.get("bridge_url"),
        "settings": table,
        "owner": owner,
        "note": note,
        "changed_at": None if is_own or row is None else row.changed_at,
        "changed_by": None if is_own or row is None else row.changed_by,
    }


def _say(row: AccountRow, words: str, as_json: bool) -> None:
    if as_json:
        print_json({"account": row.name, "removed": row.removed_at is not None, "version": row.version, "words": words})
    else:
        click.echo(printable(words))
