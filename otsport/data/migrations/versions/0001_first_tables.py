"""First tables: portfolios, plans, orders, fills, transactions, positions, snapshots and the audit."""
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Amount = sa.Text().with_variant(sa.Numeric(), "postgresql")
Instant = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")

Whole = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def text(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=nullable)


def amount(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, Amount, nullable=nullable)


def instant(name: str) -> sa.Column:
    return sa.Column(name, Instant, nullable=False)


def day(name: str) -> sa.Column:
    return sa.Column(name, sa.Date, nullable=False)


def number(name: str) -> sa.Column:
    return sa.Column(name, Whole, nullable=False, autoincrement=False)


def owner() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["portfolio", "account"], ["portfolios.portfolio", "portfolios.account"])


def upgrade() -> None:
    op.create_table(
        "portfolios", text("portfolio"), text("account"), instant("added"),
        sa.PrimaryKeyConstraint("portfolio"), sa.UniqueConstraint("portfolio", "account"),
    )
    op.create_table(
        "plans", text("portfolio"), day("session"), instant("ts"), text("payload"),
        sa.PrimaryKeyConstraint("portfolio", "session"), sa.ForeignKeyConstraint(["portfolio"], ["portfolios.portfolio"]),
    )
    op.create_table(
        "orders", text("order_ref"), text("account"), text("portfolio"), text("key"), text("contract"),
        text("side"), amount("qty"), text("order_type"), amount("limit_price", nullable=True), text("tif"), text("strategy"), text("reason"),
        day("session"), number("stage"), text("state"), amount("filled_qty"), number("perm_id"), text("message"),
        sa.PrimaryKeyConstraint("order_ref"), owner(),
    )
    op.create_index("orders_by_session", "orders", ["portfolio", "session"])
    op.create_table(
        "order_events", number("seq"), text("order_ref"), instant("ts"), text("state"), amount("filled_qty"), number("perm_id"), text("message"),
        sa.PrimaryKeyConstraint("seq"), sa.ForeignKeyConstraint(["order_ref"], ["orders.order_ref"]),
    )
    op.create_index("order_events_by_order", "order_events", ["order_ref"])
    op.create_table(
        "fills", text("exec_id"), text("order_ref"), text("account"), text("portfolio"), day("session"), text("key"), text("contract"),
        text("side"), amount("qty"), amount("price"), instant("ts"), number("perm_id"),
        sa.PrimaryKeyConstraint("exec_id"), sa.ForeignKeyConstraint(["order_ref"], ["orders.order_ref"]), owner(),
    )
    op.create_index("fills_by_session", "fills", ["portfolio", "session"])
    op.create_table(
        "commissions", text("exec_id"), amount("amount"), text("currency"),
        sa.PrimaryKeyConstraint("exec_id"), sa.ForeignKeyConstraint(["exec_id"], ["fills.exec_id"]),
    )
    op.create_table(
        "transactions", number("seq"), text("kind"), text("account"), text("ref"), text("portfolio"), instant("ts"),
        text("key", nullable=True), text("contract", nullable=True), amount("qty"), amount("price"),
        sa.PrimaryKeyConstraint("seq"), sa.UniqueConstraint("kind", "account", "ref"), owner(),
    )
    op.create_index("transactions_by_portfolio", "transactions", ["portfolio"])
    op.create_table(
        "legs", number("seq"), number("n"), text("account"), amount("amount"), text("currency"),
        sa.PrimaryKeyConstraint("seq", "n"), sa.ForeignKeyConstraint(["seq"], ["transactions.seq"]),
    )
    op.create_table(
        "positions", text("portfolio"), text("account"), text("key"), text("contract"), text("lots"), amount("qty"),
        amount("realized"), amount("commission"), text("strategy"), number("version"),
        sa.PrimaryKeyConstraint("portfolio", "account", "key"), owner(),
    )
    op.create_table(
        "snapshots", text("portfolio"), instant("ts"), text("account"), day("session"), amount("cash"), amount("nav"), text("positions"),
        amount("day_pnl"), amount("unrealized"), amount("realized"), amount("commissions"),
        sa.PrimaryKeyConstraint("portfolio", "ts"), owner(),
    )
    op.create_index("snapshots_by_session", "snapshots", ["portfolio", "session"])
    op.create_table(
        "audit", number("seq"), text("ts"), text("action"), text("subject"), text("payload"), text("prev"), text("mac"),
        sa.PrimaryKeyConstraint("seq"),
    )


def downgrade() -> None:
    for table in ("audit", "snapshots", "positions", "legs", "transactions", "commissions", "fills", "order_events", "orders", "plans", "portfolios"):
        op.drop_table(table)
