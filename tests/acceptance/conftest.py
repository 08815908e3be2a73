"""The stage of the acceptance tests: a real worker between a real Redis, a real database and a simulated bridge.

The tests speak to the worker only as other systems do: Celery messages and JSON into Redis, replies and results out of it, and the
tables that others may read. One worker serves all tests of a module; each test has its own texts, reply names and job ids.
"""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest
import redis
import structlog
from celery import Celery
from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult
from click.testing import CliRunner, Result
from kombu import pools
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from tests.parts.nursery import ForkedWorker, Nursery
from tests.parts.postgres import PostgresServer
from tests.parts.sabotage import Sabotage
from tests.parts.worker import PATIENCE_SECONDS, WorkerProcess, wait_until
from worker68.cli.main import main
from worker68.embedded import EmbeddedRedis
from worker68.fleet.members import WORDS_KEY
from worker68.simulator import Simulator
from worker68.store.migration import upgrade

SEND, MUTE, SYNC = "worker68.send_message", "worker68.mute_member", "worker68.sync_groups"

#: In the simulator's world: the account may moderate this group; this friend and this group can be written to.
GROUP, MEMBER = 389284, 7128348
GROUP_CHAT = {"type": "group", "id": GROUP}

#: Timeouts that are short, but longer than a crowded machine takes for an answer of the simulator; no limits that matter.
SETTINGS: dict[str, object] = {
    "VERDICT_TIMEOUT": 4,
    "REPLY_TIMEOUT": 2.5,
    "LIMITS": json.dumps(dict.fromkeys(("account", "chat", "send", "moderate", "read"), "1000/s+1000")),
}


#: Quick, but long enough for a test to act between the write and the verdict where it sets a longer one.
VERDICT_DELAY_SECONDS = 0.05


class Stage:
    """Everything around one worker, and a producer's view of it. ``bridge`` is the one of the account ``main``."""

    def __init__(
        self, folder: Path, redis_server: EmbeddedRedis, database_url: str, bridges: dict[str, Simulator]
    ) -> None:
        self.redis_server = redis_server
        self.bridges = bridges
        self.bridge = bridges["main"]
        self._connect()
        self.database_url = database_url
        self.database: Engine = create_engine(database_url, poolclass=NullPool)
        settings = SETTINGS | {
            "REDIS_URL": redis_server.url,
            "DATABASE_URL": database_url,
            "BRIDGE_URL": self.bridge.url,
        }
        self.worker = WorkerProcess(settings, folder / "worker.log")
        self._others: list[WorkerProcess] = []

    def _connect(self) -> None:
        url = self.redis_server.url
        self.redis = redis.Redis.from_url(url, decode_responses=True, socket_timeout=2 * PATIENCE_SECONDS)
        self.celery = Celery("producer", broker=url, backend=url, set_as_current=False)

    def reconnect(self) -> None:
        """Forget the producer's connections, which a restart of Redis has cut."""
        self._disconnect()
        pools.reset()
        self._connect()

    def close(self) -> None:
        for worker in (self.worker, *self._others):
            worker.kill()
        self._disconnect()
        self.database.dispose()

    def _disconnect(self) -> None:
        self.celery.backend.result_consumer.stop()
        # A result that is collected only now must not try to unsubscribe from a Redis that is gone.
        self.celery.backend.result_consumer.subscribed_to.clear()
        self.celery.backend.client.close()
        self.celery.close()
        self.redis.close()

    def second_worker(self) -> WorkerProcess:
        """Return another worker of the same settings, not started yet; it ends with the stage."""
        log = self.worker.log_file.with_name(f"worker-{len(self._others) + 2}.log")
        self._others.append(WorkerProcess(self.worker.settings, log))
        return self._others[-1]

    # What a producer does

    def send_task(self, task: str, queue: str = "worker68.main", *, options: Any = None, **fields: Any) -> AsyncResult:
        """Ask for a job through Celery; ``options`` are those of ``send_task``."""
        return self.celery.send_task(task, queue=queue, kwargs=fields, **(options or {}))

    def send(self, words: str, **fields: Any) -> AsyncResult:
        """Ask for a message to the usual group, unless ``fields`` say otherwise."""
        return self.send_task(SEND, **{"chat": GROUP_CHAT, "text": words, **fields})

    def push(self, message: Any, queue: str = "worker68.main") -> None:
        """Push a message as a producer without Celery would: bytes as they are, anything else as JSON."""
        self.redis.lpush(queue, message if isinstance(message, bytes | str) else json.dumps(message))

    def run(self, task: str, queue: str = "worker68.main", **fields: Any) -> dict[str, Any]:
        """Ask for a job by its task's short name, and return the reply once it has ended."""
        return self.end_of(self.send_task(f"worker68.{task}", queue, **fields))

    # What comes back

    def end_of(self, result: AsyncResult, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Return the reply that Celery's result holds, however the job ended."""
        try:
            value = result.get(timeout=seconds, propagate=False)
        except CeleryTimeout:
            pytest.fail(f"no result of {result.id}: {self.worker.last_words}")
        reply: dict[str, Any] = value if isinstance(value, dict) else json.loads(value.args[0])
        return reply

    def stream(self, reply_to: str) -> list[dict[str, Any]]:
        """Return the entries of a reply stream."""
        entries: Any = self.redis.xrange(f"worker68:replies:{reply_to}:stream")
        return [fields for _, fields in entries]

    def take_reply(self, name: str) -> dict[str, Any]:
        """Take the next reply from a reply list."""
        taken = self.redis.blpop([f"worker68:replies:{name}"], timeout=PATIENCE_SECONDS)
        assert taken is not None, f"no reply at {name}: {self.worker.last_words}"
        reply: dict[str, Any] = json.loads(taken[1])
        return reply

    def row(self, job_id: str, account: str = "main") -> dict[str, Any] | None:
        """Return the job's row, None if there is none."""
        found = self.rows("SELECT * FROM jobs WHERE job_id = :job_id AND account = :account", job_id, account)
        return found[0] if found else None

    def rows(self, query: str, job_id: str = "", account: str = "main") -> list[dict[str, Any]]:
        with self.database.connect() as connection:
            rows = connection.execute(text(query), {"job_id": job_id, "account": account} if ":" in query else {})
            return [dict(row) for row in rows.mappings()]

    def dead(self, marker: str) -> list[dict[str, Any]]:
        """Return what was set aside and holds the marker."""
        return [json.loads(entry) for entry in self.redis.lrange("worker68:dead", 0, -1) if marker in entry]

    # What the bridge saw

    def sent(self, words: str, bridge: Simulator | None = None) -> int:
        """Return how many messages with this text went out to a chat."""
        return sum(message.text == words for message in (bridge or self.bridge).sent)

    def wait_for_sent(self, mark: str, count: int) -> None:
        """Wait until at least so many messages with ``mark`` in them went out."""
        self.wait(lambda: sum(mark in message.text for message in self.bridge.sent) >= count)

    def frames(self, words: str, bridge: Simulator | None = None) -> list[dict[str, Any]]:
        """Return the frames of sends with this text that reached the bridge, whatever became of them."""
        frames = [one.frame for one in (bridge or self.bridge).received]
        return [frame for frame in frames if frame["type"] == "sendMsg" and text_of(frame) == words]

    def calls(self, call_type: str, bridge: Simulator | None = None) -> list[dict[str, Any]]:
        """Return the data of the calls of the service's API, by the type of the call."""
        calls = [one.frame["data"] for one in (bridge or self.bridge).received if one.frame["type"] == "request"]
        return [call.get("data", {}) for call in calls if call["type"] == call_type]

    def mutes(self, seconds: int) -> list[dict[str, Any]]:
        """Return the data of the calls that asked for a mute of so many seconds."""
        return [call for call in self.calls("GroupMemberShutup") if call["shutupTime"] == seconds]

    def wait(self, condition: Callable[[], Any]) -> Any:
        return self.worker.wait(condition)

    def wait_until_stopping(self) -> None:
        """Wait until the only worker, which was asked to stop, begins nothing any more: then it is no member of the fleet."""
        self.wait(lambda: not self.redis.hlen(WORDS_KEY))

    def hold_replies(self, account: str = "main") -> None:
        """Hold the replies of an account's bridge from now on; what the worker asks of it at first is answered before."""
        assert self.run("get_api_url", f"worker68.{account}")["status"] == "succeeded"
        self.bridges[account].faults.hold_replies = True

    # Who owns what

    def owners(self) -> dict[str, str]:
        """Return the worker that holds each account, as far as one does."""
        values: Any = self.redis.mget([f"worker68:lease:account:{account}" for account in self.bridges])
        held = zip(self.bridges, values, strict=True)
        return {account: value.partition("|")[0] for account, value in held if value is not None}

    def check_connections(self) -> None:
        """No account has had two open connections at the same moment since this was last asked."""
        for account, bridge in self.bridges.items():
            assert bridge.take_overlaps() == [], f"two connections of {account}: {self.worker.last_words}"

    @contextmanager
    def cut_off(self, why: str) -> Iterator[None]:
        """Within the block an owner may lose its lease without noticing it, and so keep its connection: ``why``, in words.

        Its successor's connection may be beside it until the block ends, but from its greeting on nothing comes over the older one.
        """
        self.check_connections()
        yield
        bridges = self.bridges.values()
        wait_until(lambda: all(bridge.connections <= 1 for bridge in bridges), lambda: f"two connections last: {why}")
        overlaps = [(bridge, overlap) for bridge in bridges for overlap in bridge.take_overlaps()]
        assert overlaps, "no two connections were open at the same moment: this test is like all others"
        for bridge, overlap in overlaps:
            late = [one for one in bridge.received if one.connection == overlap.older and one.at > overlap.at]
            assert late == [], f"the old owner writes: {why}"


class StageMaker(Protocol):
    def __call__(
        self,
        database: str = "sqlite",
        *,
        tables: bool = True,
        kind: Literal["new", "old"] = "new",
        accounts: dict[str, dict[str, Any]] | None = None,
        **settings: Any,
    ) -> Stage: ...


def text_of(frame: dict[str, Any]) -> str:
    """Return the text of the message that a frame sends."""
    content: str = frame["data"]["list"][0]["values"]["content"]
    return content


def name(prefix: str = "x") -> str:
    """Return a name that nobody else uses: for texts, reply lists and job ids."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def envelope(task: str, kwargs: Any, *, task_id: str | None = None, **headers: Any) -> dict[str, Any]:
    """Return the least that a producer without Celery must write: protocol 2 with the body as plain JSON."""
    return {
        "headers": {"task": task, "id": task_id or str(uuid.uuid4()), **headers},
        "content-type": "application/json",
        "body": json.dumps([[], kwargs, {}]),
    }


def end_of(stage: Stage, worker: ForkedWorker | WorkerProcess, result: AsyncResult) -> dict[str, Any]:
    """Return the reply that Celery's result holds, of a job that ``worker`` runs in place of the stage's own."""
    wait_until(result.ready, lambda: worker.last_words)
    return stage.end_of(result)


def check_consuming(stage: Stage, worker: ForkedWorker | WorkerProcess) -> None:
    """A job goes through, the doorbell is hung up, remote control answers."""
    words = name()
    assert end_of(stage, worker, stage.send(words))["status"] == "succeeded"
    assert stage.sent(words) == 1
    wait_until(lambda: int(stage.redis.info("clients").get("tracking_clients", 0)) >= 1, lambda: worker.last_words)
    wait_until(lambda: stage.celery.control.ping(timeout=1.0), lambda: worker.last_words)
    assert worker.running


@contextmanager
def beside(run: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """Let ``run`` go on in a thread while the block runs, until ``stop`` ends it."""
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()


def make_fleet(
    make_stage: StageMaker, nursery: Nursery, folder: Path, accounts: Sequence[str], count: int, verdict_after: float
) -> tuple[Stage, list[ForkedWorker]]:
    """Build a stage on PostgreSQL with these accounts beside ``main``, and so many workers that are not started yet."""
    stage = make_stage("postgresql", accounts={account: {} for account in accounts}, LEASE_TTL=8, VERDICT_TIMEOUT=20)
    for bridge in stage.bridges.values():
        bridge.faults.extra_verdict_delay_seconds = verdict_after
    workers = [nursery.worker(stage.worker.settings, folder / f"worker-{number}.log") for number in range(count)]
    return stage, workers


def start_front_and_main(
    stage: Stage, front: ForkedWorker, main: ForkedWorker, sabotage_of_front: Sabotage | None = None
) -> None:
    """Let one worker own the front door, and the other one the account, which has a label that only this one serves."""
    for worker in (front, main):
        worker.settings["ACCOUNTS"] = json.dumps({"main": {"label": "ours"}})
    main.settings["LABELS"] = json.dumps(["ours"])
    front.start(sabotage_of_front)
    front.wait(lambda: '"lease": "front"' in front.log_since_start)
    main.start()
    main.wait(lambda: '"lease": "account:main"' in main.log_since_start)


Ask = Callable[..., Result]


@pytest.fixture
def ask(stage: Stage) -> Iterator[Ask]:
    """Run a command with the settings of the stage's worker; in this process, because a start costs a second."""
    handlers = logging.getLogger().handlers[:]
    env = {f"WORKER68_{name}": str(value) for name, value in stage.worker.settings.items()}
    yield lambda *words: CliRunner(env=env).invoke(main, words)
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    """All stages of the module so far."""
    return []


@pytest.fixture(autouse=True)
def never_two_writers(stages: list[Stage]) -> Iterator[None]:
    """Every test is one of this, too; what cannot keep it says so by ``Stage.cut_off``."""
    yield
    for stage in stages:
        stage.check_connections()


@pytest.fixture(scope="module")
def make_stage(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, stages: list[Stage]
) -> Iterator[StageMaker]:
    """Build stages whose worker is not started yet.

    ``database``: ``sqlite``, ``postgresql``, or a URL. ``accounts``: tables of accounts beside ``main``; each gets a bridge of its
    own. ``settings``: by their names in the contract.
    """
    with ExitStack() as stack:

        def make(
            database: str = "sqlite",
            *,
            tables: bool = True,
            kind: Literal["new", "old"] = "new",
            accounts: dict[str, dict[str, Any]] | None = None,
            **settings: Any,
        ) -> Stage:
            folder = tmp_path_factory.mktemp("stage")
            url = database if "://" in database else f"sqlite:///{folder / 'worker68.db'}"
            if database == "postgresql":
                server: PostgresServer = request.getfixturevalue("postgres_server")
                server.ensure_running()
                url = stack.enter_context(server.database())
            if tables:
                upgrade(url)
            redis_server = stack.enter_context(EmbeddedRedis(append_only=True))
            bridges = {
                account: stack.enter_context(
                    Simulator(kind=kind, heartbeat_seconds=0.5, verdict_delay_seconds=VERDICT_DELAY_SECONDS)
                )
                for account in ("main", *(accounts or {}))
            }
            stage = Stage(folder, redis_server, url, bridges)
            stack.callback(stage.close)
            if accounts:
                tables_of = {name: {"bridge_url": bridges[name].url} | table for name, table in accounts.items()}
                stage.worker.settings["ACCOUNTS"] = json.dumps(tables_of)
            stage.worker.settings.update(settings)
            stages.append(stage)
            return stage

        yield make


@pytest.fixture(scope="module")
def shared_stage(make_stage: StageMaker, request: pytest.FixtureRequest) -> Stage:
    """The stage of a module, its worker running. A module parametrizes this with databases, and sets more in ``STAGE``."""
    stage = make_stage(getattr(request, "param", "sqlite"), **getattr(request.module, "STAGE", {}))
    stage.worker.start()
    stage.worker.wait_ready()
    return stage


@pytest.fixture
def stage(shared_stage: Stage) -> Iterator[Stage]:
    """The module's stage, its bridges healthy again after each test."""
    yield shared_stage
    for bridge in shared_stage.bridges.values():
        bridge.faults.clear()
