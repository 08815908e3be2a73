"""The longest command of Redis and the longest statement of PostgreSQL while a block lasts, as their own logs have them.

In: a stage. Out: milliseconds, with the names of scripts and the beginning of statements. What takes less than
``LEAST_MILLISECONDS`` is not looked at.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, text

import worker68
from benchmarks.stage import Stage
from tests.parts.postgres import administer
from worker68.store.engine import reading

LEAST_MILLISECONDS: Final = 2
_KEPT: Final = 100_000

_DURATION: Final = re.compile(r"duration: ([0-9.]+) ms  (?:statement|(?:parse|bind|execute) [^:]*):\s*(.*)")
_SHOWN: Final = 90


@dataclass(frozen=True, order=True)
class Command:
    milliseconds: float = 0.0
    words: str = f"none of {LEAST_MILLISECONDS} ms"


@dataclass
class Longest:
    """Filled when the block ends. ``commit``: of PostgreSQL, and mostly the disk's."""

    redis: Command = field(default_factory=Command)
    statement: Command = field(default_factory=Command)
    commit: Command = field(default_factory=Command)


@contextmanager
def watch_longest(stage: Stage) -> Iterator[Longest]:
    """Give what is filled when the block ends. All who use this Redis and this server of PostgreSQL count."""
    longest = Longest()
    stage.redis.config_set("slowlog-log-slower-than", LEAST_MILLISECONDS * 1000)
    stage.redis.config_set("slowlog-max-len", _KEPT)
    stage.redis.slowlog_reset()
    log = _begin_log(stage.engine) if stage.engine.dialect.name == "postgresql" else None
    began = log.stat().st_size if log is not None else 0
    yield longest
    longest.redis = max([Command(), *_read_slowlog(stage)])
    if log is not None:
        with log.open("rb") as said:
            said.seek(began)
            commands = [Command(float(ms), words[:_SHOWN]) for ms, words in _DURATION.findall(said.read().decode())]
        commits = [one for one in commands if one.words.startswith("COMMIT")]
        longest.commit = max([Command(), *commits])
        longest.statement = max([Command(), *(one for one in commands if one not in commits)])


def _read_slowlog(stage: Stage) -> Iterator[Command]:
    scripts = {hashlib.sha1(path.read_bytes()).hexdigest(): path.name for path in _scripts()}
    sources = {path.read_bytes()[:60]: path.name for path in _scripts()}
    for entry in stage.redis.slowlog_get(_KEPT):
        name, *rest = entry["command"].split(b" ", 1)
        argument = rest[0] if rest else b""
        script = scripts.get(argument[:40].decode(errors="replace")) or sources.get(argument[:60])
        yield Command(entry["duration"] / 1000, f"{name.decode()} {script or ''}".strip())


def _scripts() -> Iterator[Path]:
    return Path(worker68.__file__).parent.rglob("*.lua")


def _begin_log(engine: Engine) -> Path:
    """Let the server log what takes long; return the file where it does (``tests.parts.postgres``)."""
    administer(engine, f"ALTER SYSTEM SET log_min_duration_statement = {LEAST_MILLISECONDS}", "SELECT pg_reload_conf()")
    with reading(engine) as connection:
        data = Path(str(connection.scalar(text("SHOW data_directory"))))
    return data.parent / "postgres.log"
