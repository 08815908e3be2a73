"""Which jobs have ended, counted where that is decided and once it is committed: for metrics and rates.

In: what a transaction ended, noted within it. Out: counts by account, task, status and error code since the process began. Never: a
count of what was rolled back; a query.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy import Connection

from worker68.jobs.outcome import ErrorCode
from worker68.observe.metrics import counter
from worker68.tasks import TASKS


class Ending(NamedTuple):
    """How a job ended. ``revised``: it had ended otherwise before. ``code`` is empty where there was no error."""

    account: str
    task: str
    status: str
    code: str
    revised: bool


#: Under this key a connection carries what its transaction has ended so far.
_NOTED: Final = "worker68_endings"


class Endings:
    """The counts of one engine. Thread-safe."""

    def __init__(self) -> None:
        # Not exposed as it is: which accounts a figure may name is known at the scrape.
        self._counted = counter("endings", "Jobs that ended, as it was committed.", Ending._fields)

    def begin(self, connection: Connection) -> list[Ending]:
        """Begin to note what this transaction ends. Hand what comes back to ``add`` once it is committed."""
        noted: list[Ending] = []
        connection.info[_NOTED] = noted
        return noted

    def add(self, noted: Iterable[Ending]) -> None:
        for ending in noted:
            self._counted.labels(*ending[:-1], "1" if ending.revised else "").inc()

    def read(self) -> dict[Ending, int]:
        samples = (sample for metric in self._counted.collect() for sample in metric.samples)
        return {_ending(**sample.labels): int(sample.value) for sample in samples if sample.name == "endings_total"}


def _ending(revised: str, **names: str) -> Ending:
    return Ending(**names, revised=bool(revised))


def note(connection: Connection, ending: Ending) -> None:
    """Note that this transaction ends a job, or revises how it ended.

    Accounts and tasks that only a producer's message names are left empty: there may be any number of them.
    """
    if ending.code == ErrorCode.UNKNOWN_ACCOUNT:
        ending = ending._replace(account="")
    if ending.task not in TASKS:
        ending = ending._replace(task="")
    noted = connection.info.get(_NOTED)
    if noted is not None:
        noted.append(ending)
