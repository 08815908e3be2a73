"""What Redis and PostgreSQL say about what is asked of them: the commands and statements that took long.

In: their clients. Out: the slowest of each, by name, since the watch began. They measure by the clock: on a busy machine a command
also waits for a processor. Never: what the benchmark itself asks.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final, NamedTuple

import redis

import worker68
from benchmarks.rounds import Report
from tests.parts.postgres import PostgresServer

#: What takes less is not written down.
LEAST_MILLISECONDS: Final = 5
#: More would be noticed by the jobs of other accounts.
GOAL_MILLISECONDS: Final = 50.0

#: So many are kept by Redis, and read.
_KEPT: Final = 4096
#: A worker does not send these by itself.
_NOT_OURS: Final = frozenset({"CONFIG", "INFO", "CLIENT", "SLOWLOG", "MGET", "BGREWRITEAOF", "FLUSHALL"})
_STATEMENT: Final = re.compile(r"duration: ([\d.]+) ms  (?:statement|execute [^:]*|parse [^:]*|bind [^:]*): (.*)")
_SHOWN: Final = 90


class Slow(NamedTuple):
    """A command or statement that took so long."""

    milliseconds: float
    what: str


class SlowWatch:
    """From its making on. ``postgres`` must log statements from ``LEAST_MILLISECONDS`` on."""

    def __init__(self, client: redis.Redis, postgres: PostgresServer | None) -> None:
        self._client = client
        self._log = None if postgres is None else postgres.log_file
        self._read = 0 if self._log is None else self._log.stat().st_size
        client.config_set("slowlog-log-slower-than", LEAST_MILLISECONDS * 1000)
        client.config_set("slowlog-max-len", _KEPT)
        client.slowlog_reset()

    def say(self, report: Report) -> None:
        """Print the slowest of each, and whether it stayed below what others notice."""
        self._judge(report, "command of Redis", self.commands())
        if self._log is not None:
            self._judge(report, "statement of PostgreSQL", self.statements())

    def commands(self) -> list[Slow]:
        """Return the slow commands of Redis."""
        entries = self._client.slowlog_get(_KEPT)
        slow = [Slow(entry["duration"] / 1000, name_of(entry["command"].split(b" "))) for entry in entries]
        return [one for one in slow if one.what.split()[0] not in _NOT_OURS]

    def statements(self) -> list[Slow]:
        """Return the slow statements of PostgreSQL."""
        assert self._log is not None
        with self._log.open("rb") as log:
            log.seek(self._read)
            return statements_in(log.read().decode(errors="replace"))

    def _judge(self, report: Report, kind: str, slow: list[Slow]) -> None:
        worst = max(slow, default=Slow(0.0, f"none took {LEAST_MILLISECONDS} ms"))
        report.say(f"  {len(slow)} of {LEAST_MILLISECONDS} ms and more; the slowest: {worst.what}")
        report.goal(f"milliseconds of the slowest {kind}", worst.milliseconds, at_most=GOAL_MILLISECONDS)


def statements_in(log: str) -> list[Slow]:
    """Return the slow statements in what PostgreSQL has written; of a long one its beginning."""
    return [Slow(float(found[1]), " ".join(found[2].split())[:_SHOWN]) for found in _STATEMENT.finditer(log)]


def name_of(words: list[bytes]) -> str:
    """Return a command's name; of a script its file and how many keys it was given."""
    command = words[0].decode().upper()
    if command not in ("EVALSHA", "EVAL") or len(words) < 3:
        return command
    script = _scripts().get(words[1].decode(errors="replace"), "a script") if command == "EVALSHA" else "a script"
    return f"{command} {script}, {words[2].decode(errors='replace')} keys"


def _scripts() -> dict[str, str]:
    """Return the names of the scripts by what Redis calls them."""
    files = Path(worker68.__file__).parent.rglob("*.lua")
    return {hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest(): file.name for file in files}
