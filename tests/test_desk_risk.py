"""`otsport.risk`: from a CSV of positions to value, Greeks, value at risk, stress and payoff; beside QuantLib, by hand, and with bad input of each kind."""
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from browser import open_browser, page_faults

import otsport
from otsport.analytics.american import american, american_greeks
from otsport.analytics.combinations import Leg
from otsport.analytics.stress import told
from otsport.core.contracts import option, stock
from otsport.core.errors import InputError, OtsportError
from otsport.data.samples import sample
from otsport.kernels.american import FAST
from otsport.kernels.american_rows import revalue_american

AS_OF = "2022-12-28"
CSV = """Symbol,Put/Call,Strike,Expiration,Quantity,IV,Bid,Ask,Avg Price,Account
XYZ,P,88,2023-01-20,-1,0.24,,,1.49,DU1
XYZ,P,93,2023-01-20,1,0.22,,,2.77,DU1
XYZ,C,110,2023-01-20,-1,0.19,,,1.02,DU1
XYZ,C,105,2023-01-20,1,0.20,,,2.06,DU1
KO,,,,200,,,,61.20,DU1
KO,C,65,2023-01-20,-2,,0.55,0.60,0.80,DU1
AAPL,C,120,2023-01-20,3,,9.00,9.20,9.10,DU1
AAPL,C,130,2023-01-20,-3,,3.30,3.40,3.35,DU1
MSFT,C,240,2023-01-20,-5,0.30,,,,DU1
MSFT,C,240,2023-02-17,5,0.30,,,,DU1
MSFT,C,150,2023-01-20,1,,,90,,DU1
MSFT,P,200,2023-01-20,-1,,0,0.04,,DU1
"""


def closes() -> pd.DataFrame:
    """Real closes of three of the names, and those of a fourth for XYZ, scaled to 100 on the last day."""
    table = sample("sp500_20_daily")[["KO", "AAPL", "MSFT", "PG"]].loc[:AS_OF].dropna().iloc[-501:].rename(columns={"PG": "XYZ"})
    return table.assign(XYZ=100 * table["XYZ"] / table["XYZ"].iloc[-1])


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    path = tmp_path_factory.mktemp("risk") / "mine.csv"
    path.write_text(CSV)
    return otsport.risk(path, prices=closes(), as_of=AS_OF, rate=0.04)


def test_csv_of_twelve_positions_has_marks_or_reasons(book):
    frame = book.positions.set_index("contract")
    assert len(frame) == 12 and frame["source"].value_counts().to_dict() == {"model": 6, "mid": 4, "spot": 1, "": 1}
    assert frame.at["MSFT 20230120 P 200", "mark"] == 0.02  # half of the ask: the bid is a true 0
    deep = frame.loc["MSFT 20230120 C 150"]
    assert np.isnan(deep["mark"]) and "no mark: there is no bid (ask 90.00" in deep["note"] and "borrowed from MSFT" in deep["note"]
    assert deep["delta"] == pytest.approx(1, abs=1e-6)  # its risk is not hidden
    assert any("1 of 12 positions has no mark" in note for note in book.notes) and any("Account" in note for note in book.notes)


def test_break_evens_by_hand(book):
    assert book.payoff("XYZ").outcome.break_evens == pytest.approx((93 - 2.32, 105 + 2.32), abs=1e-9)  # straddled condor, 2.32 paid
    assert book.payoff("KO").outcome.break_evens == pytest.approx((61.20 - 0.80,), abs=1e-9)  # covered call
    vertical = book.payoff("AAPL").outcome
    assert vertical.break_evens == pytest.approx((120 + 9.10 - 3.35,), abs=1e-9)
    assert (vertical.max_loss, vertical.max_gain) == pytest.approx((300 * 5.75, 300 * 4.25), abs=1e-9)


def test_break_evens_of_the_calendar_have_no_profit(book):
    rows = book.positions.query("underlying == 'MSFT'").iloc[:2]
    calendar = otsport.risk([(row.qty, row.contract) for row in rows.itertuples()], spot=float(rows["spot"].iloc[0]), vol=0.30, rate=0.04, as_of=AS_OF).payoff()
    paid = 5 * (rows["mark"].iloc[1] - rows["mark"].iloc[0])
    assert len(calendar.outcome.break_evens) == 2 and calendar.expiry == date(2023, 1, 20)
    for spot in calendar.outcome.break_evens:
        worth = 5 * (american(spot, 240, 28 / 365, 0.04, 0, 0.30, "C")[0] - max(spot - 240, 0))
        assert worth == pytest.approx(paid, abs=1e-6)


def test_value_at_risk_is_the_quantile_of_full_revaluation(book):
    moves = closes().pct_change().iloc[1:]
    total = np.zeros(len(moves))
    for row in book.positions.itertuples():
        scale, now = (row.qty if " " not in row.contract else 100 * row.qty), row.spot
        spots = now * (1 + moves[row.underlying].to_numpy())
        if " " not in row.contract:
            total += scale * (spots - now)
            continue
        _, day, right, strike = row.contract.split()
        tau = (datetime(int(day[:4]), int(day[4:6]), int(day[6:]), 21, tzinfo=UTC) - datetime(2022, 12, 28, 21, tzinfo=UTC)).days / 365
        value = lambda s: american(s, float(strike), tau, 0.04, 0.0, row.vol, right)[0]
        total += scale * (value(spots) - value(now))
    cut = np.quantile(total, 0.05)
    assert book.tail.var[0] == pytest.approx(-cut, abs=1.0) and book.tail.es[0] == pytest.approx(-total[total <= cut].mean(), abs=1.0)  # dollars: the fast engine
    assert book.tail.var[0] > 0 and book.tail.component_es.sum() == pytest.approx(book.tail.es[0], abs=1e-8)


def test_total_is_the_sum_of_positions(book):
    for name in book.total.index:
        assert book.total[name] == pytest.approx(book.positions[name].sum(), rel=1e-12, abs=1e-12)
        assert book.by_underlying[name].sum() == pytest.approx(book.total[name], rel=1e-9, abs=1e-9)
    grid = book.stress()
    assert np.allclose(grid.by_position.sum(axis=0), grid.pnl, atol=1e-9) and grid.pnl[5, 1, 0] == 0.0


PAIRS = [(100, "KO"), (-1, "KO 20230120 C 65"), (2, "AAPL 20230120 P 120"), (-1, "AAPL 20230217 C 140")]
GIVEN = dict(spot={"KO": 62.6, "AAPL": 126.0}, vol=0.3, rate=0.04, div_yield={"KO": 0.03}, as_of=AS_OF)


@pytest.mark.parametrize("style", ["american", "european"])
def test_order_of_positions_changes_nothing(style):
    a, b = (otsport.risk(rows, style=style, prices=closes(), **GIVEN) for rows in (PAIRS, PAIRS[::-1]))
    assert np.allclose(a.total, b.total, rtol=1e-12) and np.allclose(a.stress().pnl, b.stress().pnl, atol=1e-8)
    assert a.tail.var == pytest.approx(b.tail.var, rel=1e-12) and a.payoff("KO").outcome.break_evens == pytest.approx(b.payoff("KO").outcome.break_evens)


def test_twice_the_positions_are_twice_the_risk():
    a, b = (otsport.risk([(k * q, c) for q, c in PAIRS], prices=closes(), **GIVEN) for k in (1, 2))
    assert np.allclose(2 * a.total, b.total) and np.allclose(2 * a.stress().pnl, b.stress().pnl) and 2 * a.tail.es[0] == pytest.approx(b.tail.es[0])


def test_every_shape_of_input_says_the_same():
    keys = [c for _, c in PAIRS]
    legs = [{"qty": Decimal(q), "contract": otsport.core.contracts.from_key(c)} for q, c in PAIRS]
    table = pd.DataFrame({"Quantity": [q for q, _ in PAIRS], "Symbol": ["KO", "KO", "AAPL", "AAPL"], "type": ["stock", "Call", "P", "C"], "strike": [np.nan, 65, 120, 140],
                          "expiry": [None, 20230120, pd.Timestamp("2023-01-20"), date(2023, 2, 17)]})
    occ = [(100, "KO"), (-1, "KO    230120C00065000"), (2, "AAPL  230120P00120000"), (-1, "AAPL  230217C00140000")]
    want = otsport.risk(PAIRS, **GIVEN).total
    for given in (legs, table, table.astype(object), occ, dict(zip(keys, (q for q, _ in PAIRS))), pd.Series({c: q for q, c in PAIRS}),
                  [(q, stock(c) if " " not in c else c) for q, c in PAIRS], table.to_dict("records")):
        assert np.allclose(otsport.risk(given, **GIVEN).total, want, rtol=1e-12)


def test_numbers_below_underlying_are_its_price(tmp_path):
    (tmp_path / "p.csv").write_text("symbol,qty,type,strike,expiration,underlying\nXYZ,2,call,105,2023-01-20,100\nXYZ,100,,,,100.00\n")
    assert set(otsport.risk(tmp_path / "p.csv", vol=0.2, as_of=AS_OF).positions["spot"]) == {100.0}
    for twice, said in (("qty,symbol,qty", "line 1 has the column 'qty' more than once"), ("qty,symbol,underlying,spot", "both mean spot")):
        (tmp_path / "p.csv").write_text(twice + "\n1,XYZ,100,100\n")
        with pytest.raises(InputError, match=said):
            otsport.risk(tmp_path / "p.csv", as_of=AS_OF)


def test_legs_alone_are_of_one_underlying():
    condor = [Leg(-1, "P", 88, 1.49, date(2023, 1, 20)), Leg(1, "P", 93, 2.77, date(2023, 1, 20)), Leg(-1, "C", 110, 1.02, date(2023, 1, 20)), Leg(1, "C", 105, 2.06, date(2023, 1, 20))]
    assert otsport.risk(condor, spot=100, vol=0.2, as_of=AS_OF).payoff().outcome.break_evens == pytest.approx((90.68, 107.32), abs=1e-9)


def test_european_greeks_are_those_of_quantlib():
    ql = pytest.importorskip("QuantLib", reason="QuantLib is not installed: uv pip install QuantLib")
    today, day_count = ql.Date(28, 12, 2022), ql.Actual365Fixed()
    ql.Settings.instance().evaluationDate = today
    rows = [(q, f"XYZ {d} {r} {k}", vol) for q, d, r, k, vol in ((3, "20230120", "C", 105, 0.22), (-2, "20230217", "P", 90, 0.31), (1, "20231215", "C", 100, 0.18), (-4, "20240119", "P", 130, 0.4))]
    book = otsport.risk([{"qty": q, "contract": c, "vol": v} for q, c, v in rows], spot=101.5, rate=0.043, div_yield=0.017, style="european", as_of=AS_OF)
    for (qty, key, vol), row in zip(rows, book.positions.itertuples()):
        _, day, right, strike = key.split()
        process = ql.BlackScholesMertonProcess(
            ql.QuoteHandle(ql.SimpleQuote(101.5)), ql.YieldTermStructureHandle(ql.FlatForward(today, 0.017, day_count)), ql.YieldTermStructureHandle(ql.FlatForward(today, 0.043, day_count)),
            ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), vol, day_count)))
        their = ql.VanillaOption(ql.PlainVanillaPayoff(ql.Option.Call if right == "C" else ql.Option.Put, float(strike)),
                                 ql.EuropeanExercise(ql.Date(int(day[6:]), int(day[4:6]), int(day[:4]))))
        their.setPricingEngine(ql.AnalyticEuropeanEngine(process))
        units = 100 * qty
        want = {"mark": their.NPV(), "value": units * their.NPV(), "delta": their.delta(), "gamma": their.gamma(), "vega": their.vega(), "theta": their.theta() / 365,
                "dollar_delta": units * their.delta() * 101.5, "dollar_gamma": units * their.gamma() * 101.5**2 / 100, "vega_point": units * their.vega() / 100,
                "theta_day": units * their.theta() / 365, "rho_point": units * their.rho() / 100}
        for name, number in want.items():
            assert getattr(row, name) == pytest.approx(number, rel=1e-10, abs=1e-10), (key, name)


def test_american_is_the_default_and_european_a_wish():
    put = [{"qty": 1, "contract": "XYZ 20230616 P 120", "vol": 0.2}]
    kept, free = (otsport.risk(put, spot=100, rate=0.05, as_of=AS_OF, **more).positions.iloc[0] for more in ({"style": "european"}, {}))
    assert free["mark"] > kept["mark"] + 0.5 and free["mark"] >= 20.0
    tau = (datetime(2023, 6, 16, 20, tzinfo=UTC) - datetime(2022, 12, 28, 21, tzinfo=UTC)).total_seconds() / (365 * 86400)
    assert free["delta"] == pytest.approx(float(american_greeks(100, 120, tau, 0.05, 0, 0.2, "P").delta), abs=1e-12)


def test_dollar_greeks_are_the_changes_that_they_promise():
    row = [{"qty": -3, "contract": "XYZ 20230616 C 105", "vol": 0.25}]
    at = lambda **more: otsport.risk(row, **({"spot": 100, "rate": 0.03, "style": "european", "as_of": AS_OF} | more))
    now, h = at().total, 1e-3
    up, down = at(spot=100 + h).total["value"], at(spot=100 - h).total["value"]
    assert now["dollar_delta"] == pytest.approx(100 * (up - down) / (2 * h), rel=1e-6)
    assert now["dollar_gamma"] == pytest.approx((at(spot=100 + h).positions["delta_shares"][0] - at(spot=100 - h).positions["delta_shares"][0]) / (2 * h) * 100**2 / 100, rel=1e-6)
    assert now["vega_point"] == pytest.approx((otsport.risk([row[0] | {"vol": 0.2501}], spot=100, rate=0.03, style="european", as_of=AS_OF).total["value"] - now["value"]) * 100, rel=1e-3)
    assert now["theta_day"] == pytest.approx(at(as_of="2022-12-29").total["value"] - now["value"], rel=5e-3)


def test_price_and_market_give_back_the_vol():
    for style in ("american", "european"):
        mark = otsport.risk([{"qty": 1, "contract": "XYZ 20230616 P 105", "vol": 0.27}], spot=100, rate=0.04, style=style, as_of=AS_OF).positions["mark"][0]
        for given in ({"price": mark}, {"bid": mark - 0.05, "ask": mark + 0.05}):
            found = otsport.risk([{"qty": 1, "contract": "XYZ 20230616 P 105"} | given], spot=100, rate=0.04, style=style, as_of=AS_OF).positions["vol"][0]
            assert found == pytest.approx(0.27, abs=1e-8)


def test_nothing_is_marked_below_its_exercise_value():
    row = otsport.risk([{"qty": 1, "contract": "XYZ 20230120 C 80", "bid": 19.5, "ask": 20.1}], spot=100, as_of=AS_OF).positions.iloc[0]
    assert row["mark"] == 20.0 and "below it" in row["note"] and row["delta"] == 1.0


def test_leg_without_any_vol_is_left_out_and_told():
    book = otsport.risk([(1, "XYZ 20230120 C 80"), (100, "XYZ")], spot=100, as_of=AS_OF)
    assert book.total["dollar_delta"] == 10_000 and book.positions["note"][0].endswith("give vol") and any("1 without a vol" in n for n in book.notes)
    assert book.stress().pnl[0, 0, 0] == pytest.approx(-2_000)


@pytest.mark.parametrize("r, q", [(0.05, 0.0), (0.05, 0.03), (0.02, 0.06), (0.0, 0.04), (-0.01, 0.02)])
def test_rows_of_scenarios_are_the_american_values(r, q):
    rng = np.random.default_rng(5)
    n = 40
    S, tau, vol, phi = rng.uniform(60, 140, n), rng.uniform(0.01, 2, n), rng.uniform(0.1, 0.8, n), rng.choice([-1.0, 1.0], n)
    K, full = np.full(n, 100.0), lambda x: np.full(n, x)
    moves, shifts = np.tile([-1.0, -0.5, -0.1, 0.0, 0.1, 0.9], 3)[None], np.repeat([-0.05, 0.0, 0.4], 6)[None]
    out = np.empty((n, moves.size))
    revalue_american(full(1.0), S, K, tau, full(r), full(q), vol, phi, 0.02, np.zeros(n, dtype=np.int64), moves, shifts, FAST, out)
    value = lambda s, t, v: american(s, 100.0, t, r, q, v, phi[:, None], fast=True)[0]
    want = value(S[:, None] * (1 + moves), np.maximum(tau - 0.02, 0)[:, None], vol[:, None] + shifts) - value(S[:, None], tau[:, None], vol[:, None])
    assert np.abs(out - want).max() < 1e-9


def test_stress_by_name_relative_and_absolute():
    book = otsport.risk(PAIRS, **GIVEN)
    both, one = book.stress(spots=[-0.1], vols=[0.0], days=0), book.stress(spots=[{"KO": -0.1}], vols=[0.0], days=0)
    other = book.stress(spots=[{"AAPL": -12.6}], vols=[0.0], days=0, spot_kind="absolute")
    assert both.pnl[0, 0, 0] == pytest.approx(one.pnl[0, 0, 0] + other.pnl[0, 0, 0])
    assert np.allclose(book.stress(spots=[0], vols=[0.1], days=7).pnl, book.stress(spots=[0], vols=[0.03], days=7, vol_kind="absolute").pnl)  # vols are 0.3
    expired = -book.total["value"] + 100 * 62.6  # no option ends in the money, shares stay
    assert book.stress(spots=[0], vols=[0], days=400).frame(400).iat[0, 0] == pytest.approx(expired, abs=0.05)


BAD = {  # a row that is added, words that the refusal must have
    "right": ({"qty": 1, "symbol": "KO", "right": "cal", "strike": 60, "expiry": "2023-01-20"}, ("row 2", "right", "'cal'", "did you mean 'call'")),
    "past expiry": ({"qty": 1, "symbol": "KO", "right": "C", "strike": 60, "expiry": "2022-12-16"}, ("row 2", "expiry", "2022-12-16", "as_of")),
    "no session": ({"qty": 1, "symbol": "KO", "right": "C", "strike": 60, "expiry": "2023-01-16"}, ("row 2", "expiry", "nearest are 2023-01-13 and 2023-01-17")),
    "date": ({"qty": 1, "symbol": "KO", "right": "C", "strike": 60, "expiry": "01/02/2023"}, ("row 2", "expiry", "write 2024-07-19")),
    "spot": ({"qty": 1, "symbol": "PEP"}, ("row 2", "spot", "missing for PEP", "spot={'PEP'")),
    "two spots": ({"qty": 1, "symbol": "KO", "spot": 60}, ("row 2", "spot", "one underlying has one spot")),
    "percent vol": ({"qty": 1, "contract": "KO 20230120 C 60", "vol": 25}, ("row 2", "vol", "'25'", "write 0.25")),
    "percent sign": ({"qty": 1, "contract": "KO 20230120 C 60", "vol": "25%"}, ("row 2", "vol", "write 0.25")),
    "percent rate": ({"qty": 1, "contract": "KO 20230120 C 60", "rate": 4}, ("row 2", "rate", "write 0.04")),
    "qty": ({"qty": None, "symbol": "KO"}, ("row 2", "qty", "missing")),
    "qty text": ({"qty": "two", "symbol": "KO"}, ("row 2", "qty", "'two'", "no number")),
    "price": ({"qty": 1, "contract": "KO 20230120 C 60", "price": -2}, ("row 2", "price", "not negative")),
    "strike": ({"qty": 1, "symbol": "KO", "right": "C", "expiry": "2023-01-20"}, ("row 2", "strike", "missing")),
    "contract": ({"qty": 1, "contract": "KO 2023-01-20 C 60"}, ("row 2", "contract", "AAPL 20240119 C 150")),
    "two stories": ({"qty": 1, "contract": "KO 20230120 C 60", "right": "P"}, ("row 2", "right", "leave one of the two out")),
    "field": ({"qty": 1, "symbol": "KO", "rihgt": "C"}, ("row 2", "'rihgt'", "write 'right'")),
    "style": ({"qty": 1, "symbol": "KO", "style": "asian"}, ("row 2", "style", "american")),
    "symbol": ({"qty": 1}, ("row 2", "symbol", "missing")),
    "multiplier": ({"qty": 1, "symbol": "KO", "right": "C", "strike": 60, "expiry": "2023-01-20", "multiplier": 0}, ("row 2", "multiplier", "usually 100")),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_row_is_refused_with_row_field_value_and_next_step(case):
    row, words = BAD[case]
    with pytest.raises(OtsportError) as refused:
        otsport.risk([{"qty": 1, "symbol": "KO", "spot": 62.6}, row], as_of=AS_OF)
    assert [w for w in words if w not in str(refused.value)] == [], str(refused.value)


@pytest.mark.parametrize("positions, more, words", [
    ([], {}, "no position"), ("nowhere.csv", {}, "no such file"), (5, {}, "is no position"), (PAIRS, {"spot": {"KO": 62.6, "APPL": 126}}, "did you mean 'AAPL'"),
    (PAIRS, {"style": "asian"}, "american"), (PAIRS, {"prices": closes()[["KO"]]}, "no column 'AAPL'"), (PAIRS, {"returns": 100 * closes().pct_change().iloc[1:]}, "give simple returns as decimals"),
    (PAIRS, {"prices": closes().iloc[::-1]}, "oldest first"), (PAIRS, {"prices": closes().iloc[-5:]}, "scenarios say nothing"), (PAIRS, {"as_of": "2022-12-28 10:00"}, "no time zone"),
    (PAIRS, {"vol": {"KO": 30, "AAPL": 0.3}}, "KO, vol '30'.*write 0.3"),
])
def test_bad_argument_is_refused(positions, more, words):
    with pytest.raises(OtsportError, match=words):
        otsport.risk(positions, **(GIVEN | more))


def test_line_of_a_csv_is_named(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(CSV.replace("KO,C,65", "KO,Cal,65"))
    with pytest.raises(OtsportError, match=r"mine\.csv line 7 \(row 6\), right 'Cal': is not known \(did you mean 'call'\?\)"):
        otsport.risk(path, prices=closes(), as_of=AS_OF)


@pytest.mark.parametrize("content, words", [
    (b"", "mine.csv is empty: its first line names the columns"), (b"\n \n", "mine.csv is empty"), (b"contract,qty\n", "mine.csv has no position below its columns 'contract', 'qty'"),
    (b"what,ever\n1,2\n", "no position below its columns 'what', 'ever': name them qty and contract"), (b"contract,qty,note\nKO,1,\nKO,2,caf\xe9\n", "mine.csv line 3 is not UTF-8 text .*0xe9.*save it as CSV UTF-8"),
    (b"contract,qty\nKO,1\nPEP,1,2,3\n", "mine.csv is no table .*line 3.*give every line the columns of the first"),
    (b"qty,contract,spot\n1,KO 20220121 C 65,62.6\n", "mine.csv line 2 .row 1., expiry '2022-01-21'"),
])
def test_csv_that_is_none_is_refused_and_kept(tmp_path, content, words):
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(OtsportError, match=words) as caught:
        otsport.risk(path, prices=closes(), as_of=AS_OF)
    assert caught.value.exit_code == 2 and path.read_bytes() == content


def test_long_work_counts_its_parts(capsys, monkeypatch):
    monkeypatch.setattr("otsport.analytics.stress.PATIENCE", -1.0)
    assert list(told(range(3), "pricing")) == [0, 1, 2] and "pricing: 3 of 3 parts" in capsys.readouterr().err


def test_result_shows_itself(book):
    text, html = repr(book), book._repr_html_()
    for words in ("Risk of 12 positions", "VaR 95%", "StressGrid", "90.68, 107.32", "no mark: there is no bid"):
        assert words in text, words
    assert html.count("<img") == 3 + 4 and "90.68, 107.32" in html and 'alt="payoff of XYZ, break-evens 90.68, 107.32"' in html


@pytest.mark.parametrize("width", [1280, 390])
def test_page_of_the_result_fits(book, chromium, tmp_path, width):
    path = tmp_path / "risk.html"
    path.write_text(f'<html><head><meta name="viewport" content="width=device-width"></head><body>{book._repr_html_()}</body></html>')
    with open_browser(chromium, width) as page:
        page.goto(path.as_uri())
        wide = page.evaluate("document.scrollingElement.scrollWidth")
        faults = [f for f in page_faults(page) if not f.startswith(("table ", "div "))]  # wide tables scroll in their own box
        assert wide <= width and faults == [] and page.console_errors == []


def test_import_of_the_package_stays_light():
    code = "import sys, otsport; assert 'numpy' not in sys.modules and 'risk' in dir(otsport); otsport.risk; assert 'sqlalchemy' not in sys.modules and 'otsport.data.store' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'rsik'"):
        otsport.rsik


def test_mini_contract_counts_its_own_units():
    mini = [{"qty": 10, "symbol": "XYZ", "right": "C", "strike": 100, "expiry": "2023-01-20", "multiplier": 10, "vol": 0.3}]
    whole = [{"qty": 1, "symbol": "XYZ", "right": "C", "strike": 100, "expiry": "2023-01-20", "vol": 0.3}]
    a, b = (otsport.risk(x, spot=100, as_of=AS_OF) for x in (mini, whole))
    assert np.allclose(a.total, b.total) and a.payoff().outcome.break_evens == pytest.approx(b.payoff().outcome.break_evens)
    assert otsport.risk([(10, option("XYZ", "2023-01-20", 100, "C", 10))], spot=100, vol=0.3, as_of=AS_OF).total["value"] == pytest.approx(a.total["value"])
