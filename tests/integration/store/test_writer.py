"""The group commit: writes of many threads in few transactions, and each one's failure its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, event, text

from tests.parts.jobs import NOW, message
from tests.parts.ledger import FENCE, OWNER, SENT, Ledger
from worker68.errors import DatabaseAway
from worker68.jobs.job import Job
from worker68.store import attempts
from worker68.store.attempts import Attempt
from worker68.store.tables import attempts as attempts_table
from worker68.store.writer import Writer


@pytest.fixture
def writer(ledger: Ledger) -> Iterator[Writer]:
    writer = Writer(ledger.engine)
    writer.start()
    yield writer
    writer.stop()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as threads:
        yield threads


class Gate:
    """A first write that holds the writer up until the others wait behind it, so that they go in one group."""

    def __init__(self, writer: Writer, threads: ThreadPoolExecutor) -> None:
        self._writer = writer
        self._threads = threads
        self._open, self._reached = threading.Event(), threading.Event()

    def write_together(self, works: list[Callable[[Connection], object]]) -> list[Future[object]]:
        first = self._threads.submit(self._writer.write, self._wait)
        assert self._reached.wait(30)
        waiting = [self._threads.submit(self._writer.write, work) for work in works]
        pause = threading.Event()
        while self._writer._waiting.qsize() < len(works):
            pause.wait(0.001)
        self._open.set()
        first.result(30)
        return waiting

    def _wait(self, _connection: Connection) -> None:
        self._reached.set()
        assert self._open.wait(30)


def test_many_writes_share_a_transaction_and_each_gets_its_own_answer(
    ledger: Ledger, writer: Writer, threads: ThreadPoolExecutor
) -> None:
    made = ledger.arrive(*[message() for _ in range(30)])
    commits: list[object] = []
    event.listen(ledger.engine, "commit", commits.append)
    works = [begin(job) for job in made]
    waiting = Gate(writer, threads).write_together([*works, *works[:3]])
    assert [done.result(30) for done in waiting] == [True] * 33
    assert len(commits) == 2, "the gate's own and one for all that waited"
    assert ledger.count(attempts_table) == 30


def test_a_write_that_fails_fails_alone(ledger: Ledger, writer: Writer, threads: ThreadPoolExecutor) -> None:
    made = ledger.arrive(*[message() for _ in range(4)])

    def fail(_connection: Connection) -> object:
        raise LookupError("a fault of its own")

    def misspell(connection: Connection) -> object:
        return connection.execute(text("SELEKT 1"))

    works: list[Callable[[Connection], object]] = [begin(made[0]), fail, begin(made[1]), misspell, begin(made[2])]
    waiting = Gate(writer, threads).write_together(works)
    assert [waiting[place].result(30) for place in (0, 2, 4)] == [True] * 3
    with pytest.raises(LookupError, match="of its own"):
        waiting[1].result(30)
    with pytest.raises(Exception, match="SELEKT"):
        waiting[3].result(30)
    assert ledger.count(attempts_table) == 3
    assert writer.write(begin(made[3])) is True, "the writer goes on"


def test_a_write_may_run_twice_and_counts_once(ledger: Ledger, writer: Writer, threads: ThreadPoolExecutor) -> None:
    job = ledger.send(reply_to="orders")
    attempt = ledger.must_begin(job)

    def fail(_connection: Connection) -> object:
        raise LookupError

    settle: Callable[[Connection], object] = lambda connection: attempts.settle(connection, [(attempt, SENT)], NOW)[0]  # noqa: E731
    waiting = Gate(writer, threads).write_together([settle, fail, settle])
    assert sorted(str(waiting[place].result(30)) for place in (0, 2)) == ["False", "True"]
    assert len(ledger.replies()) == 1


def test_what_waits_is_written_before_the_writer_stops(ledger: Ledger) -> None:
    writer = Writer(ledger.engine)
    writer.start()
    assert writer.write(begin(ledger.send())) is True
    writer.stop()
    with pytest.raises(DatabaseAway, match="not running"):
        writer.write(begin(ledger.send()))


def begin(job: Job) -> Callable[[Connection], object]:
    attempt = Attempt(job, 1, OWNER, FENCE)
    return lambda connection: attempts.begin(connection, [attempt], NOW)[0]
