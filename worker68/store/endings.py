"""Which jobs have ended, counted where that is decided and once it is committed: for metrics and rates.

In: what a transaction ended, noted within it. Out: counts by account, task, status and error code since the process began. Never: a
count of what was rolled back; a query.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy import Connection


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
        self._lock = threading.Lock()  # guards _counts: transactions end on several threads
        self._counts: Counter[Ending] = Counter()

    def begin(self, connection: Connection) -> list[Ending]:
        """Begin to note what this transaction ends. Hand what comes back to ``add`` once it is committed."""
        noted: list[Ending] = []
        connection.info[_NOTED] = noted
        return noted

    def add(self, noted: Iterable[Ending]) -> None:
        with self._lock:
            self._counts.update(noted)

    def read(self) -> dict[Ending, int]:
        with self._lock:
            return dict(self._counts)


def note(connection: Connection, ending: Ending) -> None:
    """Note that this transaction ends a job, or revises how it ended."""
    noted = connection.info.get(_NOTED)
    if noted is not None:
        noted.append(ending)
