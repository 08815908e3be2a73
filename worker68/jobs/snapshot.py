"""What a sync saw at the bridge, in worker68's own types, on its way from the bridge to the snapshot tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GroupRow:
    """A group as a snapshot sees it; the fields are columns of ``groups``. ``role``: the account's own."""

    group_id: int
    name: str
    host_id: int | None
    member_count: int | None
    role: str | None
    muted: bool | None
    notice: str | None


@dataclass(frozen=True)
class GroupsSeen:
    """All groups that one reply held. ``complete``: every entry could be read, so what is missing is gone."""

    rows: tuple[GroupRow, ...]
    complete: bool
