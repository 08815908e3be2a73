"""What an action may have while it runs: further slots under real limits, and an end of every wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import pytest
from redis import Redis
from sqlalchemy import insert

from tests.parts.clock import Clock
from tests.parts.jobs import NOW, account
from tests.parts.ledger import Ledger
from worker68.bridge.link import Link
from worker68.clock import boottime, monotonic
from worker68.embedded import EmbeddedRedis
from worker68.errors import DatabaseAway
from worker68.execution import allowance as module
from worker68.execution.allowance import HAND_OVER_SECONDS, TurnAllowance
from worker68.execution.gate import Gate, Pass
from worker68.execution.pacing import Pacing
from worker68.execution.permit import Answer, Permit
from worker68.execution.slots import Slot, ask_of
from worker68.jobs.snapshot import MemberRow
from worker68.limits.limiter import Limiter
from worker68.limits.pace import Pace
from worker68.limits.rates import NO_LIMITS, parse_limits
from worker68.loop import Loop, Stopping
from worker68.store.pauses import Pause
from worker68.store.tables import group_members
from worker68.store.writer import Writer
from worker68.tasks.sync_online_status import RecentlyAsked
from worker68.tasks.turn import TurnOver


@dataclass
class Bridge:
    """A link of which only the readiness matters."""

    ready: bool = True


@pytest.fixture
def bridge() -> Bridge:
    return Bridge()


@pytest.fixture
def allowance(sqlite: Ledger, redis_url: str, bridge: Bridge, loop: Loop) -> Iterator[TurnAllowance]:
    writer = Writer(sqlite.engine)
    writer.start()
    with ExitStack() as kept, Redis.from_url(redis_url, protocol=2) as client:
        attempt = sqlite.must_begin(sqlite.send())
        gate = Gate(NO_LIMITS, owned=lambda: True, wake=lambda: None)
        permit = Permit("main", lambda: Answer(boottime(), {}))
        yield TurnAllowance(
            attempt=attempt,
            account=account(),
            link=cast(Link, bridge),
            limiter=Limiter(client),
            engine=sqlite.engine,
            writer=writer,
            stopping=Stopping(loop),
            owned=lambda: True,
            permit=permit,
            frame=Pass(gate, attempt.job, Slot(ask_of(attempt.job), monotonic(), monotonic())),
            pacing=Pacing("main", Pace(client), gate),
            asked=RecentlyAsked(),
            kept=kept,
            gives_way=lambda: False,
        )
    writer.stop()


@pytest.fixture
def over(allowance: TurnAllowance, loop: Loop) -> Callable[[], str]:
    """Return why a wait for a slot ended without one."""
    return lambda: loop.run_until_complete(_end_of(allowance))


async def _end_of(allowance: TurnAllowance) -> str:
    with pytest.raises(TurnOver) as ended:
        await allowance.wait_for_slot("read")
    assert not ended.value.finding.spent
    return ended.value.finding.reason


async def _ends(waiting: asyncio.Future[Any], seconds: float) -> bool:
    """Let the loop go on for so long at most; return whether the wait has ended."""
    done, _ = await asyncio.wait([waiting], timeout=seconds)
    return waiting in done


def test_each_slot_is_one_of_the_accounts_limits(
    allowance: TurnAllowance, loop: Loop, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clocks stand still: Redis's, by which slots are granted, and ours, by which they are kept."""
    clock, paused = Clock(), []
    clock.drive(monkeypatch, module.__name__)

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(allowance, "pause", pause)
    allowance.account = account(limits=parse_limits({"read": "10/s", "account": "off"}))
    slots = []
    with Redis.from_url(redis_url, protocol=2) as client:
        allowance.limiter = Limiter(client, clock=lambda: 1_795_000_000_000_000)
        for _ in range(4):
            loop.run_until_complete(allowance.wait_for_slot("read"))
            slots.append(allowance.frame.slot.write_at - clock.now)
    assert slots == pytest.approx([0.0, 0.1, 0.2, 0.3])
    handed_over = [0.0, *(seconds - HAND_OVER_SECONDS for seconds in (0.1, 0.2, 0.3))]
    assert paused == pytest.approx(handed_over), "the link holds the frame for no longer"


def test_a_refused_slot_is_waited_for(allowance: TurnAllowance, loop: Loop) -> None:
    """The limiter grants at most 2 s ahead; beyond it refuses, and is asked again."""
    allowance.account = account(limits=parse_limits({"read": "20/m", "account": "off"}))

    async def go() -> None:
        await allowance.wait_for_slot("read")
        waiting = asyncio.ensure_future(_end_of(allowance))
        assert not await _ends(waiting, 0.2)
        allowance.stopping.set()
        assert await _ends(waiting, 5)
        assert await waiting == "the worker is stopping"

    loop.run_until_complete(go())


def test_a_worker_that_stops_ends_the_wait(allowance: TurnAllowance, over: Callable[[], str]) -> None:
    allowance.stopping.set()
    assert over() == "the worker is stopping"


def test_a_paused_account_ends_the_wait(allowance: TurnAllowance, over: Callable[[], str]) -> None:
    pause = Pause(1, "main", "a complaint", "ann", NOW, None)
    allowance.permit = Permit("main", lambda: Answer(boottime(), {"main": pause}))
    assert over() == "paused by ann since 2026-11-23 12:00:00 UTC: a complaint"


def test_a_lost_account_ends_the_wait(allowance: TurnAllowance, over: Callable[[], str]) -> None:
    allowance.owned = lambda: False
    assert over() == "this worker does not own the account any more"


def test_a_bridge_that_stays_away_ends_the_wait(
    over: Callable[[], str], bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BRIDGE_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.05)
    bridge.ready = False
    assert over() == "the bridge went away in the middle of it"


def test_a_bridge_that_comes_back_goes_on(
    allowance: TurnAllowance, loop: Loop, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.05)
    bridge.ready = False

    async def go() -> None:
        waiting = asyncio.ensure_future(allowance.wait_for_slot("read"))
        assert not await _ends(waiting, 0.1)
        bridge.ready = True
        assert await _ends(waiting, 5)
        await waiting

    loop.run_until_complete(go())


def test_a_read_gives_way_to_what_is_more_urgent_but_not_for_ever(
    allowance: TurnAllowance, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    urgent, asked_on = [True, True, False], set()

    def gives_way() -> bool:
        asked_on.add(threading.get_ident())
        return urgent.pop(0)

    allowance.gives_way = gives_way
    loop.run_until_complete(allowance.wait_for_slot("read"))
    assert urgent == []
    assert asked_on == {threading.get_ident()}, "the lanes belong to the loop"
    monkeypatch.setattr(module, "GIVE_WAY_SECONDS", 0.05)
    allowance.gives_way = lambda: True
    loop.run_until_complete(allowance.wait_for_slot("read"))


def test_what_is_more_urgent_is_looked_up_on_the_loop(allowance: TurnAllowance, loop: Loop) -> None:
    """The lanes belong to it, and the look changes their order."""
    threads: list[int] = []

    def gives_way() -> bool:
        threads.append(threading.get_ident())
        return False

    allowance.gives_way = gives_way
    loop.run_until_complete(allowance.wait_for_slot("read"))
    assert threads == [threading.get_ident()]


def test_while_redis_is_away_no_slot_is_given(
    allowance: TurnAllowance, loop: Loop, redis_server: EmbeddedRedis
) -> None:
    redis_server.kill()

    async def go() -> None:
        waiting = asyncio.ensure_future(_end_of(allowance))
        assert not await _ends(waiting, 0.5)
        allowance.stopping.set()
        assert await _ends(waiting, 10)
        assert await waiting == "the worker is stopping"

    loop.run_until_complete(go())


def test_progress_is_written_only_now_and_then(
    allowance: TurnAllowance, loop: Loop, sqlite: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    seq = allowance.attempt.job.seq
    loop.run_until_complete(allowance.note_progress("read 1 of 9"))
    assert sqlite.row(seq).progress is None
    allowance._progress_at = 0.0
    loop.run_until_complete(allowance.note_progress("read 2 of 9"))
    loop.run_until_complete(allowance.note_progress("read 3 of 9"))
    assert sqlite.row(seq).progress == "read 2 of 9"


def test_a_database_that_is_away_is_waited_for(
    allowance: TurnAllowance, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [DatabaseAway("gone"), [5, 6]]

    def look(*_: Any) -> list[int]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast(list[int], answer)

    monkeypatch.setattr(module, "known_members", look)
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.01)
    assert loop.run_until_complete(allowance.known_members(7)) == [5, 6]


def test_known_members_are_those_who_are_there_now(allowance: TurnAllowance, loop: Loop, sqlite: Ledger) -> None:
    def member(user_id: int, group_id: int = 5, name: str = "main", removed: bool = False) -> dict[str, Any]:
        times = {"updated_at": NOW, "removed_at": NOW if removed else None}
        row = {"user_id": user_id, "name": "", "icon": None, "role": "member", "friend": False}
        return {"account": name, "group_id": group_id, **row, **times}

    rows = [member(3), member(1), member(2, removed=True), member(4, group_id=6), member(9, name="other")]
    sqlite.run(lambda connection: connection.execute(insert(group_members), rows))
    assert loop.run_until_complete(allowance.known_members(5)) == [1, 3]


def test_the_rows_are_closed_with_the_attempt(allowance: TurnAllowance) -> None:
    buffer = allowance.collect(MemberRow)
    buffer.add([MemberRow(1, "花开富贵🌽", None, "member", False)])
    allowance.kept.close()
    with pytest.raises(ValueError, match="closed"):
        list(buffer)
