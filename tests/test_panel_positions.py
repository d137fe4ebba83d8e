"""The panel on positions and what a trade would change, without a browser: the numbers are those of `risk`, by hand and by another way."""
import time
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from otsport.analytics.options import bsm_price
from otsport.core.errors import InputError
from otsport.desk.day import example_days
from otsport.desk.risk import risk
from otsport.desk.what_if import day_risk, trade_leg, what_if
from otsport.panels.positions import keys_of, positions_panel
from panel_support import PRICES, day, read_book, shown  # noqa: F401  # day: a fixture

TRADES = ["-100 KO", "-2 AAPL 2023-02-17 135 C", "3 KO 2023-01-20 60 P @ 0.45", "7 AAPL 20230120 150 C", "-1 JNJ 2023-02-17 180 C", "-1 KO 2023-02-17 65 C; 1 KO 2023-02-17 70 C"]


@pytest.fixture(scope="module")
def before(day):
    return day_risk(day)


@pytest.mark.parametrize("trade", TRADES)
def test_after_a_trade_is_the_risk_of_all_positions_together(before, trade):
    "Made anew from a plain list of quantities, marks and vols, nothing of `what_if` in it."
    effect = what_if(before, trade)
    held = {leg.contract.key: [leg.qty, leg.contract, float(mark), float(vol)] for leg, mark, vol in zip(before.valued.legs, before.valued.mark, before.valued.vol)}
    for leg, price in zip(effect.trade, effect.prices):
        own = held.setdefault(leg.contract.key, [0.0, leg.contract, price, float("nan")])
        own[0] += leg.qty
    spots = {leg.contract.symbol: float(s) for leg, s in zip(effect.after.valued.legs, effect.after.valued.terms.spot)}
    rows = [{"qty": q, "contract": c, "price": p if c.is_option else None, "vol": v if c.is_option and v == v else None} for q, c, p, v in held.values()]
    alone = risk(rows, spots, as_of=before.as_of, style="european", prices=before.given["prices"])
    for name in ("value", "dollar_delta", "dollar_gamma", "vega_point", "theta_day"):
        assert effect.after.total[name] == pytest.approx(alone.total[name], rel=1e-6, abs=1e-4), name
    np.testing.assert_allclose(effect.after.tail.var, alone.tail.var, rtol=1e-6)
    assert effect.after.stress().worst()[3] == pytest.approx(alone.stress().worst()[3], rel=1e-6)


def test_cash_by_hand(before):
    "Two calls sold at 1.25 bring 250 dollars less 2 x 0.65; NAV changes by what the price is beside the mark, and the commission."
    effect = what_if(before, "-2 AAPL 2023-02-17 135 C @ 1.25", Decimal(1000))
    frame = effect.frame()
    assert effect.cash_change == pytest.approx(250 - 1.30, abs=1e-9) and frame.at["cash", "after"] == pytest.approx(1248.70, abs=1e-9)
    assert frame.at["NAV", "change"] == pytest.approx(-1.30, abs=1e-6)


def test_a_new_option_is_priced_at_the_vol_of_the_nearest_one(before):
    effect = what_if(before, "1 AAPL 2023-01-20 140 C")
    at = [leg.contract.key for leg in before.valued.legs].index("AAPL 20230120 C 150")
    v = before.valued
    assert effect.prices[0] == pytest.approx(float(bsm_price(v.terms.spot[at], 140.0, v.terms.tau[at], 0.0, 0.0, v.vol[at], 1.0)), abs=1e-9)
    assert "nearest option" in effect.said[0]


def test_the_vol_of_a_name_without_options_is_its_realized_one(before):
    past = before.given["prices"]["JNJ"].pct_change(fill_method=None).tail(60)
    assert f"{past.std(ddof=1) * 252**0.5:.1%}" in what_if(before, "-1 JNJ 2023-02-17 180 C").said[0]


def test_a_position_that_is_closed_has_no_risk_left(before):
    after = what_if(before, "-7 AAPL 20230120 150 C; 7 AAPL 20230120 150 C").after
    np.testing.assert_allclose(after.total, before.total, atol=1e-6)
    short = next(leg for leg in before.valued.legs if leg.contract.is_option)
    gone = what_if(before, f"{-short.qty:+g} {short.contract.key}").after
    assert gone.total["vega_point"] == gone.total["dollar_gamma"] == gone.total["theta_day"] == 0


@pytest.mark.parametrize("trade, words", [
    ("AAPL", "it begins with a signed quantity"), ("-2 AAPL 2023-01-20 150", "expiry, strike and right"), ("-1.5 AAPL 2023-01-20 150 C", "contracts are whole"),
    ("0 KO", "a quantity of 0"), ("sell -2 KO", "take no sign"), ("-2 AAPL 2023-01-20 150 X", "neither of the last two words is C or P"),
    ("1 ZZZ", "not one of the prices of this book"), ("-1 KO 2022-11-18 60 C", "expired before"),
])
def test_a_trade_that_cannot_be_is_refused_with_what_to_do(before, trade, words):
    with pytest.raises(InputError, match=words):
        what_if(before, trade)


def test_words_of_a_trade():
    for text in ("-2 AAPL 2023-01-20 150 C", "sell 2 aapl 20230120 150 call", "-2 AAPL 20230120 C 150"):
        leg = trade_leg(text)
        assert (leg.qty, leg.contract.key) == (-2, "AAPL 20230120 C 150")
    assert trade_leg("buy 1,200 KO").qty == 1200 and trade_leg("-2 AAPL 2023-01-20 150 C @ 1.25").price == 1.25


def test_panel_shows_what_risk_and_what_if_give(day, before):
    panel = positions_panel(day)
    assert f"${before.tail.var[0]:,.0f}" in shown(panel.children[0].value) and "PAPER" in panel.children[0].value
    panel.controls.underlying.value = "AAPL"
    loss = before.stress(days=[0]).of(keys_of(before, "AAPL")).worst()[3]
    assert f"{loss:,.0f}".replace("-", "-$") in shown(panel.pictures.value) and "MSFT" not in panel.tables.value
    panel.controls.trade.value = TRADES[1]
    assert panel.effect.frame().equals(what_if(before, TRADES[1], day.snapshot.cash).frame())
    for change in panel.effect.frame()["change"]:
        assert f"{abs(change):,.0f}" in shown(panel.changes.value) or f"{abs(change):,.2f}" in shown(panel.changes.value)
    panel.controls.trade.value = "rubbish"
    assert panel.effect is None and "is no trade" in panel.changes.value
    panel.controls.trade.value = ""
    assert panel.changes.value == ""


def test_an_interaction_takes_less_than_a_second(day):
    panel = positions_panel(day)
    panel.controls.trade.value = TRADES[0]
    for widget, value in ((panel.controls.underlying, "AAPL"), (panel.controls.days, 14), (panel.controls.trade, TRADES[1])):
        start = time.process_time()
        widget.value = value
        assert time.process_time() - start < 1.0, (value, time.process_time() - start)


def test_panel_of_an_open_book_is_that_of_its_last_day(tmp_path):
    book = read_book(tmp_path)
    last = book.days()[-1]
    assert book.cash == last.snapshot.cash and book.risk().total["value"] == pytest.approx(float(last.snapshot.exposure), abs=1e-6)
    np.testing.assert_allclose(book.risk().tail.var, day_risk(last).tail.var, rtol=2e-5)  # the vols of a day are implied at its closes, those of a book at its marks, on the tick
    panel = positions_panel(book)
    panel.controls.trade.value = "-100 KO"
    assert panel.effect.frame().at["cash", "before"] == float(last.snapshot.cash)
    np.testing.assert_allclose(panel.effect.frame()["change"], book.what_if("-100 KO").frame()["change"])


def test_panel_of_nothing_says_so(tmp_path):
    assert "holds nothing" in positions_panel(example_days(PRICES, PRICES.last, 1, ())[-1]).children[0].value
    assert "has not begun" in positions_panel(read_book(tmp_path, begun=False)).children[0].value


def test_panel_escapes_a_trade(before):
    panel = positions_panel(before)
    panel.controls.trade.value = "<img src=x onerror=alert(1)>"
    assert "<img src=x" not in panel.changes.value and "&lt;img src=x" in panel.changes.value


def test_risk_given_with_a_single_spot_takes_a_trade_on_the_same_name():
    alone = what_if(risk([(100, "KO"), (-1, "KO 20230120 C 65")], 62.5, vol=0.2, as_of="2022-12-28"), "-1 KO 2023-01-20 67.5 C")
    assert alone.after.positions["qty"].tolist() == [100, -1, -1] and alone.frame().index[0] == "value of positions"
