"""The servers that demos and tests start for themselves: they answer, survive what they should, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.integration.impatience import be_impatient
from tests.parts.postgres import PostgresServer
from tests.parts.processes import is_running, start_parent, wait_until_gone
from worker68 import embedded
from worker68.embedded import EmbeddedRedis, find_redis_server
from worker68.errors import ServerNotFound


def connect(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url, socket_timeout=60, retry=Retry(NoBackoff(), 0))


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(append_only=True) as started:
        yield started


class TestEmbeddedRedis:
    def test_is_set_up_as_production_asks(self, server: EmbeddedRedis) -> None:
        with connect(server) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
            assert client.config_get("save") == {"save": ""}
            assert client.config_get("appendfsync") == {"appendfsync": "no"}  # everysec can lose what it has answered

    def test_data_outlives_a_kill(self, server: EmbeddedRedis) -> None:
        url = server.url
        with connect(server) as client:
            client.set("key", "value")
        server.kill()
        with connect(server) as client, pytest.raises(redis.ConnectionError):
            client.ping()
        server.restart()
        assert server.url == url
        with connect(server) as client:
            assert client.get("key") == b"value"

    def test_paused_server_is_silent_until_resumed(self, server: EmbeddedRedis) -> None:
        with connect(server) as client:
            client.ping()
            be_impatient(client)
            server.pause()
            with pytest.raises(redis.TimeoutError):
                client.ping()
            server.resume()
        with connect(server) as client:
            assert client.ping()

    @pytest.mark.parametrize("fault", [EmbeddedRedis.kill, EmbeddedRedis.pause])
    def test_reset_mends_what_a_test_broke(self, server: EmbeddedRedis, fault: object) -> None:
        with connect(server) as client:
            client.set("key", "value")
        assert callable(fault)
        fault(server)
        server.reset()
        with connect(server) as client:
            assert client.dbsize() == 0

    def test_stop_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        server = EmbeddedRedis()
        server.start()
        pid = server.pid
        assert list(tmp_path.iterdir())
        server.stop()
        server.stop()
        assert not is_running(pid)
        assert not list(tmp_path.iterdir())

    def test_another_port_is_tried_where_one_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pick = embedded._pick_port
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ports = iter([taken.getsockname()[1], pick()])
            monkeypatch.setattr(embedded, "_pick_port", lambda: next(ports))
            with EmbeddedRedis() as server, connect(server) as client:
                assert client.ping()
        assert next(ports, None) is None

    def test_outlives_the_thread_that_started_it(self) -> None:
        server = EmbeddedRedis()
        starter = threading.Thread(target=server.start)
        starter.start()
        starter.join()
        try:
            with connect(server) as client:
                assert client.ping()
                assert client.time()
        finally:
            server.stop()

    def test_dies_with_its_parent(self, tmp_path: Path) -> None:
        program = (
            "from worker68.embedded import EmbeddedRedis as R; r = R(); r.start(); print(r.pid, flush=True); input()"
        )
        parent = start_parent(program, {"TMPDIR": str(tmp_path)})
        with parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            assert is_running(pid)
            parent.kill()
        wait_until_gone(pid)

    def test_ctrl_c_does_not_reach_it(self, server: EmbeddedRedis) -> None:
        assert os.getpgid(server.pid) != os.getpgrp()


class TestFindRedisServer:
    @pytest.fixture
    def candidates(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
        made = {}
        for name, line in {
            "broken": "echo cannot >&2; exit 127",
            "old": "echo 'Redis server v=5.0.14 sha=0'",
            "strange": "echo hello",
            "good": "echo 'Valkey server v=8.1.1 sha=0'",
        }.items():
            made[name] = tmp_path / name
            made[name].write_text(f"#!/bin/sh\n{line}\n")
            made[name].chmod(0o755)
        made["absent"] = tmp_path / "absent"
        monkeypatch.setattr(embedded, "_candidates", lambda: made.values())
        return made

    def test_the_first_that_runs_and_is_new_enough(self, candidates: dict[str, Path]) -> None:
        assert find_redis_server() == candidates["good"]

    def test_none_says_why_and_what_to_install(self, candidates: dict[str, Path]) -> None:
        del candidates["good"]
        with pytest.raises(ServerNotFound, match=r"old: too old, 5\.0.*strange: .*absent.*install .*redis-server"):
            find_redis_server()


class TestPostgresServer:
    def test_databases_are_separate_and_dropped(self, postgres_server: PostgresServer) -> None:
        with postgres_server.database() as first, postgres_server.database() as second:
            assert first != second
            with psycopg.connect(first.replace("+psycopg", "")) as connection:
                connection.execute("CREATE TABLE here (id int)")
            with psycopg.connect(second.replace("+psycopg", "")) as connection:
                assert connection.execute("SELECT to_regclass('here')").fetchone() == (None,)
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(first.replace("+psycopg", ""))

    def test_commits_outlive_a_kill(self, postgres_server: PostgresServer, postgres_url: str) -> None:
        plain = postgres_url.replace("+psycopg", "")
        with psycopg.connect(plain) as connection:
            connection.execute("CREATE TABLE here AS SELECT 1 AS id")
            connection.commit()
            postgres_server.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        postgres_server.restart()
        with psycopg.connect(plain) as connection:
            assert connection.execute("SELECT id FROM here").fetchone() == (1,)
            assert connection.execute("SHOW fsync").fetchone() == ("on",)

    def test_dies_with_its_parent(self) -> None:
        program = (
            "from tests.parts.postgres import PostgresServer as P; p = P(); p.start(); "
            "print(p._process.pid, p._directory, flush=True); input()"
        )
        parent = start_parent(program, {})
        with parent:
            assert parent.stdout is not None
            pid, directory = parent.stdout.readline().split()
            parent.kill()
        wait_until_gone(int(pid))
        shutil.rmtree(directory)
