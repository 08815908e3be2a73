"""Real servers and databases for the tests. One that cannot start fails the test that asks for it: nothing is skipped."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.parts.ledger import Ledger, open_ledger
from tests.parts.pipelines import refuse_pipelines
from tests.parts.postgres import SERVER_OPTIONS, PostgresServer
from worker68.embedded import EmbeddedRedis
from worker68.observe.outages import Outage

# No deadline, and no look at how fast examples are made: the machine is shared. In CI the same examples every time, so that a
# red run can be repeated.
settings.register_profile(
    "worker68",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=100,
    derandomize=os.environ.get("CI") == "true",
    print_blob=True,
)
settings.load_profile("worker68")

refuse_pipelines()


@pytest.fixture(autouse=True)
def logs_of_its_own() -> Iterator[None]:
    """What a test's command says of logs holds for that test alone: the next one may want to see lines of any level."""
    yield
    structlog.reset_defaults()


_outages: dict[str, list[Outage]] = {}


@pytest.fixture(autouse=True)
def outages_of_its_own() -> None:
    """End what earlier tests of this process have left away or failing: its end would be a line in the log of this one."""
    for name in [name for name in sys.modules if name.startswith("worker68") and name not in _outages]:
        _outages[name] = [value for value in vars(sys.modules[name]).values() if isinstance(value, Outage)]
    for outage in (one for found in _outages.values() for one in found):
        outage._failing.clear()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """A Redis for the whole run. A test that kills or pauses it need not repair it: ``redis_url`` does before the next one."""
    with EmbeddedRedis(append_only=True) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The URL of a Redis that is running and empty."""
    redis_server.reset()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for the whole run. A test that kills it need not repair it: ``postgres_url`` does before the next one.

    What it believes of its tables, and with that the order of rows where none is asked for, changes only where a test says so.
    """
    with PostgresServer((*SERVER_OPTIONS, "-c", "autovacuum=off")) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy URL of an empty PostgreSQL database of this test's own."""
    postgres_server.ensure_running()
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The SQLAlchemy URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'worker68.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The test runs twice, on an empty SQLite and on an empty PostgreSQL database."""
    name = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """The tables, empty, on SQLite and on PostgreSQL: the test runs twice."""
    if request.param == "sqlite":
        with open_ledger(request.getfixturevalue("sqlite_url")) as ledger:
            yield ledger
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    server.ensure_running()
    with server.tables() as url, open_ledger(url, has_tables=True) as ledger:
        yield ledger
