"""parcels that Redis refuses for good, beside the outbox"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refused",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refused")),
    )
    op.create_index("ix_refused_due", "refused", ["due_at"])
    op.create_index("ix_refused_address", "refused", ["address"])


def downgrade() -> None:
    # What Redis refused goes back to where the older version looks for it.
    op.execute(
        "INSERT INTO outbox (account, kind, address, payload, created_at)"
        " SELECT account, kind, address, payload, created_at FROM refused ORDER BY id"
    )
    op.drop_table("refused")
