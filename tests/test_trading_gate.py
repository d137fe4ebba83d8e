"""Every refusal of the gate beside the order just inside its bound, which must pass."""
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from time import perf_counter_ns

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otsport.core.contracts import NAN, Quote, option, stock
from otsport.core.orders import Order, OrderType, Side
from otsport.core.settings import BrokerProfile, Limits
from otsport.execution.gate import MAX_ORDER_QTY, Reason, check_order

NOW = datetime(2022, 12, 28, 14, 0, tzinfo=timezone.utc)
CLOSES = datetime(2022, 12, 28, 21, 0, tzinfo=timezone.utc)
QUOTE = Quote(stock("KO"), NOW, 62.60, 62.62, source="live")
ORDER = Order("20221228-core-001", "DU123456", "core", stock("KO"), Side.BUY, Decimal(100), OrderType.LIMIT, Decimal("62.70"))
MARKET = replace(ORDER, order_type=OrderType.MARKET, limit_price=None)
CALL = option("KO", date(2022, 12, 28), Decimal(60), "C")
PENNY = Quote(stock("KO"), NOW, 1.00, 1.02)
GIVEN = dict(
    profile=BrokerProfile(), served=("DU123456",), nav=1_000_000.0, quote=QUOTE, now=NOW, limits=Limits(),
    known_symbols=frozenset({"KO", "AAPL"}), sent_refs=frozenset({"20221227-core-001"}), closes=CLOSES,
)
LIVE = dict(profile=BrokerProfile(mode="live", accounts=("U7654321", "DU123456")), served=("U7654321", "DU123456"))


def order(**change) -> dict:
    return {"order": replace(ORDER, **change)}


def quote(**change) -> dict:
    return {"quote": replace(QUOTE, **change)}


# reason, what is refused, and its control: the nearest thing that passes
SOLD_CALL = {"order": replace(ORDER, contract=CALL, side=Side.SELL, limit_price=Decimal("2.60"), qty=Decimal(2))} | quote(contract=CALL, bid=2.6, ask=2.7)
CASES = [
    ("UNCOVERED", SOLD_CALL | {"free_shares": {CALL.symbol: Decimal(199)}}, SOLD_CALL | {"free_shares": {CALL.symbol: Decimal(200)}}),
    ("UNCOVERED", SOLD_CALL | {"free_shares": {}}, {"free_shares": {}}),
    ("ACCOUNT", order(account=" "), {}),
    ("ACCOUNT", order(account="DU999999"), {}),
    ("ACCOUNT", {"served": ("DU777777",)}, {"served": ("DU777777", "DU123456")}),
    ("ACCOUNT", {"served": ()}, {}),
    ("MODE", LIVE, {}),
    ("MODE", order(account="U7654321") | {"profile": BrokerProfile(accounts=("U7654321",)), "served": ("U7654321",)}, {}),
    ("LIVE_NOT_ARMED", order(account="U7654321") | LIVE, {}),
    ("DUPLICATE", order(order_ref="20221227-core-001"), order(order_ref="20221227-core-002")),
    ("SYMBOL", order(contract=stock("GME")), {}),
    ("EXPIRED", order(contract=replace(CALL, expiry=date(2022, 12, 27))), order(contract=CALL, limit_price=Decimal("2.70")) | quote(contract=CALL, bid=2.6, ask=2.7)),
    ("QUANTITY", {"order": replace(ORDER, qty=MAX_ORDER_QTY + 1, limit_price=Decimal("1.02")), "quote": PENNY}, {"order": replace(ORDER, qty=MAX_ORDER_QTY, limit_price=Decimal("1.02")), "quote": PENNY}),
    ("SESSION_CLOSED", {"now": CLOSES} | quote(ts=CLOSES), {"now": CLOSES - timedelta(seconds=1)} | quote(ts=CLOSES)),
    ("NO_QUOTE", {"quote": None}, {}),
    ("NO_QUOTE", quote(contract=stock("AAPL")), {}),
    ("NO_QUOTE", quote(bid=NAN), {}),
    ("NO_QUOTE", quote(ask=NAN), {}),
    ("NO_QUOTE", quote(ask=0.0), {}),
    ("NO_QUOTE", quote(bid=-1.0), {}),
    ("CROSSED_QUOTE", quote(bid=62.63), quote(bid=62.62)),
    ("STALE_QUOTE", quote(ts=NOW - timedelta(seconds=60.1)), quote(ts=NOW - timedelta(seconds=60))),
    ("STALE_QUOTE", quote(ts=NOW + timedelta(seconds=60.1)), quote(ts=NOW + timedelta(seconds=60))),
    ("DELAYED_QUOTE", {"order": MARKET} | quote(source="delayed"), {"order": MARKET}),
    ("DELAYED_QUOTE", {"order": MARKET} | quote(source="frozen"), quote(source="frozen")),
    ("PRICE_COLLAR", order(limit_price=Decimal("65.75")), order(limit_price=Decimal("65.74"))),
    ("PRICE_COLLAR", order(side=Side.SELL, limit_price=Decimal("59.47")), order(side=Side.SELL, limit_price=Decimal("59.48"))),
    ("PRICE_COLLAR", order(contract=CALL, limit_price=Decimal("0.36")) | quote(contract=CALL, bid=0.09, ask=0.11), order(contract=CALL, limit_price=Decimal("0.35")) | quote(contract=CALL, bid=0.09, ask=0.11)),
    ("ORDER_VALUE", order(qty=Decimal(3_988)) | {"nav": 1e9}, order(qty=Decimal(3_987)) | {"nav": 1e9}),
    ("ORDER_WEIGHT", {"nav": 31_349.0}, {"nav": 31_351.0}),
    ("ORDER_WEIGHT", {"nav": 0.0}, {}),
    ("ORDER_WEIGHT", {"nav": NAN}, {}),
]


@pytest.mark.parametrize("code, bad, good", CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_gate_refuses_with_code_and_control_passes(code, bad, good):
    refused = check_order(**({"order": ORDER} | GIVEN | bad))
    assert (refused.code, refused.accepted) == (code, False)
    assert refused.message and refused.subject == ({"order": ORDER} | bad)["order"].order_ref
    passed = check_order(**({"order": ORDER} | GIVEN | good))
    assert passed.accepted, passed


def test_every_reason_has_a_case():
    assert {c[0] for c in CASES} == {r.value for r in Reason}


@pytest.mark.parametrize("code", ["QUANTITY", "STALE_QUOTE", "PRICE_COLLAR", "ORDER_VALUE", "ORDER_WEIGHT", "CROSSED_QUOTE"])
def test_numeric_refusal_carries_measure_and_bound(code):
    bad = next(c[1] for c in CASES if c[0] == code)
    refused = check_order(**({"order": ORDER} | GIVEN | bad))
    assert abs(refused.before) > abs(refused.after)


def test_option_value_counts_the_multiplier():
    given_call = GIVEN | quote(contract=CALL, bid=2.6, ask=2.7)
    accepted = check_order(replace(ORDER, contract=CALL, limit_price=Decimal("2.70"), qty=Decimal(10)), **given_call)
    assert accepted.after == 2_700.0


@given(st.integers(1, 200_000), st.floats(0.01, 2_000), st.floats(1_000, 1e8), st.sampled_from(Side))
def test_gate_never_lets_more_pass_than_its_limits(qty, price, nav, side):
    cents = Decimal(f"{price:.2f}")
    wish = replace(ORDER, qty=Decimal(qty), limit_price=cents, side=side)
    decision = check_order(wish, **(GIVEN | {"nav": nav} | quote(bid=float(cents), ask=float(cents))))
    value = qty * cents
    limits = Limits()
    inside = qty <= MAX_ORDER_QTY and value <= limits.max_order_value and float(value) / nav <= limits.max_order_weight
    assert decision.accepted == inside


def test_gate_is_fast():
    "A gate before each order must not cost what the order is worth: less than 100 microseconds for the best of ten."
    best = min(_time(100) for _ in range(10))
    assert best < 100


def _time(count: int) -> float:
    start = perf_counter_ns()
    for _ in range(count):
        check_order(ORDER, **GIVEN)
    return (perf_counter_ns() - start) / count / 1000
