"""A book's own rules of rebalancing, from book.yaml to orders: paid, inside the caps, each with its reason; what the file gets wrong is told by its line."""
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.app.folder import new_folder, read_folder
from otsport.app.trading_day import rebalance_of
from otsport.core.books import Lot, Position
from otsport.core.calendars import session_close
from otsport.core.contracts import option, stock
from otsport.core.constraints import weight_caps
from otsport.core.errors import FolderError, InputError
from otsport.core.intent import Target
from otsport.core.orders import Side
from otsport.core.settings import Limits, Settings
from otsport.core.venues import commission_estimate
from otsport.data.samples import SECTORS, history
from otsport.desk.plan import Mandate, plan_stocks
from otsport.portfolio.lot_orders import plan_lot_orders
from otsport.portfolio.whole_lots import Rebalance, Taxes
from otsport.strategy.strategies import Momentum

DAY, THEN = date(2022, 12, 28), session_close(date(2022, 12, 27))
PRICES = {"AAPL": Decimal("130.03"), "KO": Decimal("63.50"), "PEP": Decimal("180"), "XOM": Decimal("109")}
LIMITS = Limits(max_position_weight=0.3, max_sector_weight=0.5)


def held(contract, qty, price="50"):
    return Position("DU123456", "main", contract, (Lot(Decimal(qty), Decimal(price), THEN),), strategy="momentum")


def planned(weights, shares, cash, rules=Rebalance(collar=0.02), calls=0, **more):
    positions = {s: held(stock(s), n) for s, n in shares.items() if n}
    if calls:
        call = option("KO", date(2023, 1, 20), 70, "C")
        positions[call.key] = held(call, -calls, "1")
    nav = cash + sum((n * PRICES[s] for s, n in shares.items()), Decimal(0))
    caps = weight_caps(PRICES, LIMITS, SECTORS)
    return nav, *plan_lot_orders([Target(stock(s), w) for s, w in weights.items()], positions, PRICES, nav, cash, "DU123456", "main", DAY, THEN, caps, rules, **more)


weights = st.fixed_dictionaries({s: st.floats(0, 0.24) for s in PRICES})
shares = st.fixed_dictionaries({s: st.integers(0, 2000) for s in PRICES})


@given(weights, shares, st.integers(1000, 1_000_000), st.sampled_from([0.0, 0.02]), st.sampled_from(["target", "edge"]), st.sampled_from([1, 100]))
@settings(max_examples=60, deadline=None)
def test_orders_are_paid_from_present_cash_and_inside_the_caps(wishes, owned, cash, band, to, lot):
    nav, orders, decisions = planned(wishes, owned, Decimal(cash), Rebalance(band=band, to=to, lot=lot, collar=0.02))
    spent = sum((o.qty * o.limit_price + commission_estimate(o.contract, o.qty) for o in orders if o.side is Side.BUY), Decimal(0))
    assert spent <= cash and len({o.contract for o in orders}) == len(orders) and all(o.reason and o.qty > 0 for o in orders)
    after = {s: Decimal(n) for s, n in owned.items()}
    for o in orders:
        after[o.contract.symbol] += o.side.sign * o.qty
    for cap in weight_caps(PRICES, LIMITS, SECTORS):
        assert cap.used({s: float(n * PRICES[s] / nav) for s, n in after.items()}) <= cap.bound + 1e-9
    assert {d.subject for d in decisions} <= set(PRICES) and all(d.code and d.message for d in decisions)


def test_pledged_shares_stay_and_options_are_part_of_nav():
    _, orders, decisions = planned({}, {"KO": 350}, Decimal(100_000), calls=2)
    assert [(o.side, o.qty) for o in orders] == [(Side.SELL, 150)] and [d.code for d in decisions] == ["PLEDGED"]
    assert "cut by PLEDGED; realizes +2,025.00 dollars (1 lots)" in orders[0].reason


def test_option_targets_are_refused():
    with pytest.raises(InputError, match="only stocks"):
        plan_lot_orders([Target(option("KO", date(2023, 1, 20), 70, "C"), 0.1)], {}, PRICES, Decimal(1000), Decimal(1000), "DU1", "main", DAY, THEN, ())


def folder_with(tmp_path, block):
    folder = new_folder(tmp_path / "desk")
    text = (folder.path / "book.yaml").read_text()
    (folder.path / "book.yaml").write_text(text.replace("objective: max_sharpe\n", f"objective: max_sharpe\n{block}", 1))
    return folder.path


def test_no_block_means_the_rules_of_before(tmp_path):
    folder = new_folder(tmp_path / "desk")
    assert folder.book.rebalance is None and rebalance_of(folder) == (None, ()) and "rebalance" not in dict(folder.rules)


def test_block_reaches_the_plan_and_its_reasons(tmp_path):
    folder = read_folder(folder_with(tmp_path, "rebalance:\n  band: 0.02\n  to: edge\n  taxes: {short_term: 0.35, long_term: 0.15, lots: highest_cost}\n  risk_aversion: 5\n"))
    rules, volumes = rebalance_of(folder)
    assert rules == Rebalance(band=0.02, to="edge", min_trade=0.01, reserve=0.002, risk_aversion=5, taxes=Taxes(0.35, 0.15, "highest_cost"), collar=0.02, sales_pay=False) and volumes == ()
    assert '"band": 0.02' in dict(folder.rules)["rebalance"]
    past = history().past(THEN)
    mandate = Mandate("DU123456", "main", Decimal(1_000_000), Settings(sizing={"base_size": 0.1, "max_portfolio_risk": 0.05}), (Momentum(),), rebalance=rules)
    first = plan_stocks(past, DAY, mandate, {}, Decimal(1_000_000), {})
    assert first.orders and all("of NAV" in o.reason for o in first.orders)
    positions = {o.contract.key: Position("DU123456", "main", o.contract, (Lot(o.qty, o.limit_price, THEN),), strategy="momentum") for o in first.orders}
    marks = {k: Decimal(str(past.closes(sessions=1).iloc[-1][k])).quantize(Decimal("0.01")) for k in positions}
    cash = Decimal(1_000_000) - sum((p.qty * marks[k] for k, p in positions.items()), Decimal(0))
    assert plan_stocks(past, DAY, mandate, positions, cash, marks).orders == ()  # nothing drifted
    thin = replace(mandate, rebalance=replace(rules, max_adv=0.01), volumes=tuple((s, 1000.0) for s in history().symbols))
    small = plan_stocks(past, DAY, thin, {}, Decimal(1_000_000), {})
    assert small.orders and {o.qty for o in small.orders} <= {10} and "LIQUIDITY" in {d.code for d in small.decisions}
    assert all("cut by LIQUIDITY" in o.reason for o in small.orders)


@pytest.mark.parametrize("block, words", [
    ("rebalance:\n  band: 2\n", r"line \d+: rebalance.band = 2: .*less than 1.*write a share"), ("rebalance:\n  to: middle\n", r"rebalance.to = 'middle'.*write target or edge"),
    ("rebalance:\n  bend: 0.1\n", "rebalance.bend.*did you mean band"), ("rebalance:\n  max_adv: 0.05\n", r"rebalance.max_adv = 0.05: this rule needs the average daily volume of AAPL"),
    ("rebalance:\n  volumes: {AAPX: 1000}\n", "rebalance.volumes.AAPX = 1000.*did you mean AAPL"), ("rebalance:\n  volumes: {AAPL: -5}\n", r"rebalance.volumes.AAPL = -5: .*greater than 0"),
    ("rebalance:\n  taxes: {lots: newest}\n", "rebalance.taxes.lots = 'newest'.*'first_in' or 'highest_cost'"), ("rebalance:\n  taxes: {short_term: 35}\n", "short_term = 35.*a rate from 0 to 1"),
])
def test_mistakes_in_the_block_are_told_by_line_field_and_rule(tmp_path, block, words):
    with pytest.raises(FolderError, match=words):
        read_folder(folder_with(tmp_path, block))
