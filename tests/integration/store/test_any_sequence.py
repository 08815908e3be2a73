"""Whatever happens in whatever order: no job leaves the table of transitions, and each one can still be brought to its end.

Real statements on a real database. A trigger writes down every change of a state, whichever verb made it.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection, event, text

from tests.parts.jobs import MUTE, NOW, SEND, SYNC, message, mute_fields, send_fields
from tests.parts.ledger import FENCE, SENT, Ledger, open_ledger
from worker68.execution import recovery
from worker68.jobs.outcome import ErrorCode, cancelled, expired, failed, in_doubt
from worker68.jobs.retry import DEATHS_ALLOWED
from worker68.jobs.states import TRANSITIONS, Event, State
from worker68.store import waiting
from worker68.store.statements import attempts
from worker68.store.statements.attempts import Attempt

TASKS: dict[str, Callable[[], dict[str, Any]]] = {
    SEND: send_fields,
    MUTE: mute_fields,
    SYNC: dict,
    "worker68.mute_group": lambda: {"group_id": 389284},
}
ALLOWED = {(before, after) for (before, _), after in TRANSITIONS.items()}
OUTCOMES = [
    SENT,
    failed(ErrorCode.NOT_SENT, "not sent"),
    failed(ErrorCode.REFUSED, "no"),
    in_doubt(ErrorCode.NO_VERDICT, "?"),
]

#: SQLite tells of an update also where the state stays the same; a revision is one of those.
TRIGGER = """
CREATE TRIGGER watch AFTER UPDATE OF state ON jobs
BEGIN INSERT INTO watched VALUES (old.seq, old.state, new.state, old.revision, new.revision); END
"""


def _without_flushes(connection: Any, *_: Any) -> None:
    """Thousands of commits, none of which has to outlive a power cut."""
    connection.execute("PRAGMA synchronous = OFF")


class AnySequence(RuleBasedStateMachine):
    """Workers that begin, end and die, an operator, the clock and late evidence, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.ledger: Ledger = self.stack.enter_context(open_ledger(f"sqlite:///{Path(folder) / 'worker68.db'}"))
        self.fence = FENCE
        self.now = NOW
        self.seen: list[Attempt] = []
        event.listen(self.ledger.engine, "checkout", _without_flushes)
        self.run(lambda connection: connection.execute(text("CREATE TABLE watched (seq, old, new, before, after)")))
        self.run(lambda connection: connection.execute(text(TRIGGER)))

    def teardown(self) -> None:
        try:
            self.check_every_job_ends()
        finally:
            self.stack.close()

    def run(self, work: Callable[[Connection], Any]) -> Any:
        return self.ledger.run(work)

    def pick(self, data: st.DataObject) -> int:
        return int(data.draw(st.sampled_from([row.seq for row in self.ledger.rows()])))

    @initialize()
    def first(self) -> None:
        self.arrive(SEND, False)

    @rule(task=st.sampled_from(sorted(TASKS)), later=st.booleans())
    def arrive(self, task: str, later: bool) -> None:
        times = {"send_at": (self.now + dt.timedelta(hours=1)).timestamp()} if later else {}
        self.ledger.arrive(message(task, TASKS[task]() | {"reply_to": "orders"} | times), now=self.now)

    @rule()
    def time_passes(self) -> None:
        self.now += dt.timedelta(minutes=40)
        waiting.release_due(self.ledger.engine, "main", self.now)

    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Also jobs that are not ready, and under a fence that is over."""
        seq = self.pick(data)
        (job,) = waiting.load_jobs(self.ledger.engine, [seq])
        fence = data.draw(st.sampled_from([self.fence, self.fence - 1]))
        attempt = Attempt(job, job.attempts + 1, f"worker-{fence}", fence)
        if self._begin(attempt):
            self.seen.append(attempt)

    def _begin(self, attempt: Attempt) -> bool:
        begun: list[bool] = self.run(lambda connection: attempts.begin(connection, [attempt], self.now))
        return begun[0]

    @precondition(lambda self: self.seen)
    @rule(data=st.data(), how=st.sampled_from(["settle", "back_off", "give_back", "advance"]))
    def end(self, data: st.DataObject, how: str) -> None:
        """Also attempts that are long over: a thread that wakes after its lease, or a commit that is repeated."""
        attempt = data.draw(st.sampled_from(self.seen))
        outcome = data.draw(st.sampled_from(OUTCOMES))
        if how == "advance" and attempt.job.is_last_step:
            how = "settle"
        ends: dict[str, Callable[[Connection], Any]] = {
            "settle": lambda c: attempts.settle(c, [(attempt, outcome)], self.now),
            "back_off": lambda c: attempts.back_off(c, attempt, self.now, "busy", "busy", self.now),
            "give_back": lambda c: attempts.give_back(c, attempt),
            "advance": lambda c: attempts.advance(c, attempt, {"muted": True}, self.now),
        }
        self.run(ends[how])

    @rule()
    def the_owner_dies(self) -> None:
        self.fence += 1
        self.run(self._resolve)

    def _resolve(self, connection: Connection) -> None:
        begun = [job for job in attempts.find_begun(connection, "main") if job.fence < self.fence]
        attempts.resolve(connection, begun, recovery.is_repeatable, self.now)

    @rule(data=st.data(), how=st.sampled_from([Event.EXPIRE, Event.CANCEL, Event.REFUSE]))
    def end_waiting(self, data: st.DataObject, how: Event) -> None:
        outcome = {Event.EXPIRE: expired("late"), Event.CANCEL: cancelled("by hand")}.get(how, OUTCOMES[2])
        waiting.end_waiting(self.ledger.engine, [self.pick(data)], how, outcome, self.now)

    @rule(data=st.data(), proof=st.sampled_from([attempts.revise, attempts.prove]))
    def late_evidence(self, data: st.DataObject, proof: Callable[..., bool]) -> None:
        seq = self.pick(data)
        self.run(lambda connection: proof(connection, seq, SENT, self.now))

    @invariant()
    def nothing_leaves_the_table(self) -> None:
        changes = self.run(lambda connection: connection.execute(text("SELECT * FROM watched")).all())
        assert {(State(row.old), State(row.new)) for row in changes} <= ALLOWED
        assert all(row.after in (row.before, row.before + 1) for row in changes)

    @invariant()
    def an_end_is_one_end(self) -> None:
        """One reply for each revision, and none before the end."""
        told: dict[str, list[int]] = {}
        for _, reply in self.ledger.replies():
            told.setdefault(reply["job_id"], []).append(reply["revision"])
        for row in self.ledger.rows():
            assert (row.status is not None) == (row.state == State.ENDED)
            assert told.get(row.job_id, []) == list(range(1, row.revision + 1))

    def check_every_job_ends(self) -> None:
        """If only deaths came from here on, every job would end, within so many owners and without help."""
        for death in range(2 * DEATHS_ALLOWED):
            open_ = [row for row in self.ledger.rows() if row.state != State.ENDED]
            assert death < 2 * DEATHS_ALLOWED - 1 or not open_
            self.now += dt.timedelta(hours=2)
            waiting.release_due(self.ledger.engine, "main", self.now)
            for job in self.ledger.load():
                assert self._begin(Attempt(job, job.attempts + 1, "the next", self.fence))
            self.the_owner_dies()
        self.nothing_leaves_the_table()
        self.an_end_is_one_end()


AnySequence.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnySequence = AnySequence.TestCase
