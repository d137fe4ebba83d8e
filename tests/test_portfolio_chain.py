"""From real closes to orders, on the last bundled day and on random past days: feasible, paid, in whole lots."""
import random
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from otsport.analytics.covariance import shrunk_covariance
from otsport.core.calendars import next_session, session_close
from otsport.core.books import Lot, Position
from otsport.core.contracts import stock
from otsport.core.orders import Side
from otsport.core.settings import Limits, Sizing
from otsport.core.units import from_float
from otsport.core.venues import stock_tick
from otsport.data.samples import history
from otsport.portfolio.limits import apply_limits
from otsport.portfolio.objectives import optimize_targets
from otsport.portfolio.rebalance import commission_estimate, plan_orders
from otsport.portfolio.sizing import size_all
from otsport.strategy.coordinator import coordinate
from otsport.strategy.strategies import momentum_signals

BOLD = Sizing(base_size=0.10, max_portfolio_risk=0.05)
LIMITS = Limits()


def decide(day, positions, cash, sizing=BOLD):
    "Everything from the close of `day` to orders for the next session."
    prices_of, as_of = history(), session_close(day)
    signals = momentum_signals(prices_of.closes(as_of, sessions=253), as_of)
    views, _ = coordinate(signals, as_of)
    caps, _ = size_all(views, sizing)
    cov = shrunk_covariance(prices_of.returns(as_of, [cap.contract.symbol for cap in caps], 504)) if caps else pd.DataFrame()
    targets, best = optimize_targets(caps, {v.contract.symbol: v.expected_return for v in views}, cov, prices_of.sectors, LIMITS)
    last = prices_of.closes(as_of, sessions=1).iloc[-1]
    prices = {s: from_float(p, stock_tick(p)) for s, p in last.items()}
    nav = cash + sum((p.qty * prices[p.contract.symbol] for p in positions.values()), Decimal(0))
    targets, _ = apply_limits(targets, LIMITS, prices_of.sectors, positions, prices, nav)
    orders, decisions = plan_orders(targets, positions, prices, nav, cash, "DU123456", "main", next_session(day))
    return caps, best, targets, orders, decisions, prices, nav


def check_day(caps, best, targets, orders, prices, nav, cash):
    if best is None:
        assert not caps and not targets
        return
    weights, upper = {t.contract.symbol: t.weight for t in targets}, {t.contract.symbol: t.weight for t in caps}
    assert all(0 <= w <= min(upper[s], LIMITS.max_position_weight) + 1e-9 for s, w in weights.items())
    assert best.gross <= LIMITS.max_gross + 1e-9 and best.gross >= best.bounds.min_net - 1e-7
    sectors = history().sectors
    for sector in set(sectors.values()):
        assert sum(w for s, w in weights.items() if sectors[s] == sector) <= LIMITS.max_sector_weight + 1e-9
    assert best.sharpe > 0 and best.risk_shares.sum() == pytest.approx(1)
    spent = sum((o.qty * o.limit_price + commission_estimate(o.contract, o.qty) for o in orders if o.side is Side.BUY), Decimal(0))
    assert spent <= cash and all(o.qty % 1 == 0 for o in orders)


def test_chain_last_bundled_day():
    cash = Decimal(1_000_000)
    caps, best, targets, orders, decisions, prices, nav = decide(date(2022, 12, 27), {}, cash)
    check_day(caps, best, targets, orders, prices, nav, cash)
    assert len(caps) == 8 and 0.55 <= best.gross <= 0.80 and 4 <= best.effective_bets <= 8
    assert {o.contract.symbol for o in orders} <= {"RRC", "XOM", "CVX", "MRK", "LLY", "KO", "PEP", "WMT", "UNH", "JNJ", "PG", "BBY"}
    invested = sum(o.qty * prices[o.contract.symbol] for o in orders)
    assert float(invested / nav) == pytest.approx(best.gross, abs=0.01)  # whole lots and small trades cost less than 1 %
    assert decide(date(2022, 12, 27), {}, cash)[3] == orders  # the same prices, the same orders


def test_chain_hundred_random_days():
    days = [d.date() for d in history().closes(session_close(date(2022, 12, 27))).index[510:]]
    empty = 0
    for day in sorted(random.Random(11).sample(days, 100)):
        cash = Decimal(1_000_000)
        caps, best, targets, orders, decisions, prices, nav = decide(day, {}, cash)
        check_day(caps, best, targets, orders, prices, nav, cash)
        empty += best is None
    assert empty <= 5  # in a deep bear market nothing has risen


def test_chain_twenty_sessions_in_a_row_never_overdraws():
    "Every order fills at its limit, the worst; sells bring cash only after the buys are paid."
    day, cash, positions, traded = date(2020, 2, 18), Decimal(1_000_000), {}, 0
    for _ in range(20):
        caps, best, targets, orders, decisions, prices, nav = decide(day, positions, cash)
        check_day(caps, best, targets, orders, prices, nav, cash)
        counts = {s: p.qty for s, p in positions.items()}
        for order in sorted(orders, key=lambda o: o.side):  # buys first
            cash -= order.signed_qty * order.limit_price + commission_estimate(order.contract, order.qty)
            counts[order.contract.symbol] = counts.get(order.contract.symbol, Decimal(0)) + order.signed_qty
            assert cash >= 0
        assert all(q >= 0 for q in counts.values())
        positions = {s: Position("DU123456", "main", stock(s), (Lot(q, prices[s], session_close(day)),)) for s, q in counts.items() if q}
        day, traded = next_session(day), traded + len(orders)
    assert traded >= 8 and np.isfinite(float(nav))
