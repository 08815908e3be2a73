"""What is left at a lock is done under it, once and in order, whoever holds it and whenever it is left."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from tests.parts.lines import before_line
from worker68.execution.custody import Custody


def elsewhere(do: Callable[[], object]) -> None:
    """Do something on another thread, to its end."""
    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


class Shelf:
    """A custody and what was done under it."""

    def __init__(self) -> None:
        self.custody = Custody()
        self.done: list[str] = []

    def leave(self, name: str) -> None:
        def step() -> None:
            assert self.custody._lock.locked()
            self.done.append(name)

        self.custody.leave(step)


def test_what_is_left_at_a_free_lock_is_done_at_once() -> None:
    shelf = Shelf()
    shelf.leave("a")
    assert shelf.done == ["a"]


def test_what_is_left_while_somebody_holds_it_is_done_when_it_is_free_and_in_order() -> None:
    shelf = Shelf()
    with shelf.custody.held():
        for name in "abc":
            elsewhere(lambda name=name: shelf.leave(name))  # type: ignore[misc]
        assert shelf.done == []
    assert shelf.done == ["a", "b", "c"]


def test_it_is_done_also_where_the_holder_fails() -> None:
    shelf = Shelf()

    def fail() -> None:
        with shelf.custody.held():
            shelf.leave("a")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert shelf.done == ["a"]


@pytest.mark.parametrize(
    "function",
    [Custody.held.__wrapped__, Custody.leave, Custody._look, Custody._run_left],  # type: ignore[attr-defined]
    ids=lambda function: function.__name__,
)
def test_what_is_left_before_any_line_of_another_is_done(function: Callable[..., object]) -> None:
    for number in itertools.count():
        shelf = Shelf()
        with before_line(function, number, lambda shelf=shelf: elsewhere(lambda: shelf.leave("other"))) as reached:  # type: ignore[misc]
            with shelf.custody.held():
                shelf.leave("under it")
            shelf.leave("behind it")
        assert sorted(shelf.done) == sorted(["under it", "behind it", *(["other"] if reached else [])])
        if not reached:
            break
    assert number >= 2
