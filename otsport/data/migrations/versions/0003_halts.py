"""A portfolio can be halted; messages that belong to nobody here can be acknowledged."""
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Instant = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("portfolios", sa.Column("halted", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "acknowledged", sa.Column("portfolio", sa.Text, nullable=False), sa.Column("subject", sa.Text, nullable=False),
        sa.Column("ts", Instant, nullable=False), sa.Column("why", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("portfolio", "subject"), sa.ForeignKeyConstraint(["portfolio"], ["portfolios.portfolio"]),
    )


def downgrade() -> None:
    op.drop_table("acknowledged")
    op.drop_column("portfolios", "halted")
