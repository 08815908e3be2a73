"""pauses of accounts; indexes that hold only who waits in a lane, or only who is not due

The index over all unfinished jobs held the deferred ones as well, so that a lane's head was looked for among all of them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_IN_LANE = "(state = 'ready' OR (state = 'deferred' AND attempts > 0))"
_NOT_DUE = "(state = 'deferred' AND attempts = 0)"
_PARKED = "(state = 'deferred' AND lane = 'parked')"


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_by", sa.String(length=255), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_by", sa.String(length=128), nullable=True),
        sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resumed_by", sa.String(length=255), nullable=True),
        sa.Column("resume_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pauses")),
    )
    _index("uq_pauses_account", "pauses", ["account"], "(resumed_at IS NULL)", unique=True)
    _index("ix_jobs_in_lane", "jobs", ["account", "lane", sa.text("step DESC"), "priority", "seq"], _IN_LANE)
    _index("ix_jobs_not_due", "jobs", ["account", "due_at"], _NOT_DUE)
    _index("ix_jobs_parked", "jobs", ["account", "seq"], _PARKED)
    op.drop_index("ix_jobs_lane", "jobs")
    op.drop_index("ix_jobs_due", "jobs")


def downgrade() -> None:
    _index("ix_jobs_due", "jobs", ["account", "due_at"], "state = 'deferred'")
    _index("ix_jobs_lane", "jobs", ["account", "lane", "priority", "seq"], "state <> 'ended'")
    for name in ("ix_jobs_parked", "ix_jobs_not_due", "ix_jobs_in_lane"):
        op.drop_index(name, "jobs")
    op.drop_table("pauses")


def _index(name: str, table: str, columns: list[str | sa.TextClause], where: str, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, postgresql_where=condition, sqlite_where=condition)
