"""Ctrl-C and SIGTERM in the demo: noted when they come, obeyed where nothing is half done.

An exception out of a signal handler may strike anywhere, also while a lock of ``subprocess`` is held, which then is never released.
"""

from __future__ import annotations

import signal


class Interruption:
    """Whether this process was asked to end (SIGINT, SIGTERM). To be made on the main thread."""

    def __init__(self) -> None:
        self._signal: int | None = None
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, self._note)

    def check(self) -> None:
        """End the process, by ``SystemExit``, with 128 + the signal if one has come."""
        if self._signal is not None:
            raise SystemExit(128 + self._signal)

    def _note(self, number: int, _frame: object) -> None:
        self._signal = self._signal or number
