"""No statement of ours reads far more rows than it is about, whatever PostgreSQL believes of its tables.

Each statement is executed by the code that owns it, and its plan counted, four times: where the tables were never analysed, where
they were analysed before they grew, after it, and by a planner that prefers nested loops. The last one stands for the versions of
PostgreSQL that choose otherwise than the one at hand.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest

from tests.parts.crowds import LANES, copy_jobs, seqs_of
from tests.parts.jobs import NOW, account, message, send_fields
from tests.parts.ledger import FENCE, OWNER, SENT, Ledger, open_ledger
from tests.parts.lists import GROUP, Lists, contact, group_request, member
from tests.parts.plans import Plan, explained
from tests.parts.postgres import administer
from worker68.clock import utc_now
from worker68.execution.intake import Arrival, Intake
from worker68.jobs.outcome import expired
from worker68.jobs.snapshot import CONTACTS, GROUP_MEMBERS, GROUP_REQUESTS, ListKind, Row
from worker68.jobs.states import Event
from worker68.limits.rates import parse_limits
from worker68.store import figures, inspection, lanes, outbox, reports, snapshots, standing, waiting
from worker68.store.statements import attempts
from worker68.store.statements.attempts import Attempt
from worker68.store.statements.outcomes import forget
from worker68.store.tables import cancellations

#: Entries of one list.
ENTRIES: Final = 800
#: A statement about a list looks at each of its rows a few times: read, joined, sorted, written.
TIMES: Final = 9

KNOWLEDGE: Final = ("never", "stale", "fresh", "nested loops")


@pytest.fixture(params=KNOWLEDGE)
def knowledge(request: pytest.FixtureRequest) -> str:
    """What PostgreSQL believes of its tables."""
    known: str = request.param
    return known


@pytest.fixture
def ledger(postgres_url: str, knowledge: str) -> Iterator[Ledger]:
    """Tables that are analysed when the test says so."""
    with open_ledger(postgres_url) as ledger:
        if knowledge == "nested loops":
            name = ledger.engine.url.database
            for method in ("hashjoin", "mergejoin"):
                administer(ledger.engine, f"ALTER DATABASE {name} SET enable_{method} = off")
            ledger.engine.dispose()
        yield ledger


def bounded(plans: list[Plan], most: int) -> None:
    assert plans
    too_many = [str(plan) for plan in plans if plan.looked_at > most]
    assert not too_many, "\n".join(too_many)


# Lists


def rows_of(kind: ListKind, number: int) -> list[Row]:
    make: Any = {CONTACTS: contact, GROUP_MEMBERS: member}.get(kind, lambda id_: group_request(id_, id_ % 3))
    # Not in the order of their ids.
    return [make(1 + place * 7919 % 1_000_003) for place in range(number)]


@pytest.mark.parametrize("kind", [CONTACTS, GROUP_MEMBERS, GROUP_REQUESTS], ids=lambda kind: kind.name)
def test_a_sync_looks_at_each_row_of_its_list_a_few_times(ledger: Ledger, knowledge: str, kind: ListKind) -> None:
    lists, group = Lists(ledger), GROUP if kind.by_group else None
    if knowledge == "stale":
        lists.see(rows_of(kind, 10), kind, account="other", group=group)
        administer(ledger.engine, "ANALYZE")
    with explained(ledger.engine) as first:
        lists.see(rows_of(kind, ENTRIES), kind, group=group)
    bounded(first, TIMES * ENTRIES)
    if knowledge == "fresh":
        administer(ledger.engine, "ANALYZE")
    moved = rows_of(kind, ENTRIES + 5)[5:]
    moved[:9] = [msgspec.structs.replace(row, name="new") for row in moved[:9]]
    with explained(ledger.engine) as second:
        told = lists.see([*moved, *moved[-1:]], kind, group=group)
    assert (told["added"], told["removed"], told["changed"]) == (5, 5, 9)
    bounded(second, TIMES * ENTRIES)


def test_a_new_group_costs_what_it_holds_beside_many_known_ones(ledger: Ledger, knowledge: str) -> None:
    lists = Lists(ledger)
    for group in range(1, 11):
        lists.see(rows_of(GROUP_MEMBERS, ENTRIES), GROUP_MEMBERS, group=group)
        if (group == 1 and knowledge == "stale") or (group == 10 and knowledge == "fresh"):
            administer(ledger.engine, "ANALYZE")
    for _ in range(2):
        with explained(ledger.engine) as plans:
            lists.see(rows_of(GROUP_MEMBERS, ENTRIES), GROUP_MEMBERS, group=GROUP)
        bounded(plans, TIMES * ENTRIES)


def test_accepting_a_shrink_and_looking_back_read_the_changes_of_that_list(ledger: Ledger, knowledge: str) -> None:
    lists = Lists(ledger)
    for group in range(1, 6):
        lists.see(rows_of(GROUP_MEMBERS, ENTRIES), GROUP_MEMBERS, group=group)
        if (group == 1 and knowledge == "stale") or (group == 5 and knowledge == "fresh"):
            administer(ledger.engine, "ANALYZE")
    first = lists.see(rows_of(GROUP_MEMBERS, ENTRIES), GROUP_MEMBERS, group=GROUP)["snapshot_id"]
    number = lists.see(rows_of(GROUP_MEMBERS, 10), GROUP_MEMBERS, group=GROUP)["snapshot_id"]
    with explained(ledger.engine) as plans:
        assert snapshots.accept(ledger.engine, number, utc_now()) == ENTRIES - 10
        older, newer = (snapshots.find_snapshot(ledger.engine, each) for each in (first, number))
        assert len(list(snapshots.read_difference(ledger.engine, older, newer))) == ENTRIES - 10
    bounded(plans, TIMES * ENTRIES)


# Jobs

#: Jobs that have ended, each with its requester and its attempt.
ENDED: Final = 16_000
#: Jobs that wait in each lane.
DEEP: Final = 20
#: A statement about a batch, a lane's head or what waits looks at fewer rows than a third of a table has.
MOST: Final = ENDED // 3


@pytest.fixture
def crowded(ledger: Ledger, knowledge: str) -> Ledger:
    """Many ended jobs, and some that wait."""
    ledger.send(job_id="first")
    ended: dict[str, Any] = {"state": "ended", "status": "'succeeded'", "finished_at": "now()"}
    if knowledge == "stale":
        copy_jobs(ledger, "early", 300, tried=True, **ended)
        administer(ledger.engine, "ANALYZE")
    copy_jobs(ledger, "old", ENDED, tried=True, **ended)
    copy_jobs(ledger, "ready", LANES * DEEP)
    copy_jobs(ledger, "later", 300, state="deferred", due_at="now() + interval '1 day'")
    copy_jobs(ledger, "expiring", 50, expires_at="now() + interval '1 hour'")
    copy_jobs(ledger, "overdue", 50, expires_at="now() - interval '1 hour'")
    copy_jobs(ledger, "due", 50, state="deferred", due_at="now() - interval '1 hour'")
    parked: dict[str, Any] = {"state": "deferred", "lane": "'parked'", "due_at": "now() - interval '1 hour'"}
    copy_jobs(ledger, "parked", 50, **parked)
    copy_jobs(ledger, "in-vain", 50, **parked, task="'worker68.later'")
    if knowledge == "fresh":
        administer(ledger.engine, "ANALYZE")
    return ledger


def test_finding_what_waits_looks_at_what_waits(crowded: Ledger) -> None:
    engine, now = crowded.engine, utc_now()
    some = seqs_of(crowded, "ready", 50)
    with explained(engine) as plans:
        heads, _ = lanes.find_lanes(engine, "main", "", 9 * LANES)
        assert len(lanes.load_lanes(engine, "main", 2, [head.lane for head in heads])) > 2 * LANES
        assert len(waiting.load_jobs(engine, some)) == len(some)
        assert len(waiting.find_overdue(engine, "main", now)) == 50
        waiting.release_unknown(engine, "main", now)
        waiting.find_unknown(engine, "main", heads[0].lane)
        assert len(waiting.release_due(engine, "main", now)) == 50
        waiting.next_due(engine, "main")
        waiting.next_expiry(engine, "main")
        assert len(waiting.find_parked(engine, "main")) == 50
        assert len(waiting.find_parked_in_vain(engine, "main", now, 500)) == 50
        waiting.count_waiting(engine, "main")
        assert waiting.find_unfinished(engine, ["main", "other"], waiting.newest_seq(engine)) == {"main"}
        waiting.write_reasons(engine, dict.fromkeys(some, "why"), now)
        figures.count_waiting_jobs(engine, ["main"])
        standing.find_ahead(engine, some[-9:])
        standing.find_reasons_beside(engine, some[-9:])
        assert len(standing.list_waiting(engine, ["main", "other"], None, 50)) == 50
        assert figures.find_waiting_accounts(engine) == ["main"]
        assert len(inspection.find_scheduled(engine, ["main", "other"])) == inspection.MOST
        assert len(inspection.find_reserved(engine, ["main", "other"])) == inspection.MOST
    bounded(plans, MOST)


def test_the_heads_of_many_lanes_are_found_by_a_plan_of_few_parts(crowded: Ledger) -> None:
    """No plan is kept, so each part is planned at every sweep, which takes far longer than to look into a lane."""
    with explained(crowded.engine) as plans:
        assert len(crowded.load(depth=2)) > 2 * LANES
    assert max(len(plan.nodes) for plan in plans) < 20


def test_the_first_who_asked_for_a_job_is_not_looked_for_among_all(ledger: Ledger, knowledge: str) -> None:
    """One job was asked for very often: a walk along the primary key to another job's requester passes all of these."""
    first = ledger.send(job_id="first")
    if knowledge == "stale":
        copy_jobs(ledger, "early", 300)
        administer(ledger.engine, "ANALYZE")
    often = "INSERT INTO requesters (seq, task_id, reply_to, ignore_result) SELECT {}, 'often-' || n, '', false"
    administer(ledger.engine, often.format(first.seq) + " FROM generate_series(1, 60000) AS n")
    copy_jobs(ledger, "ready", 50)
    copy_jobs(ledger, "later", 50, state="deferred", due_at="now() + interval '1 day'")
    ledger.must_begin(first)
    if knowledge == "fresh":
        administer(ledger.engine, "ANALYZE")
    with explained(ledger.engine) as plans:
        jobs_found = waiting.load_jobs(ledger.engine, seqs_of(ledger, "ready", 50))
        shown = inspection.find_reserved(ledger.engine, ["main"]) + inspection.find_scheduled(ledger.engine, ["main"])
    assert [job.task_id for job in jobs_found] == [job.job_id for job in jobs_found]
    assert [found.task_id for found in shown] == [found.job_id for found in shown]
    assert len(shown) >= 100
    bounded(plans, MOST)


def test_taking_in_looks_at_what_came(crowded: Ledger) -> None:
    new = [message(kwargs=send_fields(job_id=f"new-{n}"), task_id=f"new-{n}") for n in range(50)]
    again = [message(kwargs=send_fields(job_id=f"new-{n}"), task_id=f"again-{n}") for n in range(50)]
    with explained(crowded.engine) as plans:
        assert len(crowded.arrive(*new)) == 50
        assert crowded.arrive(*again) == []
        assert len(waiting.cancel(crowded.engine, [f"again-{n}" for n in range(40)], "no", NOW).ended) == 40
    bounded(plans, MOST)


def test_the_do_not_contact_list_is_looked_up_chat_by_chat(ledger: Ledger, knowledge: str) -> None:
    listed = "INSERT INTO suppressions SELECT 'main', 'group', n, 'asked', now() FROM generate_series({}, {}) AS n"
    if knowledge == "stale":
        administer(ledger.engine, listed.format(1, 300), "ANALYZE")
    administer(ledger.engine, listed.format(301, ENDED))
    if knowledge == "fresh":
        administer(ledger.engine, "ANALYZE")
    with explained(ledger.engine) as plans:
        taken = ledger.arrive(*[message() for _ in range(50)])
        tries = [Attempt(job, 1, OWNER, FENCE) for job in taken]
        assert ledger.run(lambda connection: attempts.begin(connection, tries, NOW)) == [True] * 50
        assert len(ledger.arrive(message(), message(kwargs=send_fields(chat={"type": "group", "id": 500})))) == 1
    bounded(plans, MOST)


def test_a_long_lane_is_looked_at_as_far_as_is_asked(
    crowded: Ledger, knowledge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "COUNTED_AHEAD", 100)
    lane = crowded.entries(message())[0].row["lane"]
    copy_jobs(crowded, "long", ENDED, lane=f"'{lane}'")
    if knowledge == "fresh":
        administer(crowded.engine, "ANALYZE")
    (last,) = crowded.arrive(message())
    door = Intake(crowded.engine, {"main": account(limits=parse_limits({"chat": "1/s"}))})
    soon = (NOW + dt.timedelta(seconds=60)).timestamp()
    late = [Arrival(message(kwargs=send_fields(expires_at=soon, reject_if_late=True)), "q", None) for _ in range(9)]
    with explained(crowded.engine) as plans:
        assert standing.count_in_lanes(crowded.engine, [("main", lane)]) == {("main", lane): 101}
        assert standing.find_ahead(crowded.engine, [last.seq])[last.seq].count == 101
        assert door.take_in(late, NOW) == []
    bounded(plans, MOST)


def test_parked_jobs_are_called_back_by_their_numbers(crowded: Ledger) -> None:
    entries = crowded.entries(*[message() for _ in range(50)])
    parked = dict(zip(seqs_of(crowded, "parked", 50), entries, strict=True))
    with explained(crowded.engine) as plans:
        assert len(waiting.unpark(crowded.engine, parked)) == 50
    bounded(plans, MOST)


def test_ending_what_was_tried_looks_at_its_own_attempts(crowded: Ledger) -> None:
    copy_jobs(crowded, "tried", 100, tried=True, state="deferred")
    tried = seqs_of(crowded, "tried", 100)
    with explained(crowded.engine) as plans:
        assert len(waiting.end_waiting(crowded.engine, tried, Event.EXPIRE, expired("late"), NOW)) == 100
    bounded(plans, MOST)


def test_revoked_ids_are_looked_at_by_themselves_and_by_their_time(ledger: Ledger, knowledge: str) -> None:
    revoked = "INSERT INTO cancellations SELECT '{}-' || n, now() - n * interval '{}' FROM generate_series(1, {}) AS n"
    if knowledge == "stale":
        administer(ledger.engine, revoked.format("early", "1 second", 300), "ANALYZE")
    administer(ledger.engine, revoked.format("new", "1 second", ENDED), revoked.format("old", "1 year", 10))
    if knowledge == "fresh":
        administer(ledger.engine, "ANALYZE")
    before = ledger.count(cancellations)
    with explained(ledger.engine) as plans:
        assert waiting.cancel(ledger.engine, ["unseen"], "no", utc_now()).unseen == ["unseen"]
        assert len(ledger.arrive(message(task_id="unseen"), message())) == 1
        assert len(inspection.find_revoked(ledger.engine, ["unseen"])) == inspection.MOST
    assert ledger.count(cancellations) == before - 10 + 1
    bounded(plans, MOST)


def test_an_attempt_looks_at_its_own_rows(crowded: Ledger) -> None:
    engine = crowded.engine
    tries = [Attempt(job, 1, OWNER, FENCE) for job in waiting.load_jobs(engine, seqs_of(crowded, "ready", 45))]
    done, lost, back = tries[:15], tries[15:30], tries[30:]
    with explained(engine) as plans:
        assert all(crowded.run(lambda connection: attempts.begin(connection, tries, NOW)))
        batch = [(attempt, SENT) for attempt in done]
        assert all(crowded.run(lambda connection: attempts.settle(connection, batch, NOW)))
        crowded.run(lambda connection: attempts.back_off(connection, back[0], NOW, "busy", "busy", NOW))
        crowded.run(lambda connection: attempts.give_back(connection, back[1]))
        begun = crowded.run(lambda connection: attempts.find_begun(connection, "main"))
        assert len(begun) == len(lost) + len(back) - 2
        crowded.run(lambda connection: attempts.resolve(connection, begun[:-9], lambda _: False, NOW))
        crowded.run(lambda connection: attempts.resolve(connection, begun[-9:], lambda _: True, NOW))
        assert crowded.run(lambda connection: attempts.find_sent(connection, "main", tries[0].job.custom_msg_id or 0))
        assert crowded.revise(lost[0].seq)
        entries = outbox.fetch(engine, ["main"], None, NOW, 500)
        crowded.run(lambda connection: forget(connection, [entry.id for entry in entries]))
    assert entries
    bounded(plans, MOST)


def test_looking_at_jobs_reads_what_is_shown(crowded: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "LOOKED_THROUGH", 500)
    monkeypatch.setattr(reports, "BEGINNINGS_LOOKED_THROUGH", 500)
    monkeypatch.setattr(figures, "ATTEMPTS_LOOKED_THROUGH", 50)
    engine, ids = crowded.engine, [f"ready-{number}" for number in range(1, 101)]
    with explained(engine) as plans:
        assert len(inspection.find_by_ids(engine, ["main", "other"], ids)) == len(ids)
        assert inspection.find_revoked(engine, ids) == []
        assert len(reports.list_jobs(engine, account="main", state=None, limit=20).lines) == 20
        for name in ("main", "other"):
            assert not reports.list_jobs(engine, account=name, state="ended", status="failed", limit=20).lines
        assert len(reports.find_beginnings(engine, "in-vain-1", "main", 20)) == 11
        assert figures.count_in_doubt(engine, NOW).numbers == {}
        assert len(reports.find_jobs(crowded.engine, "ready-7")) == 1
        assert len(reports.find_jobs(crowded.engine, "ready-7", "main")) == 1
        assert not reports.has_jobs(crowded.engine, "nobody")
    bounded(plans, MOST)


# What is to be published, and what Redis refuses

_OUTBOX: Final = """
INSERT INTO outbox (account, kind, address, payload, created_at)
SELECT 'main', 'result', 'result-' || n, '{{}}', now() FROM generate_series(1, {number}) AS n
"""
_REFUSED: Final = """
INSERT INTO refused (account, kind, address, payload, created_at, problem, refusals, due_at)
SELECT '{account}', '{kind}', '{kind}-' || n, '{{}}', now(), 'no', 1, now() + interval '{due}' - n * interval '1 ms'
FROM generate_series(1, {number}) AS n
"""


def refuse(account: str, kind: str, number: int, due: str) -> str:
    return _REFUSED.format(account=account, kind=kind, number=number, due=due)


@pytest.fixture
def unpublished(ledger: Ledger, knowledge: str) -> Ledger:
    """After a night without Redis: many entries to publish, many that it refused, some of which are due; and another account's."""
    if knowledge == "stale":
        early = refuse("main", "early", 300, "1 day")
        administer(ledger.engine, _OUTBOX.format(number=300), early, "ANALYZE")
    refused = [refuse("main", kind, ENDED // 2, "1 day") for kind in ("reply", "result")]
    due = [refuse("main", "due", 50, "-1 hour"), refuse("other", "due", ENDED, "-2 hours")]
    administer(ledger.engine, _OUTBOX.format(number=ENDED), *refused, *due)
    if knowledge == "fresh":
        administer(ledger.engine, "ANALYZE")
    return ledger


def test_what_was_published_or_refused_is_settled_by_its_number(unpublished: Ledger) -> None:
    engine, now = unpublished.engine, utc_now()
    with explained(engine) as plans:
        due = outbox.fetch_due(engine, ["main"], None, now, now, 90)
        assert len(due) == 50
        assert len(outbox.fetch_due(engine, ["main"], ["other"], now, now - dt.timedelta(minutes=90), 90)) == 90
        outbox.settle_refused(engine, due[:25], {entry.id: ("no", now) for entry in due[25:]})
        entries = outbox.fetch(engine, ["main"], None, now, 50)
        assert len(entries) == 50
        outbox.settle_outbox(engine, entries[:25], [(entry, "no") for entry in entries[25:]], now)
    bounded(plans, MOST)
