"""Stops the owner of an account where it stands (SIGSTOP), also in the middle of a transaction.

In: who the owner is, and a look at the database. Out: the stopped worker. Never: code of worker68's that is replaced: the moment is
met by trying.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from typing import Any, Final

from tests.parts.nursery import ForkedWorker
from tests.parts.worker import wait_until

#: A transaction that stays open for so long is that of a worker that stands still: on an idle machine one takes some milliseconds.
OPEN_SECONDS: Final = 0.05
#: One stop in ten or so meets an open transaction while jobs go through.
TRIES: Final = 500
PAUSE_SECONDS: Final = 0.02

_OPEN: Final = "SELECT pid, xact_start FROM pg_stat_activity WHERE state = 'idle in transaction'"


def stop_owner(
    find_owner: Callable[[], ForkedWorker | None], rows: Callable[[str], list[Any]], *, in_transaction: bool
) -> tuple[ForkedWorker, bool]:
    """Stop the owner, if asked for and met so, in the middle of a transaction; return it, and whether it has one open."""
    for _ in range(TRIES):
        owner = _wait_for_owner(find_owner)
        owner.send(signal.SIGSTOP)
        if not in_transaction or _has_open_transaction(rows):
            return owner, in_transaction
        owner.send(signal.SIGCONT)
        time.sleep(PAUSE_SECONDS * random.random())
    owner = _wait_for_owner(find_owner)
    owner.send(signal.SIGSTOP)
    return owner, False


def _wait_for_owner(find_owner: Callable[[], ForkedWorker | None]) -> ForkedWorker:
    found: list[ForkedWorker] = wait_until(lambda: [one for one in [find_owner()] if one is not None])
    return found[0]


def _has_open_transaction(rows: Callable[[str], list[Any]]) -> bool:
    before = set(rows(_OPEN))
    time.sleep(OPEN_SECONDS)
    return bool(before & set(rows(_OPEN)))
