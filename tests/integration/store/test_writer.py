"""The group commit: many writes in few transactions, and each one's failure its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from tests.parts.jobs import NOW, message
from tests.parts.ledger import FENCE, OWNER, SENT, Ledger
from worker68.errors import DatabaseAway
from worker68.jobs.job import Job
from worker68.store.statements import attempts
from worker68.store.statements.attempts import Attempt
from worker68.store.tables import attempts as attempts_table
from worker68.store.writer import GROUP_LIMIT, Writer


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
        with self.held_up():
            waiting = [self._threads.submit(self._writer.write, work) for work in works]
            pause = threading.Event()
            while self._writer._waiting.qsize() < len(works):
                pause.wait(0.001)
        return waiting

    @contextmanager
    def held_up(self) -> Iterator[None]:
        first = self._threads.submit(self._writer.write, self._wait)
        assert self._reached.wait(60)
        yield
        self._open.set()
        first.result(60)

    def _wait(self, _connection: Connection) -> None:
        self._reached.set()
        assert self._open.wait(60)


def test_many_writes_share_a_transaction_and_each_gets_its_own_answer(
    ledger: Ledger, writer: Writer, threads: ThreadPoolExecutor
) -> None:
    made = ledger.arrive(*[message() for _ in range(30)])
    commits: list[object] = []
    event.listen(ledger.engine, "commit", commits.append)
    works = [begin(job) for job in made]
    waiting = Gate(writer, threads).write_together([*works, *works[:3]])
    assert [done.result(60) for done in waiting] == [True] * 33
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
    assert [waiting[place].result(60) for place in (0, 2, 4)] == [True] * 3
    with pytest.raises(LookupError, match="of its own"):
        waiting[1].result(60)
    with pytest.raises(Exception, match="SELEKT"):
        waiting[3].result(60)
    assert ledger.count(attempts_table) == 3
    assert writer.write(begin(made[3])) is True, "the writer goes on"


def test_a_write_may_run_twice_and_counts_once(ledger: Ledger, writer: Writer, threads: ThreadPoolExecutor) -> None:
    job = ledger.send(reply_to="orders")
    attempt = ledger.must_begin(job)

    def fail(_connection: Connection) -> object:
        raise LookupError

    settle: Callable[[Connection], object] = lambda connection: attempts.settle(connection, [(attempt, SENT)], NOW)[0]  # noqa: E731
    waiting = Gate(writer, threads).write_together([settle, fail, settle])
    assert sorted(str(waiting[place].result(60)) for place in (0, 2)) == ["False", "True"]
    assert len(ledger.replies()) == 1


class TestWhatIsHandedIn:
    """Nobody's thread waits for it: the writer's own tells what came of it."""

    def test_of_one_verb_is_done_by_one_call_of_it(
        self, ledger: Ledger, writer: Writer, threads: ThreadPoolExecutor
    ) -> None:
        calls: list[list[int]] = []

        def double(_connection: Connection, numbers: Sequence[int]) -> list[int]:
            calls.append(list(numbers))
            return [2 * number for number in numbers]

        heard = Heard()
        with Gate(writer, threads).held_up():
            for number in range(30):
                writer.hand_in(double, number, heard.of(number))
            assert heard.told.empty()
        assert [heard.told.get(timeout=180) for _ in range(30)] == [(number, 2 * number, None) for number in range(30)]
        assert calls == [list(range(30))]

    def test_tells_each_its_own_error_and_commits_the_others(
        self, ledger: Ledger, writer: Writer, threads: ThreadPoolExecutor
    ) -> None:
        made = ledger.arrive(*[message() for _ in range(3)])
        fault = LookupError("a fault of its own")

        def begin_all(connection: Connection, jobs: Sequence[Job]) -> Sequence[bool]:
            if made[1] in jobs:
                raise fault
            return attempts.begin(connection, [Attempt(job, 1, OWNER, FENCE) for job in jobs], NOW)

        heard = Heard()
        with Gate(writer, threads).held_up():
            for place, job in enumerate(made):
                writer.hand_in(begin_all, job, heard.of(place))
        told = [heard.told.get(timeout=180) for _ in made]
        assert told == [(0, True, None), (1, None, fault), (2, True, None)]
        assert ledger.count(attempts_table) == 2

    def test_is_told_only_after_the_commit(self, ledger: Ledger, writer: Writer) -> None:
        job = ledger.send()
        seen: queue.SimpleQueue[int] = queue.SimpleQueue()
        attempt = Attempt(job, 1, OWNER, FENCE)
        writer.hand_in(
            lambda connection, batch: attempts.begin(connection, batch, NOW),
            attempt,
            lambda *_: seen.put(ledger.count(attempts_table)),
        )
        assert seen.get(timeout=180) == 1

    def test_is_refused_where_the_writer_has_ended(self, ledger: Ledger) -> None:
        writer, heard = Writer(ledger.engine), Heard()
        writer.start()
        writer.stop()
        writer.hand_in(lambda connection, batch: batch, 1, heard.of(1))
        place, answer, error = heard.told.get(timeout=180)
        assert (place, answer, type(error), str(error)) == (1, None, DatabaseAway, "the writer is not running")

    def test_is_answered_also_where_the_writer_ends_meanwhile(self, ledger: Ledger) -> None:
        """Looked at from both sides: just before the put, and just after the thread's last look."""
        writer, heard = Writer(ledger.engine), Heard()
        waiting = writer._waiting
        put = waiting.put

        def end_first(write: Any) -> None:
            put(None)
            writer._thread.join()
            put(write)

        writer.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                writer, "_waiting", SimpleNamespace(put=end_first, get=waiting.get, get_nowait=waiting.get_nowait)
            )
            writer.hand_in(lambda connection, batch: batch, 1, heard.of(1))
        assert isinstance(heard.told.get(timeout=180)[2], DatabaseAway)


class Heard:
    """What the writer told, in its order."""

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[tuple[int, object, BaseException | None]] = queue.SimpleQueue()

    def of(self, place: int) -> Callable[[object, BaseException | None], None]:
        return lambda answer, error: self.told.put((place, answer, error))


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


def test_a_transaction_takes_so_many_writes_and_the_others_come_next_in_their_order(
    writer: Writer, threads: ThreadPoolExecutor
) -> None:
    groups: list[list[int]] = []
    told: queue.SimpleQueue[int] = queue.SimpleQueue()

    def note(_: Connection, numbers: Sequence[int]) -> Sequence[int]:
        groups.append(list(numbers))
        return numbers

    with Gate(writer, threads).held_up():
        for number in range(2 * GROUP_LIMIT + 1):
            writer.hand_in(note, number, lambda answer, _: told.put(answer))
    assert [told.get(timeout=180) for _ in range(2 * GROUP_LIMIT + 1)] == list(range(2 * GROUP_LIMIT + 1))
    assert [len(group) for group in groups] == [GROUP_LIMIT, GROUP_LIMIT, 1]
