"""The tables on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.ledger import Ledger, open_ledger
from tests.parts.lists import Lists


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """Runs the test on SQLite and on PostgreSQL."""
    with open_ledger(database_url) as ledger:
        yield ledger


@pytest.fixture
def lists(ledger: Ledger) -> Lists:
    return Lists(ledger)
