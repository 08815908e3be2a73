"""A Redis with a replica, and a sentinel that watches both: a failover as in production, on one machine.

In: a running master. Out: a URL that leads to whichever of the two is the master now. Replica and sentinel die with the tests.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import redis

from tests.parts.worker import wait_until
from worker68.child import end_process, start_child
from worker68.embedded import EmbeddedRedis, find_redis_server

NAME: Final = "mymaster"
#: A server that does not answer for so long is down, and the sentinel promotes the replica. In milliseconds: long, so that a slow
#: machine causes no failover; short while a test waits for one.
_PATIENT: Final = 60_000
_HASTY: Final = 1_500
#: One sentinel, which decides alone.
_CONFIG: Final = """
port {port}
bind 127.0.0.1
sentinel monitor {name} 127.0.0.1 {master} 1
sentinel down-after-milliseconds {name} {patience}
sentinel failover-timeout {name} 5000
"""


@dataclass(frozen=True)
class Pair:
    """``replica`` becomes the master when ``master`` is gone. The URL's first sentinel is not there; the second one is."""

    master: EmbeddedRedis
    replica: EmbeddedRedis
    sentinel_port: int

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel_port}/{NAME}/0"

    def fail_over(self) -> None:
        """Kill the master, and wait until the sentinel names the replica."""
        self.master.kill()
        self.wait_for_master(self.replica)

    def wait_for_master(self, server: EmbeddedRedis) -> None:
        """Let the sentinel look for a failure; wait until it names this server, and the server knows it."""
        with connect(f"redis://127.0.0.1:{self.sentinel_port}") as sentinel, connect(server.url) as client:
            sentinel.sentinel_set(NAME, "down-after-milliseconds", _HASTY)
            wait_until(lambda: _master_seen_by(sentinel) == _port_of(server))
            wait_until(lambda: client.info("replication")["role"] == "master")
            sentinel.sentinel_set(NAME, "down-after-milliseconds", _PATIENT)


@contextmanager
def watched(master: EmbeddedRedis) -> Iterator[Pair]:
    """Give this Redis a replica and a sentinel."""
    with (
        EmbeddedRedis(append_only=True) as replica,
        connect(replica.url) as client,
        tempfile.TemporaryDirectory(prefix="worker68-sentinel-") as folder,
    ):
        client.replicaof("127.0.0.1", str(_port_of(master)))
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")
        port = _free_port()
        process = _start_sentinel(Path(folder), port, _port_of(master))
        try:
            with connect(f"redis://127.0.0.1:{port}") as sentinel:
                wait_until(lambda: _replicas_seen_by(sentinel))
            yield Pair(master, replica, port)
        finally:
            end_process(process, signal.SIGKILL)


def _start_sentinel(folder: Path, port: int, master_port: int) -> subprocess.Popen[bytes]:
    config = folder / "sentinel.conf"
    config.write_text(_CONFIG.format(port=port, name=NAME, master=master_port, patience=_PATIENT))
    return start_child([find_redis_server(), config, "--sentinel"], folder / "sentinel.log")


def connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, protocol=2, socket_timeout=60)


def _replicas_seen_by(sentinel: redis.Redis) -> Any:
    try:
        return sentinel.sentinel_slaves(NAME)
    except redis.ConnectionError:
        return None


def _master_seen_by(sentinel: redis.Redis) -> int:
    state: Any = sentinel.sentinel_masters()
    return int(state[NAME]["port"])


def _port_of(server: EmbeddedRedis) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
