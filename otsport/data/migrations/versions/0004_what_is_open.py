"""What is open costs what it is: running balances, indexes on open rows, snapshots that know their audit row; and the holder of a book."""
import json
from decimal import Decimal

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

Amount = sa.Text().with_variant(sa.Numeric(), "postgresql")
Instant = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")

Whole = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def text(name: str) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=False)


def number(name: str) -> sa.Column:
    return sa.Column(name, Whole, nullable=False)


def upgrade() -> None:
    op.create_table(
        "balances", text("portfolio"), text("account"), text("name"), text("currency"), sa.Column("amount", Amount, nullable=False), number("version"),
        sa.PrimaryKeyConstraint("portfolio", "account", "name", "currency"),
        sa.ForeignKeyConstraint(["portfolio", "account"], ["portfolios.portfolio", "portfolios.account"]),
    )
    op.create_table(
        "holders", text("portfolio"), text("who"), number("client_id"), sa.Column("since", Instant, nullable=False), number("epoch"),
        sa.Column("after_a_death", sa.Boolean, nullable=False), sa.PrimaryKeyConstraint("portfolio"),
    )
    op.create_index("orders_by_state", "orders", ["portfolio", "state"])
    op.create_index("positions_by_qty", "positions", ["portfolio", "qty"])
    op.add_column("snapshots", sa.Column("seq", Whole, nullable=False, server_default="0"))
    fill_balances(op.get_bind())
    fill_rows_of_snapshots(op.get_bind())


def fill_balances(conn: sa.Connection) -> None:
    "Sum the legs that were booked, exactly."
    legs = conn.exec_driver_sql("SELECT t.portfolio, t.account, l.account, l.currency, l.amount, l.seq FROM legs l JOIN transactions t ON t.seq = l.seq ORDER BY l.seq, l.n")
    found: dict[tuple[str, ...], tuple[Decimal, int]] = {}
    for portfolio, account, name, currency, amount, seq in legs:
        key = (portfolio, account, name.partition(":")[0], currency)
        found[key] = (found.get(key, (Decimal(0), 0))[0] + Decimal(amount), seq)
    rows = [dict(zip(("portfolio", "account", "name", "currency"), key), amount=f"{amount:f}", version=seq) for key, (amount, seq) in found.items()]
    if rows:
        conn.execute(sa.text("INSERT INTO balances VALUES (:portfolio, :account, :name, :currency, :amount, :version)"), rows)


def fill_rows_of_snapshots(conn: sa.Connection) -> None:
    "The audit row that took each snapshot."
    for seq, payload in conn.exec_driver_sql("SELECT seq, payload FROM audit WHERE action = 'snapshot'").all():
        taken = json.loads(payload)["snapshot"]
        conn.execute(sa.text("UPDATE snapshots SET seq = :seq WHERE portfolio = :portfolio AND ts = :ts"), {"seq": seq, "portfolio": taken["portfolio"], "ts": taken["ts"]})


def downgrade() -> None:
    op.drop_column("snapshots", "seq")
    op.drop_index("positions_by_qty")
    op.drop_index("orders_by_state")
    op.drop_table("holders")
    op.drop_table("balances")
