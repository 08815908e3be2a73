"""Tracebacks as the log shows them: without the words of a database driver.

In: an exception. Out: its traceback, and those of its causes, as Python prints them; the parts of a group are left out. Never: what
PostgreSQL says of an error: its DETAIL may quote a row, and with it message text.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import TracebackType

from worker68.errors import code_of, is_drivers

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def format_traceback(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    """Return the traceback of what was raised, the first cause first."""
    chain = list(_chain(exc_info[1]))
    drivers = {id(error) for error, _ in chain if is_drivers(error)}
    drivers |= {id(getattr(error, "orig", None)) for error, _ in chain}
    return "".join(_format(error, id(error) in drivers) + link for error, link in reversed(chain)).rstrip("\n")


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Yield an error and its causes, each with what stands below it in the log."""
    link, seen = "", set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        yield following, link
        seen.add(id(following))
        if following.__cause__ is not None:
            following, link = following.__cause__, _CAUSE
        else:
            following, link = (None if following.__suppress_context__ else following.__context__), _CONTEXT


def _format(error: BaseException, is_of_driver: bool) -> str:
    frames = traceback.format_tb(error.__traceback__)
    head = ["Traceback (most recent call last):\n"] if frames else []
    if not is_of_driver:
        return "".join([*head, *frames, *traceback.format_exception_only(error)])
    kind = type(error)
    return "".join([*head, *frames, f"{kind.__module__}.{kind.__qualname__}: {code_of(error)}\n"])
