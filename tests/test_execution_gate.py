"""Every refusal of the gate beside the order just inside its bound, which must pass."""
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otsport.analytics.bound_use import unit_parts
from otsport.core.books import Lot, Position
from otsport.core.constraints import GreekBound, LossBound, WeightCap, constraint_caps
from otsport.core.contracts import NAN, Quote, option, stock
from otsport.core.live import Grant
from otsport.core.orders import Order, OrderRecord, OrderState, OrderType, Side
from otsport.core.settings import BrokerProfile, ConstraintRules, Limits
from otsport.execution.gate import CHECKS, MAX_ORDER_QTY, Circumstances, Reason, check_order, let_through, margin_contracts

NOW = datetime(2022, 12, 28, 15, 0, tzinfo=timezone.utc)
CLOSES = datetime(2022, 12, 28, 21, 0, tzinfo=timezone.utc)
KO = stock("KO")
QUOTE = Quote(KO, NOW, 62.60, 62.62, source="live")
ORDER = Order("20221228-core-001", "DU123456", "core", KO, Side.BUY, Decimal(100), OrderType.LIMIT, Decimal("62.70"))
SALE = replace(ORDER, side=Side.SELL, limit_price=Decimal("62.60"))
OTHER = replace(ORDER, order_ref="20221228-core-002")
MARKET = replace(ORDER, order_type=OrderType.MARKET, limit_price=None)
CALL = option("KO", date(2022, 12, 28), Decimal(60), "C")
PUT = option("KO", date(2022, 12, 28), Decimal(60), "P")
PENNY = Quote(KO, NOW, 1.00, 1.02)


def held(*pairs):
    return {c.key: Position("DU123456", "core", c, (Lot(Decimal(q), Decimal(50), NOW),)) for c, q in pairs}


def book(*pairs):
    return {o.order_ref: OrderRecord(o, NOW.date(), OrderState(state), Decimal(filled)) for o, state, filled in pairs}


AT = Circumstances(
    profile=BrokerProfile(), served=("DU123456",), nav=1_000_000.0, cash=Decimal(100_000), quote=QUOTE, now=NOW, closes=CLOSES, limits=Limits(),
    known_symbols=frozenset({"KO", "AAPL"}), positions=held((KO, 300)), orders={},
)
LIVE = dict(profile=BrokerProfile(mode="live", accounts=("U7654321", "DU123456")), served=("U7654321", "DU123456"))
GRANT = Grant("simulated", "U7654321", "c1", "ana", NOW)
SOLD_CALL = replace(SALE, contract=CALL, limit_price=Decimal("2.60"), qty=Decimal(2))
SOLD_PUT = replace(SALE, contract=PUT, limit_price=Decimal("0.55"), qty=Decimal(16))
CALL_QUOTE, PUT_QUOTE = Quote(CALL, NOW, 2.60, 2.70), Quote(PUT, NOW, 0.55, 0.60)
RICH = dict(nav=1e9, cash=Decimal(10**9))
WING, LOW = replace(CALL, strike=Decimal(65)), replace(PUT, strike=Decimal(55))  # the long legs of spreads
SOLD_WING, WING_QUOTE = replace(SALE, contract=WING, limit_price=Decimal("0.50"), qty=Decimal(2)), Quote(WING, NOW, 0.50, 0.55)
SOLD_LOW, LOW_QUOTE = replace(SALE, contract=LOW, limit_price=Decimal("0.20"), qty=Decimal(2)), Quote(LOW, NOW, 0.20, 0.25)
CAP = dict(caps=(WeightCap("MAX_POSITION", "position limit", ("KO",), 0.10), WeightCap("MAX_GROSS", "gross limit", ("KO", "AAPL"), 0.2)))


def order(**change) -> dict:
    return {"order": replace(ORDER, **change)}


def quote(**change) -> dict:
    return {"quote": replace(QUOTE, **change)}


def sold_call(**at):
    return {"order": SOLD_CALL, "quote": CALL_QUOTE} | at


def sold_put(**at):
    return {"order": SOLD_PUT, "quote": PUT_QUOTE, "limits": Limits(max_order_weight=1.0)} | at


def asking(share, **at):
    "A limit on what the options ask for, with the prices that it needs."
    return {"limits": Limits(max_order_weight=1.0, max_margin=share), "prices": {"KO": 62.61, PUT.key: 0.575, LOW.key: 0.225}} | at


MARKS = {"KO": 62.61, PUT.key: 0.575, LOW.key: 0.225}


def bounded(*bounds, **at):
    "Bounds on Greeks and losses, with the prices that they need."
    return {"bounds": bounds, "prices": MARKS} | at


def sixteen_puts(greek: str, share: float) -> GreekBound:
    "A bound at a share of what sixteen sold puts have of a Greek."
    measured = -16 * float(unit_parts([PUT], (GreekBound(greek, high=0),), MARKS, NOW).parts[0][PUT.key][0])
    return GreekBound(greek, high=share * measured) if measured > 0 else GreekBound(greek, low=share * measured)


CRASH = dict(spots=(-0.2, 0.2), vols=(0.0,), days=(0,))  # 20 % down: 16 puts of 60 at a spot of 50.088 lose 9.912 less 0.575 each


# reason, what is refused, and its control: the nearest thing that passes
OWN_CAPS = constraint_caps(["KO", "PEP"], ConstraintRules(max_weight=0.1, groups={"colas": {"symbols": ["KO", "PEP"], "most": 0.1}}))
OWN_CAPS = (OWN_CAPS[0], OWN_CAPS[-1])  # of KO alone, and of the group
CASES = [
    ("HALTED", {"halted": "ana: the feed is wrong"}, {}),
    ("ACCOUNT", order(account=" "), {}),
    ("ACCOUNT", order(account="DU999999") | {"served": ("DU123456", "DU999999")}, {}),  # served, yet foreign to the profile
    ("ACCOUNT", {"served": ("DU777777",)}, {"served": ("DU777777", "DU123456")}),
    ("ACCOUNT", {"served": ()}, {}),
    ("MODE", LIVE, {}),
    ("MODE", order(account="U7654321") | {"profile": BrokerProfile(accounts=("U7654321",)), "served": ("U7654321",)}, {}),
    ("LIVE_NOT_ARMED", order(account="U7654321") | LIVE, order(account="U7654321") | LIVE | {"connection": "c1", "grants": (GRANT,)}),
    *(("LIVE_NOT_ARMED", order(account="U7654321") | LIVE | {"connection": "c1", "grants": (replace(GRANT, **other),)}, {}) for other in (
        {"profile": "paper"}, {"account": "U7654322"}, {"connection": "c2"}, {"connection": ""})),
    ("LIVE_NOT_ARMED", order(account="U7654321") | LIVE | {"connection": "", "grants": (replace(GRANT, connection=""),)}, {}),
    ("DISABLED", {"profile": BrokerProfile(status="disabled")}, {}),
    ("DAILY_TRADES", {"profile": BrokerProfile(rules={"max_daily_trades": 2}), "orders": book((OTHER, "filled", 100), (replace(OTHER, order_ref="x"), "working", 0))},
     {"profile": BrokerProfile(rules={"max_daily_trades": 2}), "orders": book((OTHER, "filled", 100), (replace(OTHER, order_ref="x"), "denied", 0))}),
    ("DAILY_TRADES", {"profile": BrokerProfile(rules={"max_daily_trades": 0})}, {}),
    ("SYMBOL", {"profile": BrokerProfile(rules={"symbols": ["AAPL"]})}, {"profile": BrokerProfile(rules={"symbols": ["AAPL", "KO"]})}),
    *(("DUPLICATE", {"orders": book((ORDER, state, 0))}, {"orders": book((ORDER, "created", 0))}) for state in OrderState if state is not OrderState.CREATED),
    ("WAITING", order(waits_for=(OTHER.order_ref,)) | {"orders": book((OTHER, "working", 0))},
     order(waits_for=(OTHER.order_ref,)) | {"orders": book((OTHER, "cancelled", 0))}),
    ("WAITING", order(waits_for=("never heard of",)), {}),
    ("WAITING", order(not_before=NOW + timedelta(microseconds=1)), order(not_before=NOW)),
    ("SYMBOL", order(contract=stock("GME")), {}),
    ("EXPIRED", order(contract=replace(CALL, expiry=date(2022, 12, 27))), {"order": replace(ORDER, contract=CALL, limit_price=Decimal("2.70")), "quote": CALL_QUOTE}),
    ("QUANTITY", order(qty=MAX_ORDER_QTY + 1, limit_price=Decimal("1.02")) | {"quote": PENNY}, order(qty=MAX_ORDER_QTY, limit_price=Decimal("1.02")) | {"quote": PENNY, "cash": Decimal(102_000)}),
    ("SESSION_CLOSED", {"now": CLOSES} | quote(ts=CLOSES), {"now": CLOSES - timedelta(seconds=1)} | quote(ts=CLOSES)),
    ("NO_QUOTE", {"quote": None}, {}),
    ("NO_QUOTE", quote(contract=stock("AAPL")), {}),
    ("NO_QUOTE", quote(bid=NAN), {}),
    ("NO_QUOTE", quote(ask=NAN), {}),
    ("NO_QUOTE", quote(ask=0.0), {}),
    ("NO_QUOTE", quote(bid=-1.0), {}),
    ("NO_QUOTE", {"order": replace(SALE, contract=CALL, limit_price=Decimal("0.05")), "quote": Quote(CALL, NOW, 0.0, 0.05)},
     {"order": replace(ORDER, contract=CALL, limit_price=Decimal("0.05")), "quote": Quote(CALL, NOW, 0.0, 0.05)}),  # a worthless option can be bought back
    ("NO_QUOTE", quote(bid=0.0), {}),
    ("PRICE_COLLAR", {"order": replace(ORDER, contract=CALL, limit_price=Decimal("0.29")), "quote": Quote(CALL, NOW, 0.0, 0.05)},
     {"order": replace(ORDER, contract=CALL, limit_price=Decimal("0.27")), "quote": Quote(CALL, NOW, 0.0, 0.05)}),
    ("CROSSED_QUOTE", quote(bid=62.63), quote(bid=62.62)),
    ("STALE_QUOTE", quote(ts=NOW - timedelta(seconds=60.1)), quote(ts=NOW - timedelta(seconds=60))),
    ("STALE_QUOTE", quote(ts=NOW + timedelta(seconds=60.1)), quote(ts=NOW + timedelta(seconds=60))),
    ("DELAYED_QUOTE", {"order": MARKET} | quote(source="delayed"), {"order": MARKET}),
    ("DELAYED_QUOTE", {"order": MARKET} | quote(source="frozen"), quote(source="frozen")),
    ("OFF_TICK", order(limit_price=Decimal("62.705")), order(limit_price=Decimal("62.70"))),
    ("OFF_TICK", order(contract=CALL, limit_price=Decimal("3.17")) | {"quote": replace(CALL_QUOTE, bid=3.1, ask=3.2)},
     order(contract=CALL, limit_price=Decimal("3.15")) | {"quote": replace(CALL_QUOTE, bid=3.1, ask=3.2)}),
    ("PRICE_COLLAR", order(limit_price=Decimal("65.75")), order(limit_price=Decimal("65.74"))),
    ("PRICE_COLLAR", {"order": replace(SALE, limit_price=Decimal("59.47"))}, {"order": replace(SALE, limit_price=Decimal("59.48"))}),
    ("PRICE_COLLAR", order(contract=CALL, limit_price=Decimal("0.36")) | {"quote": Quote(CALL, NOW, 0.09, 0.11)},
     order(contract=CALL, limit_price=Decimal("0.35")) | {"quote": Quote(CALL, NOW, 0.09, 0.11)}),
    ("UNCOVERED", sold_call(positions=held((KO, 199))), sold_call(positions=held((KO, 200)))),
    ("UNCOVERED", sold_call(positions={}), sold_call(positions=held((CALL, 2)))),
    ("UNCOVERED", sold_call(positions=held((CALL, 1), (KO, 99))), sold_call(positions=held((CALL, 1), (KO, 100)))),
    ("UNCOVERED", sold_call(positions=held((KO, 300), (replace(CALL, strike=Decimal(65)), -2))), sold_call(positions=held((KO, 400), (replace(CALL, strike=Decimal(65)), -2)))),
    *(("UNCOVERED", sold_call(orders=book((replace(SALE, order_ref="s", qty=Decimal(101)), state, 0))), sold_call(orders=book((replace(SALE, order_ref="s"), state, 0))))
      for state in ("sent", "accepted", "working", "partially_filled", "pending_cancel", "unknown", "filled")),  # filled without its executions binds as well
    ("UNCOVERED", sold_call(orders=book((replace(SALE, order_ref="s", qty=Decimal(200)), "working", 99))),
     sold_call(positions=held((KO, 300)), orders=book((replace(SALE, order_ref="s", qty=Decimal(200)), "working", 100)))),
    ("UNCOVERED", sold_call(positions=held((KO, 200)), orders=book((replace(SOLD_CALL, order_ref="c", qty=Decimal(1)), "unknown", 0))),
     sold_call(positions=held((KO, 200)), orders=book((replace(SOLD_CALL, order_ref="c", qty=Decimal(1)), "cancelled", 0)))),
    ("UNCOVERED", {"order": replace(SOLD_CALL, contract=replace(CALL, deliverable=150)), "quote": replace(CALL_QUOTE, contract=replace(CALL, deliverable=150)),
                   "positions": held((KO, 299))},
     {"order": replace(SOLD_CALL, contract=replace(CALL, deliverable=150)), "quote": replace(CALL_QUOTE, contract=replace(CALL, deliverable=150)), "positions": held((KO, 300))}),
    ("PLEDGED", {"order": replace(SALE, qty=Decimal(101)), "positions": held((KO, 300), (CALL, -2))}, {"order": SALE, "positions": held((KO, 300), (CALL, -2))}),
    ("PLEDGED", {"order": replace(SALE, qty=Decimal(300)), "positions": held((KO, 300), (CALL, -2))}, {"order": SALE, "positions": held((KO, 300), (CALL, -2))}),
    ("PLEDGED", {"order": replace(SALE, qty=Decimal(201)), "orders": book((replace(SALE, order_ref="s"), "unknown", 0))},
     {"order": replace(SALE, qty=Decimal(200)), "orders": book((replace(SALE, order_ref="s"), "unknown", 0))}),
    ("NO_SHORT", {"order": replace(SALE, qty=Decimal(301))}, {"order": replace(SALE, qty=Decimal(300))}),
    ("NO_SHORT", {"order": replace(SALE, qty=Decimal(1)), "positions": {}}, {"order": replace(SALE, qty=Decimal(1)), "positions": held((KO, 1))}),
    ("UNSECURED", sold_put(cash=Decimal(95_999)), sold_put(cash=Decimal(96_000))),
    ("UNSECURED", sold_put(positions=held((PUT, -1))), sold_put(positions=held((PUT, 16)), cash=Decimal(0))),
    ("UNSECURED", sold_put(orders=book((OTHER, "working", 0))), sold_put(orders=book((OTHER, "working", 40)))),
    ("UNSECURED", sold_put(orders=book((replace(OTHER, order_type=OrderType.MARKET, limit_price=None), "working", 0)), cash=Decimal(10**6)), sold_put(cash=Decimal(10**6))),
    ("UNSECURED", {"positions": held((PUT, -16))}, {"positions": held((PUT, -15))}),  # bought with the cash of puts that are sold
    ("UNSECURED", {"order": MARKET, "positions": held((PUT, -16))}, {"order": MARKET, "positions": held((PUT, -15))}),
    ("UNSECURED", {"orders": book((replace(SOLD_PUT, order_ref="p"), "unknown", 0))}, {"orders": book((replace(SOLD_PUT, order_ref="p"), "rejected", 0))}),
    ("UNSECURED", {"positions": held((PUT, -15)), "orders": book((OTHER, "working", 0))}, {"positions": held((PUT, -14)), "orders": book((OTHER, "working", 0))}),
    ("UNSECURED", {"positions": held((PUT, -1)), "orders": book((replace(MARKET, order_ref="m"), "working", 0))}, {"positions": held((PUT, -1)), "orders": book((replace(MARKET, order_ref="m"), "cancelled", 0))}),
    ("UNSECURED", {"order": replace(ORDER, contract=PUT, qty=Decimal(2), limit_price=Decimal("0.60")), "quote": PUT_QUOTE, "positions": held((PUT, -1)), "cash": Decimal(0)},
     {"order": replace(ORDER, contract=PUT, qty=Decimal(1), limit_price=Decimal("0.60")), "quote": PUT_QUOTE, "positions": held((PUT, -1)), "cash": Decimal(0)}),
    ("NO_CASH", {"cash": Decimal("6269.99")}, {"cash": Decimal("6270.00")}),  # 100 shares at 62.70
    ("NO_CASH", {"cash": Decimal(-1)}, {"cash": Decimal(-1), "limits": Limits(max_gross=1.01)}),  # a gross limit above 1 is what lets a book borrow
    ("NO_CASH", {"order": MARKET, "cash": Decimal("6261.99")}, {"order": MARKET, "cash": Decimal("6262.00")}),
    ("NO_CASH", {"orders": book((OTHER, "unknown", 0)), "cash": Decimal(12_539)}, {"orders": book((OTHER, "unknown", 0)), "cash": Decimal(12_540)}),
    ("NO_CASH", {"orders": book((replace(MARKET, order_ref="m"), "working", 0))}, {"orders": book((replace(MARKET, order_ref="m"), "cancelled", 0))}),
    ("NO_CASH", {"order": replace(ORDER, contract=CALL, limit_price=Decimal("2.70")), "quote": CALL_QUOTE, "cash": Decimal(26_999)},
     {"order": replace(ORDER, contract=CALL, limit_price=Decimal("2.70")), "quote": CALL_QUOTE, "cash": Decimal(0), "positions": held((CALL, -100))}),  # bought back
    # a long call of the same day covers a short one for the width of the strikes
    ("UNCOVERED", sold_call(positions=held((WING, 1))), sold_call(positions=held((WING, 2)), cash=Decimal(1_000))),
    ("UNCOVERED", sold_call(positions=held((replace(WING, trading_class="KO1"), 2))), sold_call(positions=held((replace(WING, expiry=date(2023, 1, 20)), 2)))),
    ("UNCOVERED", sold_call(positions=held((WING, 2)), orders=book((replace(SALE, order_ref="w", contract=WING, qty=Decimal(1)), "unknown", 0))),
     sold_call(positions=held((WING, 2)), orders=book((replace(SALE, order_ref="w", contract=WING, qty=Decimal(1)), "cancelled", 0)))),
    ("UNCOVERED", sold_call(positions={}, orders=book((replace(ORDER, order_ref="w", contract=WING, qty=Decimal(2)), "working", 0))),
     sold_call(positions=held((WING, 2)))),  # one that is only being bought covers nothing yet
    ("UNSECURED", sold_call(positions=held((WING, 2)), cash=Decimal("999.99")), sold_call(positions=held((WING, 2)), cash=Decimal(1_000))),
    ("UNSECURED", sold_put(positions=held((LOW, 16)), cash=Decimal(7_999)), sold_put(positions=held((LOW, 16)), cash=Decimal(8_000))),
    ("UNSECURED", sold_put(positions=held((LOW, 16)), orders=book((replace(SALE, order_ref="w", contract=LOW, qty=Decimal(1)), "working", 0)), cash=Decimal(13_499)),
     sold_put(positions=held((LOW, 16)), orders=book((replace(SALE, order_ref="w", contract=LOW, qty=Decimal(1)), "working", 0)), cash=Decimal(13_500))),
    ("UNSECURED", {"positions": held((PUT, -16), (LOW, 16)), "cash": Decimal(14_269)}, {"positions": held((PUT, -16), (LOW, 16)), "cash": Decimal(14_270)}),
    # the long leg cannot be sold while it covers
    ("PLEDGED", {"order": SOLD_WING, "quote": WING_QUOTE, "positions": held((CALL, -2), (WING, 2))}, {"order": SOLD_WING, "quote": WING_QUOTE, "positions": held((CALL, -2), (WING, 4))}),
    ("PLEDGED", {"order": SOLD_WING, "quote": WING_QUOTE, "positions": held((CALL, -2), (WING, 2), (KO, 199))},
     {"order": SOLD_WING, "quote": WING_QUOTE, "positions": held((CALL, -2), (WING, 4), (KO, 200))}),
    ("PLEDGED", {"order": SOLD_WING, "quote": WING_QUOTE, "positions": held((CALL, -2), (WING, 2), (KO, 900))},
     {"order": SOLD_WING, "quote": WING_QUOTE, "positions": held((WING, 2), (KO, 900))}),  # whatever else is free
    ("PLEDGED", {"order": SOLD_WING, "quote": WING_QUOTE, "positions": held((CALL, -2), (WING, 2)), "orders": book((replace(ORDER, order_ref="b", contract=CALL, qty=Decimal(2)), "working", 0))},
     {"order": SOLD_WING, "quote": WING_QUOTE, "positions": held((WING, 2))}),  # bought back only once it is filled
    ("PLEDGED", {"order": SOLD_LOW, "quote": LOW_QUOTE, "positions": held((PUT, -2), (LOW, 2)), "cash": Decimal(11_999)},
     {"order": SOLD_LOW, "quote": LOW_QUOTE, "positions": held((PUT, -2), (LOW, 4)), "cash": Decimal(1_000)}),
    ("ORDER_VALUE", order(qty=Decimal(3_988)) | RICH, order(qty=Decimal(3_987)) | RICH),
    ("ORDER_VALUE", sold_put(order=replace(SOLD_PUT, qty=Decimal(42)), **RICH), sold_put(order=replace(SOLD_PUT, qty=Decimal(41)), **RICH)),  # at the strike, not the premium
    ("ORDER_WEIGHT", {"nav": 31_349.0}, {"nav": 31_351.0}),
    ("ORDER_WEIGHT", {"nav": 0.0}, {}),
    ("ORDER_WEIGHT", {"nav": NAN}, {}),
    ("MAX_POSITION", CAP | {"weights": {"KO": 0.1188}}, CAP | {"weights": {"KO": 0.1187}}),
    ("MAX_POSITION", sold_put(order=replace(SOLD_PUT, qty=Decimal(1)), weights={"KO": 0.12}, **CAP), {"order": SALE, "weights": {"KO": 0.5}} | CAP),
    ("MAX_GROSS", CAP | {"weights": {"AAPL": 0.2438}}, CAP | {"weights": {"AAPL": 0.2437}}),
    ("SECTOR_CAP", {"caps": (WeightCap("SECTOR_CAP", "sector cap Staples", ("KO", "PEP"), 0.1),), "weights": {"PEP": 0.119}},
     {"caps": (WeightCap("SECTOR_CAP", "sector cap Energy", ("XOM",), 0.1),), "weights": {"XOM": 0.3}}),
    ("MAX_WEIGHT", {"caps": OWN_CAPS[:1], "weights": {"KO": 0.119}}, {"caps": OWN_CAPS[:1], "weights": {"KO": 0.118}}),
    ("GROUP_CAP", {"caps": OWN_CAPS[1:], "weights": {"PEP": 0.119}}, {"caps": OWN_CAPS[1:], "weights": {"XOM": 0.3}}),
    ("MARGIN", sold_put(**asking(0.0167)), sold_put(**asking(0.0168))),  # 16 x (20 % of 6,261 less 261, and 57.50 of value) = 16,779.20 of a million
    ("MARGIN", sold_put(**asking(0.0079, positions=held((LOW, 16)))), sold_put(**asking(0.0080, positions=held((LOW, 16))))),  # 16 spreads of 5 dollars
    ("MARGIN", sold_put(**asking(0.5, prices={PUT.key: 0.575})), sold_put(**asking(0.5))),  # without a spot nobody knows
    ("DELTA", bounded(GreekBound("delta", high=25_043)), bounded(GreekBound("delta", high=25_044))),  # 300 shares held and 100 bought at 62.61
    ("DELTA", {"order": SALE} | bounded(GreekBound("delta", low=12_523)), {"order": SALE} | bounded(GreekBound("delta", low=12_522))),
    ("DELTA", bounded(GreekBound("delta", high=399, symbol="KO", unit="shares")), bounded(GreekBound("delta", high=400, symbol="KO", unit="shares"))),
    ("DELTA", bounded(GreekBound("delta", high=0), prices={}), bounded(GreekBound("delta", high=0, symbol="AAPL"), prices={})),  # nobody knows the delta of KO; that of AAPL stays
    *((greek.upper(), sold_put(**bounded(sixteen_puts(greek, 0.999))), sold_put(**bounded(sixteen_puts(greek, 1.001)))) for greek in ("gamma", "vega", "theta")),
    ("STRESS_LOSS", sold_put(**bounded(LossBound(14_900, **CRASH), positions={})), sold_put(**bounded(LossBound(15_000, **CRASH), positions={}))),
    ("STRESS_LOSS", bounded(LossBound(5_008, **CRASH)), bounded(LossBound(5_009, **CRASH))),  # 400 shares lose a fifth of 25,044
]


def judge(change: dict):
    """The gate's answer to ORDER in AT, with some things changed."""
    return check_order(change.get("order", ORDER), replace(AT, **{k: v for k, v in change.items() if k != "order"}))


@pytest.mark.parametrize("code, bad, good", CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_gate_refuses_with_code_and_control_passes(code, bad, good):
    refused = judge(bad)
    assert (refused.code, refused.accepted) == (code, False), refused
    assert refused.message and refused.subject == bad.get("order", ORDER).order_ref
    passed = judge(good)
    assert passed.accepted, passed


def test_every_reason_has_a_case():
    assert {c[0] for c in CASES} == {r.value for r in Reason}


@pytest.mark.parametrize("code", ["QUANTITY", "STALE_QUOTE", "PRICE_COLLAR", "UNCOVERED", "PLEDGED", "NO_SHORT", "UNSECURED", "ORDER_VALUE", "ORDER_WEIGHT",
                                  "CROSSED_QUOTE", "MAX_POSITION", "MARGIN", "DELTA", "VEGA", "STRESS_LOSS"])
def test_numeric_refusal_carries_measure_and_bound(code):
    refused = judge(next(c[1] for c in CASES if c[0] == code))
    assert abs(refused.before) > abs(refused.after)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_no_check_can_be_left_out(check, monkeypatch):
    """Each check decides at least one case alone: without it that order would leave."""
    from otsport.execution import gate

    monkeypatch.setattr(gate, "CHECKS", tuple(c for c in CHECKS if c is not check))
    outcomes = []
    for _, bad, _ in CASES:
        try:
            outcomes.append(judge(bad).accepted)
        except (AttributeError, TypeError, KeyError):  # a later check needs what the missing one had made sure of
            outcomes.append(True)
    assert any(outcomes)


def test_margin_of_the_book_counts_every_open_sale_and_no_open_buy():
    """An open sale of 8 puts beside one of 8 asks for both; an open buy of their wings covers nothing yet. What is bought is never refused."""
    half = {"order": replace(SOLD_PUT, qty=Decimal(8))}
    other = replace(SOLD_PUT, order_ref="p", qty=Decimal(8))
    assert judge(sold_put(**asking(0.0167)) | half).accepted
    for state in ("sent", "working", "unknown"):
        assert judge(sold_put(**asking(0.0167)) | half | {"orders": book((other, state, 0))}).code == "MARGIN"
    assert judge(sold_put(**asking(0.0167)) | half | {"orders": book((other, "cancelled", 0))}).accepted
    wing = replace(SOLD_LOW, order_ref="w", side=Side.BUY, qty=Decimal(16))
    assert judge(sold_put(**asking(0.0100, orders=book((wing, "working", 0))))).code == "MARGIN"
    bought = {"order": replace(ORDER, contract=PUT, limit_price=Decimal("0.60"), qty=Decimal(1)), "quote": PUT_QUOTE}
    assert judge(bought | asking(1e-9, positions=held((PUT, -5)))).accepted


def test_a_tighter_margin_never_allows_more_and_none_is_as_before():
    shares = [0.9, 0.1, 0.0168, 0.0167, 0.001, 1e-6]
    allowed = [judge(sold_put(**asking(share))).accepted for share in shares]
    assert allowed == sorted(allowed, reverse=True) and True in allowed and False in allowed
    assert judge(sold_put()).accepted and Limits().max_margin is None  # without prices: nothing is measured
    uncovered = sold_call(positions={}) | asking(0.9)
    assert judge(uncovered).code == "UNCOVERED"  # it loosens nothing: the cover is asked for first


def test_sales_that_leave_together_share_the_margin():
    half = [OrderRecord(replace(SOLD_PUT, order_ref=f"20221228-core-01{n}", qty=Decimal(8)), NOW.date(), OrderState.CREATED) for n in (1, 2)]
    at = replace(AT, **{k: v for k, v in asking(0.0120).items() if k == "limits"})
    quotes = {PUT.key: PUT_QUOTE, "KO": replace(QUOTE, last=62.61)}
    assert [d.code for d in let_through({}, half, quotes, at)] == ["OK", "MARGIN"]
    assert [c.key for c in margin_contracts(at, half)] == [PUT.key, "KO"] and margin_contracts(AT, half) == []


def test_an_order_may_be_worth_the_limit_to_the_cent():
    whole = replace(ORDER, qty=Decimal(4_000), limit_price=Decimal("62.50"))
    assert check_order(whole, replace(AT, **RICH)).accepted and check_order(replace(whole, qty=Decimal(4_001)), replace(AT, **RICH)).code == "ORDER_VALUE"


def test_an_order_that_adds_no_weight_passes_above_a_cap():
    """A call that is bought adds no shares to a book that holds too many of them; shares would."""
    full = replace(AT, **RICH, **CAP, weights={"KO": 0.5})
    bought = replace(ORDER, contract=CALL, qty=Decimal(1), limit_price=Decimal("2.70"))
    assert check_order(bought, replace(full, quote=CALL_QUOTE)).accepted and check_order(ORDER, full).code == "MAX_POSITION"


def test_option_value_counts_the_multiplier():
    accepted = judge({"order": replace(ORDER, contract=CALL, limit_price=Decimal("2.70"), qty=Decimal(10)), "quote": CALL_QUOTE})
    assert accepted.after == 2_700.0


def test_expiry_day_lasts_until_new_york_ends_it():
    """An option of the 28th is alive at eight in the evening of New York, when it is the 29th in UTC already."""
    evening = datetime(2022, 12, 29, 1, 0, tzinfo=timezone.utc)
    alive = {"order": replace(ORDER, contract=CALL, limit_price=Decimal("2.70")), "quote": replace(CALL_QUOTE, ts=evening), "now": evening, "closes": evening + timedelta(hours=1)}
    assert judge(alive).accepted
    late = evening + timedelta(hours=5)
    assert judge(alive | {"now": late, "closes": late + timedelta(hours=1), "quote": replace(CALL_QUOTE, ts=late)}).code == "EXPIRED"


@given(st.integers(1, 200_000), st.floats(0.01, 2_000), st.floats(1_000, 1e8), st.sampled_from(Side))
def test_gate_never_lets_more_pass_than_its_limits(qty, price, nav, side):
    cents = Decimal(f"{price:.2f}")
    wish = replace(ORDER, qty=Decimal(qty), limit_price=cents, side=side)
    decision = judge({"order": wish, "nav": nav, "cash": Decimal(10**12), "positions": held((KO, 10**6))} | quote(bid=float(cents), ask=float(cents)))
    value = qty * cents
    limits = Limits()
    closes = side is Side.SELL  # a million shares are held: what only closes a position is never too large
    inside = qty <= MAX_ORDER_QTY and (closes or value <= limits.max_order_value and float(value) / nav <= limits.max_order_weight)
    assert decision.accepted == inside


def test_what_closes_a_short_position_is_never_too_large_and_what_goes_beyond_is_judged():
    """5,000 shares short beside 10,000 dollars: buying back 5,000 is let through, 5,001 only as far as the one share is within limits and cash."""
    short = {"positions": held((KO, -5_000)), "nav": 10_000.0, "cash": Decimal(100)} | quote(bid=60.0, ask=60.0)
    back = replace(ORDER, contract=KO, side=Side.BUY, qty=Decimal(5_000), limit_price=Decimal("60.00"))
    assert judge(short | {"order": back}).accepted
    assert judge(short | {"order": replace(back, qty=Decimal(5_001))}).accepted
    assert judge(short | {"order": replace(back, qty=Decimal(5_002))}).code == "NO_CASH"
    assert judge(short | {"order": replace(back, qty=Decimal(5_040)), "cash": Decimal(10**6)}).code == "ORDER_WEIGHT"


def test_a_position_is_not_closed_twice():
    """One order buys the shares back already: a second one would open a position, and needs the cash for it."""
    back = replace(ORDER, contract=KO, side=Side.BUY, qty=Decimal(100), limit_price=Decimal("60.00"))
    first = OrderRecord(replace(back, order_ref="20221228-core-009"), NOW.date(), OrderState.WORKING)
    short = {"positions": held((KO, -100)), "cash": Decimal(100), "order": back} | quote(bid=60.0, ask=60.0)
    assert judge(short).accepted
    assert judge(short | {"orders": {first.order.order_ref: first}}).code == "NO_CASH"


def wishes(*orders):
    return [OrderRecord(o, NOW.date(), OrderState.CREATED) for o in orders]


def test_shares_cover_only_once_among_orders_that_leave_together():
    two = wishes(replace(SOLD_CALL, order_ref="a"), replace(SOLD_CALL, order_ref="b"))
    assert [d.code for d in let_through({}, two, {CALL.key: CALL_QUOTE}, AT)] == ["OK", "UNCOVERED"]
    both = wishes(SALE, replace(SOLD_CALL, order_ref="b", qty=Decimal(3)))
    assert [d.code for d in let_through({}, both, {CALL.key: CALL_QUOTE, "KO": QUOTE}, AT)] == ["OK", "UNCOVERED"]


def test_cash_and_weight_are_used_only_once_among_orders_that_leave_together():
    two = wishes(replace(SOLD_PUT, order_ref="a", qty=Decimal(10)), replace(SOLD_PUT, order_ref="b", qty=Decimal(10)))
    assert [d.code for d in let_through({}, two, {PUT.key: PUT_QUOTE}, AT)] == ["OK", "UNSECURED"]
    capped = replace(AT, **CAP, weights={"KO": 0.113})
    assert [d.code for d in let_through({}, wishes(ORDER, OTHER), {"KO": QUOTE}, capped)] == ["OK", "MAX_POSITION"]


def test_a_refused_order_binds_nothing():
    both = wishes(replace(SALE, order_ref="a", qty=Decimal(301)), replace(SOLD_CALL, order_ref="b", qty=Decimal(3)))
    assert [d.code for d in let_through({}, both, {CALL.key: CALL_QUOTE, "KO": QUOTE}, AT)] == ["NO_SHORT", "OK"]


def test_a_spread_binds_its_loss_once_among_orders_that_leave_together():
    """Two sales of calls on two long ones: the first takes the cover, the second has none left."""
    two = wishes(replace(SOLD_CALL, order_ref="a"), replace(SOLD_CALL, order_ref="b"))
    assert [d.code for d in let_through({}, two, {CALL.key: CALL_QUOTE}, replace(AT, positions=held((WING, 2))))] == ["OK", "UNCOVERED"]
    both = wishes(replace(SOLD_WING, order_ref="a"), replace(SOLD_CALL, order_ref="b"))
    assert [d.code for d in let_through({}, both, {CALL.key: CALL_QUOTE, WING.key: WING_QUOTE}, replace(AT, positions=held((WING, 2))))] == ["OK", "UNCOVERED"]


def test_a_spread_is_capped_by_its_loss_and_not_by_its_strike():
    spread = {"order": replace(SOLD_PUT, qty=Decimal(2)), "quote": PUT_QUOTE, "positions": held((LOW, 2)), "caps": CAP["caps"]}
    assert judge(spread | {"weights": {"KO": 0.12}}).accepted and judge(spread | {"weights": {"KO": 0.1241}}).code == "MAX_POSITION"
    assert judge(spread | {"weights": {"KO": 0.12}, "positions": {}}).code == "MAX_POSITION"  # alone it weighs 12,000 dollars
