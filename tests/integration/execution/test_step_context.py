"""What an action may have while it runs: further slots under real limits, and an end of every wait."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, cast

import pytest
from redis import Redis
from sqlalchemy import insert

from tests.parts.accounts import ReadyLink, open_account, pause_of
from tests.parts.clock import Clock
from tests.parts.jobs import MUTE, NOW, SYNC, message, mute_fields
from tests.parts.jobs import account as settings_of
from tests.parts.ledger import Ledger
from tests.parts.slots import Slots
from worker68.clock import monotonic
from worker68.embedded import EmbeddedRedis
from worker68.errors import DatabaseAway
from worker68.execution import step_context as module
from worker68.execution.account import Account
from worker68.execution.slots import PROBE_LOOK_SECONDS, JobFrames, Slot, ask_of
from worker68.execution.step_context import HAND_OVER_SECONDS, StepContext
from worker68.jobs.snapshot import MemberRow
from worker68.limits.limiter import Grant, Limiter, Refusal
from worker68.limits.rates import parse_limits
from worker68.loop import Gathered, Loop
from worker68.store.pauses import Pause
from worker68.store.tables import group_members
from worker68.store.writer import Writer
from worker68.tasks.turn import TurnOver


@pytest.fixture
def link() -> ReadyLink:
    return ReadyLink()


@pytest.fixture
def account(sqlite: Ledger, redis_url: str, link: ReadyLink, loop: Loop) -> Iterator[Account]:
    writer = Writer(sqlite.engine)
    writer.start()
    with Redis.from_url(redis_url, protocol=2) as client:
        yield open_account(sqlite, loop, writer=writer, slots=Gathered(Limiter(client).acquire_each), link=link)
    writer.stop()


@pytest.fixture
def context(sqlite: Ledger, account: Account) -> Iterator[StepContext]:
    with ExitStack() as kept:
        yield begin(sqlite, account, kept, SYNC, {})


def begin(ledger: Ledger, account: Account, kept: ExitStack, task: str, fields: dict[str, Any]) -> StepContext:
    """Return the context of the first attempt of a job."""
    (job,) = ledger.arrive(message(task, fields))
    attempt = ledger.must_begin(job)
    slot = Slot(ask_of(job), monotonic(), monotonic())
    return StepContext(account, attempt, JobFrames(account.guard, job, slot), kept)


@pytest.fixture
def over(context: StepContext, account: Account, loop: Loop) -> Callable[[], str]:
    """Return why a wait for a slot ended without one."""
    return lambda: loop.run_until_complete(_end_of(context))


async def _end_of(context: StepContext) -> str:
    with pytest.raises(TurnOver) as ended:
        await context.wait_for_slot("read", "GroupMemberList")
    assert not ended.value.finding.spent
    return ended.value.finding.reason


async def _ends(waiting: asyncio.Future[Any], seconds: float) -> bool:
    """Let the loop go on for so long at most; return whether the wait has ended."""
    done, _ = await asyncio.wait([waiting], timeout=seconds)
    return waiting in done


def test_each_slot_is_one_of_the_accounts_limits(
    context: StepContext, account: Account, loop: Loop, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clocks stand still: Redis's, by which slots are granted, and ours, by which they are kept."""
    clock, paused = Clock(), []
    clock.drive(monkeypatch, module.__name__)

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(context, "pause", pause)
    account.settings = settings_of(limits=parse_limits({"read": "10/s", "account": "off"}))
    slots = []
    with Redis.from_url(redis_url, protocol=2) as client:
        limiter = Limiter(client, clock=lambda: 1_795_000_000_000_000)
        account.shared = replace(account.shared, slots=Gathered(limiter.acquire_each))
        for _ in range(4):
            loop.run_until_complete(context.wait_for_slot("read", "GroupMemberList"))
            slots.append(context._frames.slot.write_at - clock.now)
    assert slots == pytest.approx([0.0, 0.1, 0.2, 0.3])
    handed_over = [0.0, *(seconds - HAND_OVER_SECONDS for seconds in (0.1, 0.2, 0.3))]
    assert paused == pytest.approx(handed_over), "the link holds the frame for no longer"


def test_a_refused_slot_is_waited_for(context: StepContext, account: Account, loop: Loop) -> None:
    """The limiter grants at most 2 s ahead; beyond it refuses, and is asked again."""
    account.settings = settings_of(limits=parse_limits({"read": "1/h", "account": "off"}))

    async def go() -> None:
        await context.wait_for_slot("read", "GroupMemberList")
        waiting = asyncio.ensure_future(_end_of(context))
        assert not await _ends(waiting, 0.2)
        account.shared.stopping.set()
        assert await _ends(waiting, 60)
        assert await waiting == "the worker is stopping"

    loop.run_until_complete(go())


def test_a_pause_of_the_service_may_end_sooner_than_it_was_to_last(
    context: StepContext, account: Account, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots, paused = Slots(), []
    answers: Iterator[Grant | Refusal] = iter(
        [Refusal("busy", "key", 3600.0), Refusal("read", "key", 30.0), Grant(0.0)]
    )
    slots.rule = lambda ask: next(answers)

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(context, "pause", pause)
    account.shared = replace(account.shared, slots=slots.as_requests())
    loop.run_until_complete(context.wait_for_slot("read", "GroupMemberList"))
    assert paused == [PROBE_LOOK_SECONDS, 30.0, 0.0]


def test_a_worker_that_stops_ends_the_wait(context: StepContext, account: Account, over: Callable[[], str]) -> None:
    account.shared.stopping.set()
    assert over() == "the worker is stopping"


def test_a_paused_account_ends_the_wait(context: StepContext, account: Account, over: Callable[[], str]) -> None:
    pause = Pause(1, "main", "a complaint", "ann", NOW, None)
    account.guard._pause = pause_of(pause=pause)
    assert over() == "paused by ann since 2026-11-23 12:00:00 UTC: a complaint"


def test_a_lost_account_ends_the_wait(context: StepContext, account: Account, over: Callable[[], str]) -> None:
    account.lease.end()
    assert over() == "this worker does not own the account any more"


def test_an_account_that_leaves_ends_the_wait_of_a_read(account: Account, over: Callable[[], str]) -> None:
    account.lease.leave_by = math.inf
    assert over() == "the account goes to another worker"


def test_an_account_that_leaves_lets_a_change_go_on(sqlite: Ledger, account: Account, loop: Loop) -> None:
    account.lease.leave_by = math.inf
    with ExitStack() as kept:
        context = begin(sqlite, account, kept, MUTE, mute_fields())
        loop.run_until_complete(context.wait_for_slot("moderate", "GroupMemberShutup"))


def test_a_bridge_that_stays_away_ends_the_wait(
    over: Callable[[], str], link: ReadyLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BRIDGE_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.05)
    link.ready = False
    assert over() == "the bridge went away in the middle of it"


def test_a_bridge_that_comes_back_goes_on(
    context: StepContext, account: Account, loop: Loop, link: ReadyLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.05)
    link.ready = False

    async def go() -> None:
        waiting = asyncio.ensure_future(context.wait_for_slot("read", "GroupMemberList"))
        assert not await _ends(waiting, 0.1)
        link.ready = True
        assert await _ends(waiting, 60)
        await waiting

    loop.run_until_complete(go())


def test_a_read_gives_way_to_what_is_more_urgent_but_not_for_ever(
    context: StepContext, account: Account, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    urgent, asked_on = [True, True, False], set()

    def gives_way() -> bool:
        asked_on.add(threading.get_ident())
        return urgent.pop(0)

    monkeypatch.setattr(account.dispatch, "has_more_urgent", gives_way)
    loop.run_until_complete(context.wait_for_slot("read", "GroupMemberList"))
    assert urgent == []
    assert asked_on == {threading.get_ident()}, "the lanes belong to the loop"
    monkeypatch.setattr(module, "GIVE_WAY_SECONDS", 0.05)
    monkeypatch.setattr(account.dispatch, "has_more_urgent", lambda: True)
    loop.run_until_complete(context.wait_for_slot("read", "GroupMemberList"))


def test_a_change_does_not_wait_for_what_may_wait_for_its_end(
    sqlite: Ledger, account: Account, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart of the client is more urgent than reads, and starts only when no change is under way."""

    def has_more_urgent() -> bool:
        raise AssertionError("a change asked who is more urgent")

    monkeypatch.setattr(account.dispatch, "has_more_urgent", has_more_urgent)
    with ExitStack() as kept:
        context = begin(sqlite, account, kept, MUTE, mute_fields())
        loop.run_until_complete(context.wait_for_slot("moderate", "GroupMemberShutup"))


def test_while_redis_is_away_no_slot_is_given(
    context: StepContext, account: Account, loop: Loop, redis_server: EmbeddedRedis
) -> None:
    redis_server.kill()

    async def go() -> None:
        waiting = asyncio.ensure_future(_end_of(context))
        assert not await _ends(waiting, 0.5)
        account.shared.stopping.set()
        assert await _ends(waiting, 60)
        assert await waiting == "the worker is stopping"

    loop.run_until_complete(go())


def test_progress_is_written_only_now_and_then(
    context: StepContext, account: Account, loop: Loop, sqlite: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    seq = context._attempt.job.seq
    monkeypatch.setattr(module, "PROGRESS_SECONDS", 3600.0)
    loop.run_until_complete(context.note_progress("read 1 of 9"))
    assert sqlite.row(seq).progress is None
    context._progress_at = -math.inf
    loop.run_until_complete(context.note_progress("read 2 of 9"))
    loop.run_until_complete(context.note_progress("read 3 of 9"))
    assert sqlite.row(seq).progress == "read 2 of 9"


def test_a_database_that_is_away_is_waited_for(
    context: StepContext, account: Account, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [DatabaseAway("gone"), [5, 6]]

    def look(*_: Any) -> list[int]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast(list[int], answer)

    monkeypatch.setattr(module, "known_members", look)
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.01)
    assert loop.run_until_complete(context.known_members(7)) == [5, 6]


def test_known_members_are_those_who_are_there_now(
    context: StepContext, account: Account, loop: Loop, sqlite: Ledger
) -> None:
    def member(user_id: int, group_id: int = 5, name: str = "main", removed: bool = False) -> dict[str, Any]:
        times = {"updated_at": NOW, "removed_at": NOW if removed else None}
        row = {"user_id": user_id, "name": "", "icon": None, "role": "member", "friend": False}
        return {"account": name, "group_id": group_id, **row, **times}

    rows = [member(3), member(1), member(2, removed=True), member(4, group_id=6), member(9, name="other")]
    sqlite.run(lambda connection: connection.execute(insert(group_members), rows))
    assert loop.run_until_complete(context.known_members(5)) == [1, 3]


def test_the_rows_are_closed_with_the_attempt(context: StepContext) -> None:
    buffer = context.collect(MemberRow)
    buffer.add([MemberRow(1, "花开富贵🌽", None, "member", False)])
    context._kept.close()
    with pytest.raises(ValueError, match="closed"):
        list(buffer)
