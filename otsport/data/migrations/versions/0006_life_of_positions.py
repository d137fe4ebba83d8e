"""Income of positions and snapshots; the lots that a transaction left where they are not the newest, and what an exchange made a contract from."""
import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

Amount = sa.Text().with_variant(sa.Numeric(), "postgresql")


def upgrade() -> None:
    for table in ("positions", "snapshots"):
        op.add_column(table, sa.Column("income", Amount, nullable=False, server_default="0"))
    for name in ("lots", "other"):
        op.add_column("transactions", sa.Column(name, sa.Text))
    op.create_index("transactions_by_kind", "transactions", ["portfolio", "kind"])


def downgrade() -> None:
    op.drop_index("transactions_by_kind", "transactions")
    for name in ("other", "lots"):
        op.drop_column("transactions", name)
    for table in ("snapshots", "positions"):
        op.drop_column(table, "income")
