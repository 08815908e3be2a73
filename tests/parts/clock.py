"""A monotonic clock that a test drives."""

from __future__ import annotations

import pytest


class Clock:
    """Stands still until a test moves it. In seconds, as ``worker68.clock.monotonic``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def drive(self, monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
        """Let these modules read this clock in place of the real one."""
        for module in modules:
            monkeypatch.setattr(f"{module}.monotonic", self)
