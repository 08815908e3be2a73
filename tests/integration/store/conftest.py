"""Lists in the tables of both databases."""

from __future__ import annotations

import pytest

from tests.parts.ledger import Ledger
from tests.parts.lists import Lists


@pytest.fixture
def lists(ledger: Ledger) -> Lists:
    return Lists(ledger)
