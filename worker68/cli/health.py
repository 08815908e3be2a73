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
from collections.abc import Sequence
from typing import Any, BinaryIO, Final, cast

from worker68.broker.url import Login, RedisAddress, make_tls_context, read_redis_url

#: The file is touched every 5 s, by a thread that may be kept waiting for a database for some more.
OLDEST_SECONDS: Final = 20.0
#: A worker lists itself as often.
REDIS_SECONDS: Final = 0.3
#: The next sentinel is asked where one does not answer within this.
SENTINEL_SECONDS: Final = 0.1
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
    file = settings.get("HEALTH_FILE", "off")
    if file != "off":
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
        address = read_redis_url(url)
    except ValueError as problem:
        raise Unusable(f"WORKER68_REDIS_URL: {problem}") from None
    here = socket.gethostname()[:80]
    since = time.time() - OLDEST_SECONDS
    try:
        names = ask(address, b"ZRANGEBYSCORE", ROSTER_KEY, str(since).encode(), b"+inf")
    except (OSError, ValueError) as error:
        return False, f"Redis does not answer ({error}); set WORKER68_HEALTH_FILE for an answer without it"
    mine = [name for name in map(bytes.decode, names) if name.rpartition("-")[0] == here]
    if mine:
        return True, f"worker {mine[0]} is well"
    return False, f"no worker of {here} has said within {OLDEST_SECONDS:.0f} s that it is well"


def ask(address: RedisAddress, *command: bytes) -> Any:
    """Return Redis's answer to one command. Raises ``OSError``, or ``ValueError`` with what Redis says against it."""
    select = [[b"SELECT", b"%d" % address.database]] if address.database else []
    host = address.hosts[0] if address.master is None else find_master(address, address.master.encode())
    return ask_server(host, address.tls, [*log_in(address.login), *select, command], REDIS_SECONDS)


def find_master(address: RedisAddress, name: bytes) -> tuple[str, int]:
    """Return where the first sentinel that answers sees the master. Raises ``OSError`` or ``ValueError``."""
    problem: Exception = ValueError("no sentinel knows the master")
    question = [*log_in(address.sentinel_login), [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name]]
    for sentinel in address.hosts:
        try:
            if found := ask_server(sentinel, address.tls, question, SENTINEL_SECONDS):
                return found[0].decode(), int(found[1])
        except (OSError, ValueError) as error:
            problem = error
    raise problem


def log_in(login: Login) -> list[list[bytes]]:
    """Return the command to log in, if there is a password."""
    words = [word.encode() for word in (login.username, login.password) if word is not None]
    return [[b"AUTH", *words]] if login.password is not None else []


def ask_server(
    host: tuple[str, int], tls: dict[str, str] | None, commands: Sequence[Sequence[bytes]], seconds: float
) -> Any:
    """Return the answer to the last of these commands; the ones before must not be refused."""
    connection: socket.socket = socket.create_connection(host, seconds)
    with connection:
        if tls is not None:
            connection = make_tls_context(tls).wrap_socket(connection, server_hostname=host[0])
        with connection, connection.makefile("rwb") as stream:
            for words in commands:
                stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
            stream.flush()
            return [read_answer(cast(BinaryIO, stream)) for _ in commands][-1]


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
