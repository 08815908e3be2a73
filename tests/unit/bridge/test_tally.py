"""A tally has each kind from the beginning, so a reader on another thread never meets a table that grows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from worker68.bridge.tally import Kind, Tally

METRICS = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_each_kind_is_counted_from_0_while_another_reads() -> None:
    tally = Tally()
    read = []
    for kind, count in tally.items():
        read.append((kind, count))
        for counted in get_args(Kind):
            tally[counted] += 1
    assert {kind for kind, _ in read} == set(get_args(Kind))
    assert read[0][1] == 0
    assert set(tally.values()) == {len(read)}


def test_the_kinds_that_the_docs_name_are_counted() -> None:
    (row,) = re.findall(r"^\| `worker68_bridge_total` .*$", METRICS.read_text(), re.MULTILINE)
    named = re.findall(r"`(\w+)`", row.partition("since it was opened")[2])
    assert named
    assert set(named) <= set(Tally())
