"""Orders wait for facts instead of stages, and know the audit row that wrote them last."""
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Instant = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")

Whole = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    op.add_column("orders", sa.Column("waits_for", sa.Text, nullable=False, server_default="[]"))
    op.add_column("orders", sa.Column("not_before", Instant))
    op.add_column("orders", sa.Column("parent", sa.Text, nullable=False, server_default=""))
    op.add_column("orders", sa.Column("group", sa.Text, nullable=False, server_default=""))
    op.add_column("orders", sa.Column("version", Whole, nullable=False, server_default="0"))
    op.execute("""UPDATE orders SET "group" = 'overlay' WHERE stage = 2""")
    op.execute("""UPDATE orders SET version = (SELECT max(seq) FROM audit WHERE action IN ('order', 'order state') AND subject = order_ref)""")
    op.drop_column("orders", "stage")


def downgrade() -> None:
    op.add_column("orders", sa.Column("stage", Whole, nullable=False, server_default="1"))
    op.execute("""UPDATE orders SET stage = 2 WHERE "group" = 'overlay'""")
    for column in ("version", "group", "parent", "not_before", "waits_for"):
        op.drop_column("orders", column)
