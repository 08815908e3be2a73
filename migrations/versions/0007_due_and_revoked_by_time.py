"""what Redis refuses by account and time, and revoked ids by time"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Both tables are small as a rule: they need no CONCURRENTLY.
    op.create_index("ix_refused_account_due", "refused", ["account", "due_at", "id"])
    op.create_index("ix_cancellations_cancelled_at", "cancellations", ["cancelled_at"])


def downgrade() -> None:
    op.drop_index("ix_cancellations_cancelled_at", "cancellations")
    op.drop_index("ix_refused_account_due", "refused")
