"""What Redis refuses to the workers for good, for ``worker68 check``: which keys, and how many replies wait because of it.

In: the URLs of Redis and the database. Out: for each thing that is wrong, what was found and what to do about it.
"""

from __future__ import annotations

from typing import Final

from worker68.cli.output import show_time
from worker68.cli.reach import open_redis, saying_away
from worker68.fleet.roster import Roster
from worker68.store.refused import count_refused
from worker68.store.reports import open_ledger

KEY_REMEDY: Final = "delete or rename the key if it is of another type; else give worker68 the right to it"
PARCEL_REMEDY: Final = "put right in Redis what it refuses; what waits is tried again by itself, within five minutes"


def find_refused_keys(redis_url: str) -> list[tuple[str, str]]:
    """Return the keys that Redis refused to a worker within the last quarter of an hour. Raises ``RedisAway``."""
    with saying_away(redis_url), open_redis(redis_url) as redis:
        statuses = Roster(redis).read()
    refused = sorted({(one.key, one.problem) for status in statuses for one in status.refused})
    return [(f"refuses {key}: {problem}", KEY_REMEDY) for key, problem in refused]


def find_refused_parcels(database_url: str) -> list[tuple[str, str]]:
    """Return how much waits in the database because Redis refuses it, by account and kind. Raises ``DatabaseAway``."""
    engine = open_ledger(database_url)
    try:
        return [
            (
                f"{one.number} of kind {one.kind} for {one.account or 'no account'} wait since {show_time(one.since)} UTC: "
                f"Redis refuses them ({one.problem})",
                PARCEL_REMEDY,
            )
            for one in count_refused(engine)
        ]
    finally:
        engine.dispose()
