"""every request: jobs of two steps, and the lists that snapshots are taken of"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("step", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("done", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("attempts_before", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("progress", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("step", sa.SmallInteger(), server_default="0", nullable=False))
    _create_list("contacts", ["user_id"], _text("handle"), _text("icon"), _flag("friend"))
    _create_list(
        "group_members", ["group_id", "user_id"], _text("icon"), sa.Column("role", sa.String(6)), _flag("friend")
    )
    _create_list(
        "friend_requests",
        ["user_id"],
        _text("handle"),
        _text("icon"),
        _text("message"),
        _text("kind"),
        _time("requested_at"),
    )
    _create_list(
        "group_requests", ["user_id", "group_id"], _text("group_name"), _text("message"), _time("requested_at")
    )
    with op.batch_alter_table("groups") as groups:
        # The bridge's numbers have 64 bits.
        groups.alter_column("member_count", existing_type=sa.Integer(), type_=sa.BigInteger())
    with op.batch_alter_table("snapshot_changes", table_kwargs={"sqlite_with_rowid": False}) as changes:
        changes.drop_constraint("fk_snapshot_changes_snapshot_id", type_="foreignkey")
        changes.drop_constraint("pk_snapshot_changes", type_="primary")
        changes.add_column(
            sa.Column("group_id", sa.BigInteger(), autoincrement=False, nullable=False, server_default="0")
        )
        changes.alter_column("snapshot_id", type_=sa.BigInteger(), existing_type=_serial(), existing_nullable=False)
        changes.create_primary_key("pk_snapshot_changes", ["snapshot_id", "subject", "group_id"])


def downgrade() -> None:
    # The older version knows the list of groups alone; in it, one subject has one change in a snapshot.
    op.execute("DELETE FROM snapshot_changes WHERE snapshot_id IN (SELECT id FROM snapshots WHERE kind <> 'groups')")
    op.execute("DELETE FROM snapshots WHERE kind <> 'groups'")
    with op.batch_alter_table("snapshot_changes") as changes:
        changes.drop_constraint("pk_snapshot_changes", type_="primary")
        changes.drop_column("group_id")
        changes.alter_column("snapshot_id", type_=_serial(), existing_type=sa.BigInteger(), existing_nullable=False)
        changes.create_primary_key("pk_snapshot_changes", ["snapshot_id", "subject"])
        changes.create_foreign_key(
            "fk_snapshot_changes_snapshot_id", "snapshots", ["snapshot_id"], ["id"], ondelete="CASCADE"
        )
    with op.batch_alter_table("groups") as groups:
        groups.alter_column("member_count", existing_type=sa.BigInteger(), type_=sa.Integer())
    for name in ("group_requests", "friend_requests", "group_members", "contacts"):
        op.drop_table(name)
    op.drop_column("attempts", "step")
    for name in ("progress", "attempts_before", "done", "step"):
        op.drop_column("jobs", name)


def _create_list(name: str, key: list[str], *fields: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("account", sa.String(length=64), nullable=False),
        *(sa.Column(part, sa.BigInteger(), autoincrement=False, nullable=False) for part in key),
        sa.Column("name", sa.Text(), nullable=False),
        *fields,
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("account", *key, name=op.f(f"pk_{name}")),
    )


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), nullable=True)


def _flag(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _serial() -> sa.BigInteger:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
