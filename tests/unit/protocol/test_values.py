"""Values of the protocol: what is nested too deeply is cut."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from worker68.protocol.values import MOST_LEVELS, TOO_DEEP, cut_deep


@pytest.mark.parametrize("levels", [MOST_LEVELS, MOST_LEVELS + 1, 900])
def test_what_a_reader_still_takes_is_cut_on_request(levels: int) -> None:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    cut_deep(value)
    text = msgspec.json.encode(value).decode()
    assert (TOO_DEEP in text) is (levels > MOST_LEVELS + 1)
    assert text.count("[") + text.count("{") == min(levels, MOST_LEVELS + 1)
