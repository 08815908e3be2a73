"""A group of 100,000 members, from the bridge's pages into the tables, next to the same rows written without our code.

In: nothing, or ``--members``, ``--rounds``. Out: medians and spreads of seconds, and the peak memory of a process of its own. Both
sides decode the same pages, one after the other, in turn within one run, into the same table with its primary key:

- *limit*: the driver's fastest way of writing rows that may be there already (PostgreSQL: COPY and a merge; SQLite: an upsert with
  executemany), without a snapshot, its changes, or any check.
- *bare*: the same into an empty table, without the merge. It cannot be repeated on a list that is there.
- *first*: ours, where every member is new: each page from its bytes to rows, through the buffer into the table, with the
  snapshot and 100,000 changes. The slots that a worker waits for, and the bridge's own time, are left out.
- *second*: ours again with the same pages, where nothing has changed.

Then, on PostgreSQL, the first and the second sync where its statistics know nothing of the tables, know them as they were
before, and know them as they are: the second is to take at most 1.5 times the first. And last, a new group of 15,000 beside
200,000 known rows.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from sqlalchemy import Engine, func, select, text

from benchmarks.rounds import LEAST_ROUNDS, at_least
from tests.parts.onloop import run
from tests.parts.postgres import PostgresServer
from tests.parts.turns import FreeContext
from tests.parts.turns import turn as make_turn
from worker68.bridge.frames import Reply as BridgeReply
from worker68.bridge.frames import decode, read_data
from worker68.bridge.link import Link
from worker68.clock import Deadline, utc_now
from worker68.execution.step_context import RowBuffer
from worker68.jobs.evidence import Evidence
from worker68.jobs.snapshot import ListSeen, MemberRow, Row
from worker68.simulator import shapes
from worker68.simulator.population import build_world
from worker68.simulator.world import World
from worker68.store.engine import open_engine, reading, transaction
from worker68.store.statements import snapshots
from worker68.store.tables import group_members, metadata, snapshot_changes
from worker68.store.tables import snapshots as snapshots_table

ACCOUNT: Final = "main"
SYNC: Final = "worker68.sync_group_members"
PAGE: Final = 1000
GOAL: Final = 1.5
GOAL_MEGABYTES: Final = 150
ROLES: Final = {"HOST": "host", "MANAGE": "admin", "MEMBER": "member"}

_COLUMNS: Final = "account, group_id, user_id, name, icon, role, friend, updated_at"
_SET: Final = ", ".join(f"{name} = excluded.{name}" for name in ("name", "icon", "role", "friend", "updated_at"))
_MERGE: Final = f"ON CONFLICT (account, group_id, user_id) DO UPDATE SET {_SET}, removed_at = NULL"
_TYPES: Final = ("varchar", "int8", "int8", "text", "text", "varchar", "bool", "timestamptz")


# The pages


def write_pages(file: Path, members: int) -> int:
    """Write a group's pages as the simulator answers them, a line each; return the group."""
    world = build_world(members=members)
    group = max(world.groups.values(), key=lambda group: len(group.members))
    give_pictures(world)
    everybody = sorted(group.members.values(), key=lambda one: one.role.value)
    with file.open("wb") as out:
        for start in range(0, len(everybody), PAGE):
            entries = [shapes.member(world, group, one) for one in everybody[start : start + PAGE]]
            fields: dict[str, Any] = {"commonResult": {"errCode": 200}, "members": entries}
            if start == 0:
                fields |= {"count": str(len(everybody)), "lastUpdateTime": str(group.changed_ms)}
            out.write(msgspec.json.encode({"id": "1", "type": "request", "data": fields}) + b"\n")
    return group.group_id


def give_pictures(world: World) -> None:
    """Give everybody a picture, as most people have one: its address is the longest part of a row."""
    dice = random.Random(68)
    for person in world.people.values():
        person.icon = person.icon or f"http://r11.aiolet.xyz/common/pic/202509/06/{dice.getrandbits(128):032x}.jpg"


class Relation(msgspec.Struct):
    bfFriend: bool = False


class User(msgspec.Struct):
    uid: str
    nickName: str = ""
    icon: str | None = None
    friendRelation: Relation | None = None


class Entry(msgspec.Struct):
    user: User
    type: str = "HOST"


class Data(msgspec.Struct):
    members: list[Entry] = []
    count: str | None = None


class Reply(msgspec.Struct):
    data: Data


class Pages:
    """The rows of a file of pages, decoded anew each time they are asked for."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._decoder = msgspec.json.Decoder(Reply)

    def __iter__(self) -> Iterator[MemberRow]:
        with self._file.open("rb") as pages:
            for page in pages:
                for entry in self._decoder.decode(page).data.members:
                    user = entry.user
                    friend = user.friendRelation is not None and user.friendRelation.bfFriend
                    yield MemberRow(int(user.uid), user.nickName, user.icon, ROLES.get(entry.type), friend)


class Recorded:
    """Stands in for a link to a bridge: it gives the pages of a file as their bytes would be read from the socket."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._places = [0]
        with file.open("rb") as pages:
            for page in pages:
                self._places.append(self._places[-1] + len(page))

    def request(self, _type: str, _path: str, data: Any, *_: Any, reply_shape: Any, **__: Any) -> Answered:
        start, end = self._places[data["pageNum"] - 1 :][:2]
        with self._file.open("rb") as pages:
            pages.seek(start)
            reply = decode(pages.read(end - start))
        assert isinstance(reply, BridgeReply)
        found, error = read_data(reply, reply_shape)
        return Answered(Evidence(written=True, replied=True, data=found, error=error))


@dataclass(frozen=True)
class Answered:
    """A call that is over."""

    evidence: Evidence

    async def wait(self, _: Deadline) -> Evidence:
        return self.evidence


class Buffering(FreeContext):
    """Grants everything at once, and keeps rows where a worker does."""

    def collect(self, row: type[Row]) -> Any:
        return RowBuffer(row)


# What is measured


class Contest:
    """One database; each measurement begins with empty tables."""

    def __init__(self, url: str, pages: Path, group_id: int) -> None:
        self.engine = open_engine(url)
        self.rows = Pages(pages)
        self.bridge = Recorded(pages)
        self.group_id = group_id
        self.sqlite = self.engine.dialect.name == "sqlite"
        metadata.create_all(self.engine)

    def decode(self) -> None:
        for _ in self.rows:
            pass

    def bare(self) -> None:
        with driver(self.engine) as cursor:
            if self.sqlite:
                cursor.executemany(f"INSERT INTO group_members ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)", self._tuples())
            else:
                self._copy(cursor, "group_members")

    def limit(self) -> None:
        with driver(self.engine) as cursor:
            if self.sqlite:
                upsert = f"INSERT INTO group_members ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?) {_MERGE}"
                cursor.executemany(upsert, self._tuples())
            else:
                cursor.execute("CREATE TEMP TABLE fresh (LIKE group_members) ON COMMIT DROP")
                self._copy(cursor, "fresh")
                cursor.execute(f"INSERT INTO group_members ({_COLUMNS}) SELECT {_COLUMNS} FROM fresh {_MERGE}")

    def ours(self) -> dict[str, Any]:
        """Read the list as the action of the task does, and apply it as execution does."""
        turn = make_turn(cast(Link, self.bridge), SYNC, Buffering(), group_id=self.group_id)
        seen = run(turn.job.now.act(turn, turn.job.fields))
        assert isinstance(seen, ListSeen)
        assert seen.whole
        with closing(cast(RowBuffer, seen.rows)), transaction(self.engine) as connection:
            return snapshots.apply(connection, ACCOUNT, seen, utc_now())

    def empty(self) -> None:
        with transaction(self.engine) as connection:
            for table in (group_members, snapshot_changes, snapshots_table):
                connection.exec_driver_sql(f"DELETE FROM {table.name}" if self.sqlite else f"TRUNCATE {table.name}")
        with reading(self.engine) as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)" if self.sqlite else "CHECKPOINT")

    def count(self) -> int:
        with reading(self.engine) as connection:
            return connection.scalar(select(func.count()).select_from(group_members)) or 0

    def written(self) -> int:
        """Return a number that grows with what is written: rows in SQLite, bytes of the log in PostgreSQL."""
        with reading(self.engine) as connection:
            if self.sqlite:
                return int(connection.scalar(text("SELECT total_changes()")) or 0)
            return int(connection.scalar(text("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")) or 0)

    def _tuples(self) -> Iterator[tuple[Any, ...]]:
        now: Any = utc_now()
        if self.sqlite:
            now = now.replace(tzinfo=None).isoformat(" ")
        for row in self.rows:
            yield (ACCOUNT, self.group_id, row.user_id, row.name, row.icon, row.role, row.friend, now)

    def _copy(self, cursor: Any, table: str) -> None:
        with cursor.copy(f"COPY {table} ({_COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(_TYPES)
            for values in self._tuples():
                copy.write_row(values)


@contextmanager
def driver(engine: Engine) -> Iterator[Any]:
    """Yield the driver's own cursor in a transaction."""
    with transaction(engine) as connection:
        cursor = connection.connection.cursor()
        yield cursor
        cursor.close()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# The run


def measure(url: str, pages: Path, group_id: int, members: int, rounds: int) -> None:
    contest = Contest(url, pages, group_id)
    names = ("decode", "bare", "limit", "first", "second")
    times: dict[str, list[float]] = {name: [] for name in names}
    contest.ours()
    for _ in range(rounds):
        times["decode"].append(seconds(contest.decode))
        for name in ("bare", "limit", "first"):
            contest.empty()
            times[name].append(seconds(contest.ours if name == "first" else getattr(contest, name)))
            assert contest.count() == members, f"{name}: {contest.count()} rows"
        before = contest.written()
        times["second"].append(seconds(contest.ours))
        wrote = contest.written() - before
    print(f"\n{contest.engine.dialect.name}, {members} members, {rounds} rounds, seconds: median (least to most)")
    for name in names:
        found = times[name]
        print(f"  {name:8}{statistics.median(found):6.2f}  ({min(found):.2f} to {max(found):.2f})")
    for limit in ("limit", "bare"):
        ratio = statistics.median(mine / his for mine, his in zip(times["first"], times[limit], strict=True))
        print(f"  first / {limit}, in the same round: {ratio:.2f}" + (f" (goal {GOAL})" if limit == "limit" else ""))
    what = "rows written, with those of temporary tables" if contest.sqlite else "bytes of the write-ahead log"
    print(f"  second sync without a change: {wrote} {what}")
    contest.engine.dispose()


def measure_knowledge(server: PostgresServer, pages: Path, group_id: int) -> None:
    """Print first and second sync with fresh, old and no statistics; a plan must not depend on them."""
    print("\npostgresql, by what its statistics know, seconds: first, second")
    for knowledge in ("never analysed", "analysed before", "analysed after the first"):
        with server.database() as url:
            contest = Contest(url, pages, group_id)
            leave_to_us(contest.engine)
            if knowledge == "analysed before":
                add_others(contest.engine, groups=3, members=100)
                analyse(contest.engine)
            first = seconds(contest.ours)
            if knowledge == "analysed after the first":
                analyse(contest.engine)
            second = seconds(contest.ours)
            print(f"  {knowledge:26}{first:6.2f} {second:6.2f}  second / first: {second / first:.2f} (goal {GOAL})")
            contest.engine.dispose()


def measure_new_group(server: PostgresServer, folder: Path) -> None:
    """Print the syncs of a new group beside many known rows of others."""
    pages = folder / "new-group"
    group_id = write_pages(pages, 15_000)
    print("\npostgresql, a new group of 15000 members beside 200000 known rows, seconds: first, second, third")
    for knowledge in ("never analysed", "analysed"):
        with server.database() as url:
            contest = Contest(url, pages, group_id)
            leave_to_us(contest.engine)
            add_others(contest.engine, groups=20, members=10_000)
            if knowledge == "analysed":
                analyse(contest.engine)
            print(f"  {knowledge:26}" + " ".join(f"{seconds(contest.ours):6.2f}" for _ in range(3)))
            contest.engine.dispose()


def leave_to_us(engine: Engine) -> None:
    """Keep autovacuum from analysing the tables meanwhile."""
    with transaction(engine) as connection:
        for table in (group_members, snapshot_changes):
            connection.exec_driver_sql(f"ALTER TABLE {table.name} SET (autovacuum_enabled = off)")


def add_others(engine: Engine, groups: int, members: int) -> None:
    """Write members of other groups of the account."""
    with transaction(engine) as connection:
        connection.exec_driver_sql(
            f"INSERT INTO group_members ({_COLUMNS}) SELECT '{ACCOUNT}', -g, u, 'name ' || u, NULL, 'member', false, now() "
            f"FROM generate_series(1, {groups}) AS g, generate_series(1, {members}) AS u"
        )


def analyse(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.exec_driver_sql("ANALYZE")


def weigh(url: str, pages: Path, group_id: int) -> None:
    """Print the peak memory of this process before and after a first and a second sync."""
    contest = Contest(url, pages, group_id)
    with reading(contest.engine) as connection:
        connection.scalar(select(func.count()).select_from(group_members))
    before = peak()
    contest.ours()
    contest.ours()
    print(json.dumps([before, peak()]))
    contest.engine.dispose()


def peak() -> float:
    """Return the most memory that this process has had, in MB. Not ru_maxrss: it begins with what the parent had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def report_weight(url: str, pages: Path, group_id: int) -> None:
    words = [sys.executable, "-m", "benchmarks.snapshots", "--weigh", url, str(pages), str(group_id)]
    before, after = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    print(f"  peak memory: {after:.0f} MB (goal {GOAL_MEGABYTES}), of which {before:.0f} MB before the sync")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--members", type=at_least(1), default=100_000)
    parser.add_argument("--rounds", type=at_least(LEAST_ROUNDS), default=7)
    parser.add_argument("--weigh", nargs=3, metavar=("URL", "PAGES", "GROUP"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.weigh:
        weigh(asked.weigh[0], Path(asked.weigh[1]), int(asked.weigh[2]))
        return
    with tempfile.TemporaryDirectory(prefix="w68-bench-") as folder, PostgresServer() as server:
        pages = Path(folder) / "pages"
        group_id = write_pages(pages, asked.members)
        print(f"{asked.members} members in {pages.stat().st_size / 1e6:.1f} MB of pages")
        with server.database() as postgres, server.database() as other:
            for url, empty in ((f"sqlite:///{folder}/a.db", f"sqlite:///{folder}/b.db"), (postgres, other)):
                measure(url, pages, group_id, asked.members, asked.rounds)
                report_weight(empty, pages, group_id)
        measure_knowledge(server, pages, group_id)
        measure_new_group(server, Path(folder))


if __name__ == "__main__":
    main()
