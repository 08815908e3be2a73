"""``worker68 snapshots``: what the syncs found, and what changed from one to the next.

In: a snapshot's number. Out: its row, its changes, or the difference between two, in words or JSON.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

import click
import msgspec

from worker68.cli.ledger import open_database
from worker68.cli.output import JSON, print_facts, print_json, print_table, printable, show_time
from worker68.clock import utc_now
from worker68.jobs.snapshot import LISTS
from worker68.settings import load_settings
from worker68.store.snapshots import Change, accept, find_snapshot, list_snapshots, read_changes, read_difference
from worker68.store.statements.snapshots import SnapshotLine

#: So many changes are shown at a terminal.
SHOWN: Final = 50
LIMIT = click.option(
    "--limit", type=click.IntRange(1), help=f"How many changes at most.  [default: {SHOWN}; with --json all]"
)


@click.group()
def snapshots() -> None:
    """Look at what the syncs found, and at what changed from one to the next.

    \b
    Example:
      worker68 snapshots list --kind group_members --group 389284
    """


@snapshots.command("list")
@click.option("--account", help="Only snapshots of this account.")
@click.option("--kind", type=click.Choice([kind.name for kind in LISTS]), help="Only snapshots of such lists.")
@click.option("--group", "group_id", type=int, metavar="ID", help="Only snapshots of this group's members.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@JSON
def list_(account: str | None, kind: str | None, group_id: int | None, limit: int, as_json: bool) -> None:
    """List the newest snapshots, newest first.

    \b
    Example:
      worker68 snapshots list --account main --kind contacts --limit 10
    """
    with open_database(load_settings()) as engine:
        lines = list_snapshots(engine, account=account, kind=kind, group_id=group_id, limit=limit)
    if as_json:
        print_json(lines)
    elif lines:
        columns = ("id", "account", "list", "taken (UTC)", "count", "added", "removed", "changed", "note")
        print_table(columns, map(_row, lines))
    else:
        click.echo("no such snapshots")


@snapshots.command()
@click.argument("number", metavar="ID", type=int)
@LIMIT
@JSON
def show(number: int, limit: int | None, as_json: bool) -> None:
    """Show a snapshot: how it was taken, what is wrong with it, and its changes.

    \b
    Example:
      worker68 snapshots show 17 --limit 200
    """
    with open_database(load_settings()) as engine:
        snapshot = find_snapshot(engine, number)
        changes = list(islice(read_changes(engine, snapshot), _most(limit, as_json)))
    if as_json:
        print_json(msgspec.to_builtins(snapshot) | {"changes": changes})
        return
    facts = {
        "snapshot": snapshot.id,
        "account": snapshot.account,
        "list": _list_of(snapshot),
        "taken": f"{show_time(snapshot.taken_at)} UTC",
        "entries": snapshot.count,
        "complete": "yes" if snapshot.complete else "no",
        "applied": "yes" if snapshot.applied else "no",
        "note": snapshot.note,
        "changes": f"{snapshot.added} added, {snapshot.removed} removed, {snapshot.changed} changed",
    }
    print_facts(facts)
    _print_changes(changes, snapshot.added + snapshot.removed + snapshot.changed)


@snapshots.command()
@click.argument("number", metavar="ID", type=int)
@click.argument("later", metavar="[ID2]", type=int, required=False)
@LIMIT
@JSON
def diff(number: int, later: int | None, limit: int | None, as_json: bool) -> None:
    """Show what changed: in one snapshot against the one before, or from one snapshot to a later one of the same list.

    From one to a later one only the net difference shows: a member who left and came back unchanged is not in it. Snapshots
    in between that were not applied do not count.

    \b
    Example:
      worker68 snapshots diff 17
      worker68 snapshots diff 17 42
    """
    with open_database(load_settings()) as engine:
        compared = [find_snapshot(engine, each) for each in (number, later) if each is not None]
        found = read_changes(engine, compared[0]) if later is None else read_difference(engine, *compared)
        changes = list(islice(found, _most(limit, as_json)))
        more = sum(1 for _ in found)
    if as_json:
        print_json({"snapshots": compared, "changes": changes})
        return
    for snapshot in compared:
        if snapshot.note is not None:
            click.echo(printable(f"snapshot {snapshot.id}: {snapshot.note}"))
    if changes:
        _print_changes(changes, len(changes) + more)
    else:
        click.echo("no difference")


@snapshots.command("accept")
@click.argument("number", metavar="ID", type=int)
def accept_(number: int) -> None:
    """Mark as removed what a snapshot that was not applied did not see any more.

    For a list that has lost more than half of its entries indeed: such a snapshot is not applied, nor is the next one. Sync again
    afterwards: what else had changed comes with that.

    \b
    Example:
      worker68 snapshots accept 17
    """
    with open_database(load_settings()) as engine:
        marked = accept(engine, number, utc_now())
    click.echo(f"accepted snapshot {number}: {marked} rows are marked as removed; sync again for the rest")


def _most(limit: int | None, as_json: bool) -> int | None:
    return limit if limit is not None or as_json else SHOWN


def _list_of(snapshot: SnapshotLine) -> str:
    return snapshot.kind if snapshot.subject_id is None else f"{snapshot.kind} of {snapshot.subject_id}"


def _row(line: SnapshotLine) -> tuple[object, ...]:
    return (
        line.id,
        line.account,
        _list_of(line),
        show_time(line.taken_at),
        line.count,
        line.added,
        line.removed,
        line.changed,
        line.note,
    )


def _print_changes(changes: list[Change], total: int) -> None:
    if changes:
        in_groups = any(change.group_id for change in changes)
        columns = ("id", *(("group",) if in_groups else ()), "change", "what")
        print_table(columns, (_change(change, in_groups) for change in changes))
    if total > len(changes):
        click.echo(f"{total - len(changes)} more: --limit {total} shows all, --json all for a program")


def _change(change: Change, in_groups: bool) -> tuple[object, ...]:
    group = (change.group_id or None,) if in_groups else ()
    return (change.subject, *group, change.change, _what(change))


def _what(change: Change) -> str:
    if change.old is None or change.new is None:
        return ", ".join(
            f"{name} {_word(value)}" for name, value in (change.new or change.old or {}).items() if value is not None
        )
    return ", ".join(f"{name} {_word(change.old.get(name))} -> {_word(value)}" for name, value in change.new.items())


def _word(value: Any) -> str:
    return msgspec.json.encode(value).decode()
