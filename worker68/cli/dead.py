"""``worker68 dead``: look at what was set aside, put it back where it belongs, or drop it.

In: ids of entries on ``worker68:dead``. Out: the entries in words or JSON; messages back in their queues, replies in their lists.
An entry is taken off the list only in the step that puts it back, or by ``drop``.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click
import msgspec
from redis import Redis
from redis.exceptions import ResponseError

from worker68.broker.place import FRONT_DOOR
from worker68.cli.output import JSON, print_facts, print_json, print_table, printable, show_time
from worker68.cli.reach import open_redis, saying_away
from worker68.errors import Worker68Error
from worker68.redis_calls import LuaScript
from worker68.settings import load_settings

DEAD_KEY: Final = "worker68:dead"
#: Entries fetched at once: messages may be large.
PAGE: Final = 500
#: Of the SHA-256 of an entry: short enough to copy, long enough that two of a million entries do not share it.
ID_LENGTH: Final = 12
#: So much of a message is shown at a terminal.
SHOWN_BYTES: Final = 4000

IDS = click.argument("ids", metavar="ID...", nargs=-1)
ALL = click.option("--all", "everything", is_flag=True, help="All entries.")


class NoSuchEntry(Worker68Error):
    """Nothing on the list has this id: `worker68 dead list` shows what is there."""


class CannotRequeue(Worker68Error):
    """The entry does not say where it belongs, or Redis does not take it there: it stays on the list."""


class Entry(msgspec.Struct, kw_only=True):
    """What was set aside: a message (with its ``queue``), or a reply (with its ``address``). Others may have pushed anything.

    Of a message that was too large there are its ``beginning`` and its ``end`` alone.
    """

    reason: str = "not an entry of worker68's"
    queue: str | None = None
    address: str | None = None
    received_at: dt.datetime | None = None
    task_id: str | None = None
    message: str | None = None
    message_base64: str | None = None
    beginning: str | None = None
    end: str | None = None

    @property
    def content(self) -> bytes | None:
        """What to put back: the message or the reply as it came."""
        if self.message_base64 is not None:
            try:
                return base64.b64decode(self.message_base64, validate=True)
            except ValueError:
                return None
        return self.message.encode() if self.message is not None else None


class Found(msgspec.Struct, frozen=True):
    """An entry, its id, and the bytes that lie on the list."""

    id: str
    raw: bytes
    entry: Entry


@click.group()
def dead() -> None:
    """Look at messages and replies that were set aside on worker68:dead, put them back or drop them.

    \b
    Example:
      worker68 dead list
    """


@dead.command("list")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@JSON
def list_(limit: int, as_json: bool) -> None:
    """List what was set aside, the newest first.

    \b
    Example:
      worker68 dead list --limit 10
    """
    with _opened() as (redis, _):
        found = _read(redis, limit)
        count = redis.llen(DEAD_KEY)
    if as_json:
        print_json([_as_dict(one) for one in found])
    elif found:
        rows = ((one.id, show_time(one.entry.received_at), _place(one.entry), one.entry.reason) for one in found)
        print_table(("id", "received (UTC)", "from", "why"), rows)
        if count > len(found):
            click.echo(f"{count - len(found)} more: give --limit")
    else:
        click.echo("nothing is set aside")


@dead.command()
@click.argument("id_", metavar="ID")
@JSON
def show(id_: str, as_json: bool) -> None:
    """Show one entry: why it was set aside, and what it holds.

    This is the message as it came, so it shows message text.

    \b
    Example:
      worker68 dead show 3f2a9c01d7e4
    """
    with _opened() as (redis, _):
        (found,) = _find(redis, (id_,))
    if as_json:
        print_json(_as_dict(found))
        return
    content = found.entry.content if found.entry.content is not None else found.raw
    facts = {
        "entry": found.id,
        "reason": found.entry.reason,
        "from": _place(found.entry),
        "received": show_time(found.entry.received_at),
        "task id": found.entry.task_id,
        "size": f"{len(content)} bytes",
        "content": content[:SHOWN_BYTES].decode(errors="replace"),
    }
    print_facts(facts, verbatim=("content",))


@dead.command()
@IDS
@ALL
def requeue(ids: tuple[str, ...], everything: bool) -> int:
    """Put messages back into their queues, as new ones, and replies into their lists.

    Do so after what was wrong is fixed: a key of another type deleted, a worker upgraded. A message that is wrong in itself
    comes back; push a fixed one instead.

    \b
    Example:
      worker68 dead requeue 3f2a9c01d7e4
    """

    def put_back(redis: Redis, ttl: int, found: Found) -> bool:
        key, kind = _target(found.entry)
        content = found.entry.content
        assert content is not None
        script = LuaScript(redis, __package__, "requeue.lua")
        try:
            return bool(script.run([DEAD_KEY, key], [found.raw, kind, content, ttl]))
        except ResponseError as refusal:
            raise CannotRequeue(
                f"Redis does not take {found.id} at {key} ({refusal}): delete or rename that key first"
            ) from refusal

    return _act(ids, everything, put_back, "put back")


@dead.command()
@IDS
@ALL
def drop(ids: tuple[str, ...], everything: bool) -> int:
    """Drop entries for good.

    \b
    Example:
      worker68 dead drop 3f2a9c01d7e4
      worker68 dead drop --all
    """

    def remove(redis: Redis, _ttl: int, found: Found) -> bool:
        return bool(redis.lrem(DEAD_KEY, 1, found.raw))  # type: ignore[arg-type]

    return _act(ids, everything, remove, "dropped")


def _act(
    ids: tuple[str, ...],
    everything: bool,
    act: Callable[[Redis, int, Found], bool],
    done: str,
) -> int:
    """Do it to each entry; return 1 where one of them was not done."""
    if bool(ids) == everything:
        raise click.UsageError("give the ids of entries, or --all")
    missed = 0
    with _opened() as (redis, ttl):
        for found in _read(redis) if everything else _find(redis, ids):
            try:
                problem = None if act(redis, ttl, found) else f"{found.id} is not there any more"
            except CannotRequeue as refusal:
                problem = str(refusal)
            if problem is None:
                click.echo(f"{done} {found.id}")
            else:
                missed += 1
                click.echo(f"worker68: {printable(problem)}", err=True)
    return 1 if missed else 0


@contextmanager
def _opened() -> Iterator[tuple[Redis, int]]:
    """Yield a client, and how long unread replies are kept."""
    settings = load_settings()
    url = settings.require_redis_url()
    with saying_away(url), open_redis(url) as redis:
        yield redis, int(settings.reply_ttl)


def _read(redis: Redis, limit: int | None = None) -> list[Found]:
    """Return the entries, the newest first."""
    found: list[Found] = []
    end = -1
    while limit is None or len(found) < limit:
        size = PAGE if limit is None else min(PAGE, limit - len(found))
        page: Any = redis.lrange(DEAD_KEY, end - size + 1, end)
        found += map(_found, reversed(page))
        if len(page) < size:
            break
        end -= size
    return found


def _find(redis: Redis, ids: tuple[str, ...]) -> list[Found]:
    """Return the entries with these ids. Raises ``NoSuchEntry``."""
    there = {one.id: one for one in _read(redis)}
    missing = [id_ for id_ in ids if id_ not in there]
    if missing:
        raise NoSuchEntry(f"nothing set aside has the id {', '.join(missing)}: see `worker68 dead list`")
    return [there[id_] for id_ in dict.fromkeys(ids)]


def _found(raw: bytes) -> Found:
    try:
        entry = msgspec.json.decode(raw, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        entry = Entry()
    return Found(hashlib.sha256(raw).hexdigest()[:ID_LENGTH], raw, entry)


def _target(entry: Entry) -> tuple[str, str]:
    """Return the key where the entry belongs, and as what. Raises ``CannotRequeue``."""
    if entry.content is None:
        raise CannotRequeue("an entry holds no message that could be put back: drop it")
    if entry.address is None:
        if entry.queue is None:
            raise CannotRequeue("an entry does not say from which queue it came: drop it")
        return entry.queue or FRONT_DOOR, "message"
    if entry.address.startswith("stream:"):
        return f"worker68:replies:{entry.address.removeprefix('stream:')}:stream", "stream"
    return f"worker68:replies:{entry.address}", "reply"


def _place(entry: Entry) -> str | None:
    return entry.queue if entry.address is None else f"reply to {entry.address}"


def _as_dict(found: Found) -> dict[str, Any]:
    return {"id": found.id} | msgspec.structs.asdict(found.entry)
