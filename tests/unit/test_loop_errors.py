"""Whatever goes wrong in what a job awaits, the job hears of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.parts.onloop import run
from worker68.loop import Waiter

ERRORS = [ValueError("ours"), SystemExit(1), RecursionError()]


def fail(error: BaseException) -> None:
    raise error


async def hear_from_a_helper(error: BaseException) -> BaseException | None:
    try:
        async with asyncio.timeout(60):
            await asyncio.to_thread(fail, error)
    except BaseException as heard:  # noqa: BLE001
        return heard
    return None


async def hear_from_another_thread(error: BaseException) -> BaseException | None:
    waiter: Waiter[Any] = Waiter()
    waiter.tell(None, error)
    try:
        async with asyncio.timeout(60):
            await waiter
    except BaseException as heard:  # noqa: BLE001
        return heard
    return None


@pytest.mark.parametrize("hear", [hear_from_a_helper, hear_from_another_thread])
def test_an_error_is_heard(hear: Any) -> None:
    for error in ERRORS:
        assert run(hear(error)) is error


@pytest.mark.parametrize("hear", [hear_from_a_helper, hear_from_another_thread])
def test_an_error_that_no_coroutine_can_be_told_is_heard_as_another(hear: Any) -> None:
    stop = StopIteration()
    heard = run(hear(stop))
    assert isinstance(heard, RuntimeError)
    assert heard.__cause__ is stop
