"""What was said of an order has a code beside its words, older rows have none; requests to the holder of a book."""
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

Instant = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")

Whole = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def text(name: str) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=False)


def upgrade() -> None:
    for table in ("orders", "order_events"):
        op.add_column(table, sa.Column("code", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "requests", sa.Column("seq", Whole, nullable=False, autoincrement=False), text("portfolio"),
        sa.Column("ts", Instant, nullable=False), text("what"), text("subject"), text("who"), text("reason"),
        sa.Column("verdict", sa.Text), text("code"), text("message"),
        sa.PrimaryKeyConstraint("seq"), sa.ForeignKeyConstraint(["portfolio"], ["portfolios.portfolio"]),
    )
    op.create_index("requests_by_verdict", "requests", ["portfolio", "verdict"])


def downgrade() -> None:
    op.drop_table("requests")
    for table in ("order_events", "orders"):
        op.drop_column(table, "code")
