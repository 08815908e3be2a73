"""What Redis refuses is named in ``worker68 check``: the keys that the workers tell, and the replies that wait for them."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

import msgspec
from redis import Redis

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from worker68.cli.findings import Ground
from worker68.cli.overlooked import find_refused_entries, find_refused_keys
from worker68.fleet.accounts import Known
from worker68.observe.roster import RefusedKey, Roster, WorkerStatus
from worker68.store.migration import upgrade
from worker68.store.outbox import fetch, settle_outbox

STATUS = WorkerStatus("a", 1, NOW, NOW, None, True, {})


def ground(**parts: Any) -> Ground:
    return Ground(settings=cast(Any, None), known=Known({}), **({"reached_redis": None, "opened_engine": None} | parts))


def test_the_keys_that_workers_are_refused_are_named_once(redis_url: str) -> None:
    refused = RefusedKey("worker68:replies:stuck", "care", "WRONGTYPE Operation against a key", 3)
    with Redis.from_url(redis_url) as client:
        now = dt.datetime.now(dt.UTC)
        for name in ("a", "b"):
            Roster(client).report(msgspec.structs.replace(STATUS, worker=name, told_at=now, refused=[refused]))
        Roster(client).report(msgspec.structs.replace(STATUS, worker="c", told_at=now))
        (finding,) = find_refused_keys(ground(reached_redis=client))
    assert not finding.ok
    assert finding.found == "refuses worker68:replies:stuck: WRONGTYPE Operation against a key"
    assert "delete or rename" in str(finding.remedy)


def test_a_status_of_an_older_worker_is_read(redis_url: str) -> None:
    older = {name: value for name, value in msgspec.to_builtins(STATUS).items() if name != "refused"}
    assert msgspec.convert(older, WorkerStatus) == STATUS


def test_the_replies_that_wait_are_counted_with_redis_words(sqlite_url: str) -> None:
    upgrade(sqlite_url)
    ledger = Ledger(sqlite_url)
    assert list(find_refused_entries(ground(opened_engine=ledger.engine))) == []
    ledger.settled()
    entries = [entry for entry in fetch(ledger.engine, ["main"], None, NOW, 10) if entry.kind == "result"]
    settle_outbox(ledger.engine, [], [(entry, "NOPERM no right") for entry in entries], NOW)
    (finding,) = find_refused_entries(ground(opened_engine=ledger.engine))
    ledger.engine.dispose()
    assert not finding.ok
    assert finding.found.startswith("1 of kind result for main wait since ")
    assert finding.found.endswith("Redis refuses them (NOPERM no right)")
