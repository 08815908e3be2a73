"""``worker68 health``: is the worker of this host or container well? For health checks, which ask every few seconds.

In: HEALTH_FILE, whose age says it; without one, Redis, where each worker is listed that was well lately. Out: exit code 0 or 1 and
a line; 2 for wrong settings. Never: an import that takes long. Of worker68 it imports the reader of REDIS_URL alone. It speaks to
Redis by itself, in the few commands that it needs: redis-py alone takes longer to import than all of this may take.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any, BinaryIO, Final, cast
from urllib.parse import unquote, urlsplit

from worker68.broker.url import check_redis_url, make_tls_context

#: The file is touched every 5 s, by a thread that may be kept waiting for a database for some more.
OLDEST_SECONDS: Final = 20.0
#: A worker lists itself as often.
REDIS_SECONDS: Final = 0.3
ROSTER_KEY: Final = b"worker68:workers"


class Unusable(Exception):
    """What is wrong with the question, and what to do."""


def main(as_json: bool) -> int:
    """Say whether the worker is well; return the exit code."""
    try:
        well, words = look()
    except Unusable as problem:
        print(f"worker68: {problem}", file=sys.stderr)
        return 2
    if as_json:
        import json

        print(json.dumps({"healthy": well, "found": words}))
    elif well:
        print(f"healthy: {words}")
    else:
        print(f"worker68: not healthy: {words}", file=sys.stderr)
    return 0 if well else 1


def look() -> tuple[bool, str]:
    """Return whether the worker is well, and what was found."""
    settings = read_settings("HEALTH_FILE", "REDIS_URL")
    if file := settings.get("HEALTH_FILE"):
        return look_at_file(file)
    if url := settings.get("REDIS_URL"):
        return look_into_redis(url)
    raise Unusable("neither WORKER68_HEALTH_FILE nor WORKER68_REDIS_URL is set: set what the worker has")


def read_settings(*names: str) -> dict[str, str]:
    """Return these settings as they stand in the environment or else in the file of WORKER68_CONFIG."""
    found = {name: value for name in names if (value := os.environ.get(f"WORKER68_{name}"))}
    path = os.environ.get("WORKER68_CONFIG")
    if path and len(found) < len(names):
        import tomllib

        try:
            with open(path, "rb") as file:
                table = {name.upper(): value for name, value in tomllib.load(file).items()}
        except (OSError, ValueError) as error:
            raise Unusable(f"WORKER68_CONFIG names {path!r}, which cannot be read: {error}") from None
        found = {name: str(table[name]) for name in names if table.get(name)} | found
    return found


def look_at_file(file: str) -> tuple[bool, str]:
    try:
        age = time.time() - os.stat(file).st_mtime
    except OSError as error:
        return False, f"{file}: {error.strerror}; no worker runs, or it has not been well yet (log `worker_unhealthy`)"
    if age <= OLDEST_SECONDS:
        return True, f"{file} was touched {max(age, 0.0):.0f} s ago"
    return False, f"{file} was touched {age:.0f} s ago: the worker is gone or ill (log `worker_unhealthy`)"


def look_into_redis(url: str) -> tuple[bool, str]:
    """Return whether a worker of this host is listed in Redis as well."""
    try:
        check_redis_url(url)
    except ValueError as problem:
        raise Unusable(f"WORKER68_REDIS_URL: {problem}") from None
    here = f"{socket.gethostname()[:80]}-".encode()
    since = time.time() - OLDEST_SECONDS
    try:
        names = ask(url, [b"ZRANGEBYSCORE", ROSTER_KEY, str(since).encode(), b"+inf"])
    except (OSError, ValueError) as error:
        return False, f"Redis does not answer ({error}); set WORKER68_HEALTH_FILE for an answer without it"
    mine = [name.decode() for name in names if name.startswith(here)]
    if mine:
        return True, f"worker {mine[0]} is well"
    return False, f"no worker of {here.decode()[:-1]} has said within {OLDEST_SECONDS:.0f} s that it is well"


def ask(url: str, command: list[bytes]) -> Any:
    """Return Redis's answer to one command. Raises ``OSError``, or ``ValueError`` with what Redis says against it."""
    parts = urlsplit(url)
    connection: socket.socket = socket.create_connection((parts.hostname or "", parts.port or 6379), REDIS_SECONDS)
    with connection:
        if parts.scheme == "rediss":
            connection = make_tls_context(url).wrap_socket(connection, server_hostname=parts.hostname)
        before = []
        if parts.password:
            names = [parts.username] if parts.username else []
            before.append([b"AUTH", *(unquote(word).encode() for word in (*names, parts.password))])
        if database := int(parts.path.strip("/") or 0):
            before.append([b"SELECT", b"%d" % database])
        with connection, connection.makefile("rwb") as stream:
            for words in (*before, command):
                stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
            stream.flush()
            return [read_answer(cast(BinaryIO, stream)) for _ in (*before, command)][-1]


def read_answer(stream: BinaryIO) -> Any:
    """Read one answer of RESP2: those that the commands above can get."""
    line = stream.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest
    if kind == b"-":
        raise ValueError(rest.decode(errors="replace"))
    if kind == b"*":
        return [read_answer(stream) for _ in range(int(rest))]
    if kind == b"$":
        return stream.read(int(rest) + 2)[:-2]
    raise ValueError("that is no Redis")
