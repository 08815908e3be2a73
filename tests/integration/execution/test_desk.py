"""How full an account's waiting room is, as its owner reckons it between two counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from tests.parts.jobs import account, message, send_fields
from tests.parts.ledger import Ledger
from tests.parts.onloop import in_pool, run
from tests.parts.slots import Slots
from worker68.execution.capacity import Capacity
from worker68.execution.desk import Desk
from worker68.execution.dispatch import Dispatch
from worker68.execution.execute import Execution
from worker68.execution.unfinished import Unfinished
from worker68.jobs.job import Job
from worker68.store.lanes import load_lanes


async def nothing() -> None: ...


def desk_of(ledger: Ledger, max_waiting: int) -> Desk:
    settings = account(max_waiting=max_waiting)
    dispatch = Dispatch(
        settings,
        Slots().as_requests(),
        in_pool(lambda lanes, depth: load_lanes(ledger.engine, "main", depth, lanes)),
        Capacity(1),
    )
    pacing = SimpleNamespace(tell_busy=nothing)
    link = SimpleNamespace(
        why_not=lambda needs_login: None, why_not_reached=None, one_send_per_chat=False, api_url="", ready=True
    )
    link.one_send = False
    parts: dict[str, Any] = {
        "account": settings,
        "dispatch": dispatch,
        "engine": ledger.engine,
        "pacing": pacing,
        "link": link,
        "announce": lambda: None,
    }
    parts |= {"permit": SimpleNamespace(why_not=lambda: None), "owned": lambda: True}
    parts["gate"] = SimpleNamespace(expect=lambda job, slot: None)
    return Desk(cast(Execution, SimpleNamespace(**parts)), ledger.intake, Unfinished(ledger.engine, ["main"]))


def arrive(ledger: Ledger, desk: Desk, count: int) -> list[Job]:
    jobs = ledger.arrive(*[message(kwargs=send_fields(chat={"type": "group", "id": at + 1})) for at in range(count)])
    desk.take(jobs)
    return jobs


def test_a_job_that_ends_makes_room(sqlite: Ledger) -> None:
    desk = desk_of(sqlite, max_waiting=2)
    run(desk.tend())
    arrive(sqlite, desk, 2)
    assert desk.room == 0
    job = run(desk.choose()).ready[0].job
    sqlite.settle(sqlite.must_begin(job))
    desk.execution.dispatch.finish(job)
    assert desk.room == 1


def test_an_end_that_was_committed_before_the_count_and_told_after_it_opens_no_room(sqlite: Ledger) -> None:
    desk = desk_of(sqlite, max_waiting=2)
    run(desk.tend())
    arrive(sqlite, desk, 3)
    job = run(desk.choose()).ready[0].job
    sqlite.settle(sqlite.must_begin(job))
    desk.distrust()
    run(desk.tend())
    assert desk.room == 0, "two wait, as SQL counted them"

    desk.execution.dispatch.finish(job)

    assert desk.room == 0, "SQL had counted it as ended"
    desk.distrust()
    run(desk.tend())
    assert desk.room == 0
