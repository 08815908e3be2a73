"""The faults that a test turns on: a misspelt one is an error, and all can be turned back."""

from __future__ import annotations

from typing import Any

import pytest

from worker68.simulator.faults import Faults
from worker68.simulator.spelling import Spelling


def test_misspelt_fault_is_an_error() -> None:
    faults: Any = Faults()
    with pytest.raises(AttributeError):
        faults.no_ehco = True
    with pytest.raises(AttributeError):
        faults.paging.shrot_by = 1
    with pytest.raises(AttributeError):
        faults.spelling.swaped_ranks = True


def test_clear_turns_everything_back() -> None:
    faults = Faults(no_echo=True, verdict="none")
    faults.busy_sends.set(5)
    faults.paging.repeats.set(5)
    faults.paging.count_off_by = 1
    faults.spelling.swapped_ranks = True
    faults.clear()
    assert (faults.no_echo, faults.verdict, faults.busy_sends.left) == (False, "sent", 0)
    assert (faults.paging.repeats.left, faults.paging.count_off_by) == (0, 0)
    assert faults.spelling == Spelling()
