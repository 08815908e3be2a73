"""What a worker tells about itself in Redis, for ``worker68 top`` and ``worker68 health``: a few numbers, no ids, no text.

Only of what Redis refuses it tells the keys, for ``worker68 check``.
"""

from __future__ import annotations

import datetime as dt

import msgspec


class AccountStatus(msgspec.Struct, frozen=True):
    """An account as its owner sees it. ``bridge``: why it cannot be used, null while it can.."""

    bridge: str | None
    unfinished: int
    in_flight: int
    ended_per_minute: float
    endings: dict[str, int]


class RefusedKey(msgspec.Struct, frozen=True):
    """A key that Redis refuses for good. ``what``: ``reply``, ``result``, ``event``, ...; ``problem``: Redis's words."""

    key: str
    what: str
    problem: str
    count: int


class WorkerStatus(msgspec.Struct, frozen=True):
    """A worker. ``problem``: what its own look at itself found, null while it is well."""

    worker: str
    pid: int
    started_at: dt.datetime
    told_at: dt.datetime
    problem: str | None
    front: bool
    accounts: dict[str, AccountStatus]
    refused: list[RefusedKey] = []
