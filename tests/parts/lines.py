"""What another thread does just between two lines of a function, made to happen there and nowhere else.

A race that is looked for by trying often is found seldom; a test that goes through the lines of a function one by one finds it
each time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any


class Reached:
    """Whether the line was come to."""

    def __init__(self) -> None:
        self.yet = False

    def __bool__(self) -> bool:
        return self.yet


@contextmanager
def before_line(function: Callable[..., Any], number: int, do: Callable[[], object]) -> Iterator[Reached]:
    """Do something once, on this thread, before it runs the line of this number in a function (the first is 0)."""
    code: CodeType = function.__code__
    reached, seen = Reached(), 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen
        if frame.f_code is not code:
            return None
        if event == "line":
            seen += 1
            if seen == number + 1:
                reached.yet = True
                do()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield reached
    finally:
        sys.settrace(before)
