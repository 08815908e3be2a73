"""The command line within the tests' own process, with a database that is there."""

from __future__ import annotations

from tests.unit.cli.conftest import Run, run

__all__ = ["Run", "run"]
