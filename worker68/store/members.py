"""Who is in a group, as its last snapshot has it."""

from __future__ import annotations

from sqlalchemy import Engine, select

from worker68.store.engine import reading
from worker68.store.tables import group_members


def known_members(engine: Engine, account: str, group_id: int) -> list[int]:
    """Return the ids of the members who are there now; none where the group's members were never read."""
    there = (group_members.c.account == account, group_members.c.group_id == group_id)
    query = select(group_members.c.user_id).where(*there, group_members.c.removed_at.is_(None))
    with reading(engine) as connection:
        return list(connection.scalars(query.order_by(group_members.c.user_id)))
