"""What Redis refuses to the workers for good, for ``worker68 check``: which keys, and how many replies wait because of it.

In: Redis and the database, as far as they answer. Out: for each thing that is wrong, what was found and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from worker68.cli.findings import RIGHTS, Finding, Ground
from worker68.cli.output import show_time
from worker68.execution.publishing import DEAD_KEY
from worker68.observe.roster import RefusedKey, Roster
from worker68.store.refused import count_refused

KEY_REMEDY: Final = "delete or rename the key if it is of another type; else give worker68 the right to it"
ENTRIES_REMEDY: Final = "put right in Redis what it refuses; what waits is tried again by itself, within five minutes"


def find_refused_keys(ground: Ground) -> Iterator[Finding]:
    """Yield the keys that Redis refused to a worker within the last quarter of an hour."""
    if ground.redis is None:
        return
    for key, problem in sorted({(one.key, one.problem) for one in _refused(ground)}):
        cause = RIGHTS if _is_of_rights(problem) else key
        yield Finding("redis", False, f"refuses {key}: {problem}", KEY_REMEDY, cause=cause)


def _is_of_rights(problem: str) -> bool:
    return problem.startswith("NOPERM")


def _refused(ground: Ground) -> Iterator[RefusedKey]:
    assert ground.redis is not None
    for status in Roster(ground.redis).read():
        yield from status.refused


def find_refused_entries(ground: Ground) -> Iterator[Finding]:
    """Yield how much waits in the database because Redis refuses it, by account and kind."""
    if ground.engine is None:
        return
    for one in count_refused(ground.engine):
        waits = (
            f"{one.number} of kind {one.kind} for {one.account or 'no account'} wait since {show_time(one.since)} UTC"
        )
        found = f"{waits}: Redis refuses them ({one.problem})"
        cause = RIGHTS if _is_of_rights(one.problem) else ""
        if not cause and one.kind in ("dead", "reply"):
            # A reply whose own key is of another type waits only if it cannot be set aside either.
            cause = DEAD_KEY
        yield Finding("refused replies", False, found, ENTRIES_REMEDY, cause=cause, effect=waits)
