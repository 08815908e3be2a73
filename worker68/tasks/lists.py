"""What the replies with lists have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

Entries = Sequence[msgspec.Raw]


class ListReply(msgspec.Struct):
    """What stands in each reply of the service that holds a list."""

    commonResult: Any = None
    count: Any = None
    lastUpdateTime: Any = None


def entries_of(data: ListReply, entries: list[msgspec.Raw] | None) -> Entries | None:
    """An empty list is left out of the service's replies; data without the service's own result is no reply of its. [doc/seen]"""
    return () if entries is None and data.commonResult is not None else entries
