"""requests about groups by their number, with their target, kind, status and times"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BEFORE = "user_id, group_id, name, group_name, message, requested_at, updated_at, removed_at"


def upgrade() -> None:
    # A row of before has no number of the service. It gets one below 0, which the service never gives, and stays as history.
    op.execute(
        "CREATE TEMPORARY TABLE kept_requests AS"
        " SELECT *, row_number() OVER (ORDER BY account, group_id, user_id) AS place FROM group_requests"
    )
    op.drop_table("group_requests")
    op.create_table(
        "group_requests",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("target_id", sa.BigInteger(), nullable=True),
        sa.Column("target_name", sa.Text(), nullable=True),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("host_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("account", "request_id", "group_id", name=op.f("pk_group_requests")),
    )
    op.execute(
        f"INSERT INTO group_requests (account, request_id, {_BEFORE})"
        f" SELECT account, -place, {_BEFORE} FROM kept_requests"
    )
    op.execute("DROP TABLE kept_requests")


def downgrade() -> None:
    # The older version knows one request of a user for a group: the newest.
    op.execute(
        f"CREATE TEMPORARY TABLE kept_requests AS SELECT account, {_BEFORE},"
        " row_number() OVER (PARTITION BY account, group_id, user_id ORDER BY request_id DESC) AS place"
        " FROM group_requests"
    )
    op.drop_table("group_requests")
    op.create_table(
        "group_requests",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("account", "user_id", "group_id", name=op.f("pk_group_requests")),
    )
    op.execute(
        f"INSERT INTO group_requests (account, {_BEFORE}) SELECT account, {_BEFORE} FROM kept_requests WHERE place = 1"
    )
    op.execute("DROP TABLE kept_requests")
