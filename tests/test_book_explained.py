"""Option P&L explained: exact sums, the Greeks of small moves, orders, expiry and assignment, and two days of real quotes."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.american import american, american_vol
from otsport.analytics.options import bsm_greeks, bsm_price, bsm_second_order
from otsport.book import explained as module
from otsport.book.attribution import attribute
from otsport.book.explained import EXPLAINS, INPUTS, delivered, delta_weights, explain_path, explain_pnl, revaluation_check
from otsport.book.position_table import position_table
from otsport.core.errors import DataError, InputError
from otsport.show.effects import explained_figure, explained_sentence

STRADDLE = pd.DataFrame({"qty": [-10, -10, 150], "right": ["C", "P", "S"], "spot": 100.0, "strike": [100.0, 100.0, np.nan], "tau": [0.25, 0.25, np.nan],
                         "vol": [0.2, 0.2, np.nan], "rate": 0.03}, index=["call", "put", "shares"])
BAD = dict(spot=88.0, vol=0.31, days=1.0)


def random_book(seed: int, rows: int = 6) -> tuple[pd.DataFrame, dict]:
    """Calls, puts and shares, and where they stand at the end."""
    rng = np.random.default_rng(seed)
    spot = rng.uniform(20, 300, rows)
    book = pd.DataFrame({"qty": rng.integers(-20, 20, rows), "right": rng.choice(["C", "P", "S"], rows, p=[0.45, 0.45, 0.1]), "spot": spot, "strike": spot * rng.uniform(0.8, 1.2, rows),
                         "tau": rng.uniform(0.01, 1.5, rows), "vol": rng.uniform(0.1, 0.6, rows), "rate": 0.03, "div_yield": rng.uniform(0, 0.03, rows)}, index=[f"p{i}" for i in range(rows)])
    end = dict(spot=spot * np.exp(rng.normal(0, 0.06, rows)), vol=book["vol"].to_numpy() * rng.uniform(0.8, 1.3, rows), days=float(rng.uniform(0, 8)), rate=0.032, div_yield=book["div_yield"].to_numpy())
    return book, end


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), style=st.sampled_from(["european", "american"]), order=st.permutations(INPUTS))
def test_rows_sum_to_their_pnl_and_to_the_book(seed, style, order):
    book, end = random_book(seed)
    booked = pd.Series(np.random.default_rng(seed).normal(0, 500, len(book)), book.index)
    for given_pnl, way in ((None, "together"), (booked, order)):
        found = explain_pnl(book, **end, pnl=given_pnl, style=style, order=way, steps=3)
        assert found.frame[[*EXPLAINS, "residual"]].sum(axis=1).to_numpy() == pytest.approx(found.frame["pnl"].to_numpy(), abs=1e-9 * (1 + found.frame.abs().to_numpy().max()))
        assert found.total["pnl"] == pytest.approx(found.frame["pnl"].sum()) and list(found.frame.index) == list(book.index)
        options = book["right"] != "S"
        price = american if style == "american" else lambda *a: (bsm_price(*a),)
        at = lambda s, t, r, q, v: price(s, book["strike"], t, r, q, v, np.where(book["right"] == "P", "P", "C"))[0]
        change = at(end["spot"], np.maximum(book["tau"] - end["days"] / 365, 0), 0.032, end["div_yield"], end["vol"]) - at(book["spot"], book["tau"], 0.03, book["div_yield"], book["vol"])
        expected = book["qty"] * np.where(options, 100 * change, end["spot"] - book["spot"])
        assert found.model.to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-9, abs=1e-7)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_revaluation_engine_agrees(seed):
    """`analytics.revaluation` prices the same ends, at held rates."""
    book, end = random_book(seed)
    found = explain_pnl(book, end["spot"], end["vol"], end["days"])
    assert revaluation_check(book, end["spot"], end["vol"], end["days"]).to_numpy() == pytest.approx(found.model.to_numpy(), rel=1e-8, abs=1e-6)


def test_small_move_is_its_greeks():
    g, second = bsm_greeks(100, 100, 0.25, 0.03, 0, 0.2, "C"), bsm_second_order(100, 100, 0.25, 0.03, 0, 0.2, "C")
    found = explain_pnl(STRADDLE.iloc[:1], spot=100.1, vol=0.201, days=0.1, rate=0.0301).frame.iloc[0] / -1000
    expected = dict(delta=0.1 * g.delta, gamma=0.005 * g.gamma, vega=0.001 * g.vega, theta=0.1 * g.theta, vanna=1e-4 * second.vanna, volga=0.5e-6 * second.volga, rate=1e-4 * g.rho)
    for name, x in expected.items():
        assert found[name] == pytest.approx(x, rel=1e-12), name
    assert abs(found["residual"]) < 1e-5


def test_residual_falls_with_the_square_of_the_steps():
    left = [abs(explain_pnl(STRADDLE, **BAD, steps=n).total["residual"]) for n in (4, 8, 16, 32)]
    assert all(2.5 < a / b for a, b in zip(left, left[1:])) and left[-1] < 0.001 * 8667


def test_large_move_takes_more_steps():
    quiet, bad = explain_pnl(STRADDLE, spot=100.4, vol=0.198, days=1), explain_pnl(STRADDLE, **BAD)
    assert (quiet.steps, bad.steps) == (1, 6) and quiet.share > 0.999 and bad.share > 0.99
    assert explain_pnl(STRADDLE, **BAD, steps=1).share < 0.9


def test_delta_and_vega_are_those_of_the_morning_in_every_order_and_step():
    ways = [explain_pnl(STRADDLE, **BAD, order=o, steps=n) for o in ("together", ("time", "spot", "vol"), ("vol", "spot", "time")) for n in (1, 5)]
    for name in ("delta", "vega"):
        assert [w.total[name] for w in ways] == pytest.approx([ways[0].total[name]] * 6, rel=1e-12)
    assert {w.order for w in ways} == {"together", "time, spot, vol", "vol, spot, time"}
    assert [w.model.sum() for w in ways] == pytest.approx([ways[0].model.sum()] * 6, rel=1e-12)


def test_wrong_greek_shows_in_the_residual(monkeypatch):
    """Negative control: a vega that is a tenth too large leaves a residual."""
    honest = module._sensitivities
    monkeypatch.setattr(module, "_sensitivities", lambda *a: {k: 1.1 * v if k == "vega" else v for k, v in honest(*a).items()})
    assert explain_pnl(STRADDLE, **BAD).share < 0.97


def test_unexplained_is_what_the_book_has_beyond_the_model():
    found = explain_pnl(STRADDLE, **BAD, pnl=explain_pnl(STRADDLE, **BAD).model + [0.0, 25.0, 0.0])
    assert found.check().loc["put", "unexplained"] == pytest.approx(25) and found.check().loc["total", "unexplained"] == pytest.approx(25)
    assert found.booked and "unexplained +25.00" in repr(found)


@pytest.mark.parametrize("close", [95.0, 100.5, 112.0])
def test_expiry_is_exercise_value(close):
    last = STRADDLE.iloc[:2].assign(tau=0.5 / 365)
    found = explain_pnl(last, spot=close, days=1)
    before = -1000 * np.array([bsm_price(100, 100, 0.5 / 365, 0.03, 0, 0.2, r) for r in "CP"])
    assert found.model.to_numpy() == pytest.approx([-1000 * max(close - 100, 0) - before[0], -1000 * max(100 - close, 0) - before[1]])
    assert found.frame[[*EXPLAINS, "residual"]].sum(axis=1).to_numpy() == pytest.approx(found.frame["pnl"].to_numpy())


LAST = pd.DataFrame({"qty": [-10, -10, 5, 600], "right": ["C", "P", "P", "S"], "spot": 100.0, "strike": [101.0, 99.0, 95.0, np.nan], "tau": [1 / 365, 1 / 365, 0.2, np.nan], "vol": [0.3, 0.3, 0.28, np.nan], "rate": 0.03},
                    index=["call", "put", "later put", "shares"])  # the last day of a short strangle, hedged


@pytest.mark.parametrize("close", [90.0, 98.9, 100.0, 101.05, 109.0])
@pytest.mark.parametrize("style", ["european", "american"])
def test_day_of_expiry_and_assignment_beside_full_revaluation(close, style):
    """What ends is worth its exercise, what lives on its price; the delivered shares are marked at the close: the book earns what is revalued, whichever of its rows says so."""
    found = explain_pnl(LAST, close, [np.nan, np.nan, 0.3, 0.0], 1.0, style=style)
    if style == "european":
        assert revaluation_check(LAST, close, [0.0, 0.0, 0.3, 0.0], 1.0).to_numpy() == pytest.approx(found.model.to_numpy(), abs=1e-6)
    price = lambda s, k, tau, v, r: float(american(s, k, tau, 0.03, 0.0, v, r)[0] if style == "american" else bsm_price(s, k, tau, 0.03, 0.0, v, r))
    ended = [-1000 * (max(sign * (close - k), 0) - price(100, k, 1 / 365, 0.3, r)) for k, r, sign in ((101, "C", 1), (99, "P", -1))]
    assert found.model.to_numpy() == pytest.approx([*ended, 500 * (price(close, 95, 0.2 - 1 / 365, 0.3, "P") - price(100, 95, 0.2, 0.28, "P")), 600 * (close - 100)], abs=1e-6)
    assert found.frame[[*EXPLAINS, "residual"]].sum(axis=1).to_numpy() == pytest.approx(found.frame["pnl"].to_numpy(), abs=1e-9)
    moved = sum(delivered(LAST.at[n, "qty"], r, LAST.at[n, "strike"], close) for n, r in (("call", "C"), ("put", "P")))
    taken = [(1 if r == "C" else -1) * LAST.at[n, "qty"] * 100 for n, r, s in (("call", "C", 1), ("put", "P", -1)) if s * (close - LAST.at[n, "strike"]) > 0]
    strikes = [LAST.at[n, "strike"] for n, s in (("call", 1), ("put", -1)) if s * (close - LAST.at[n, "strike"]) > 0]
    assert sum(q * (close - k) for q, k in zip(taken, strikes)) == pytest.approx(moved)  # what the delivered shares show is what the option does not
    assert found.share > 0.96 and found.steps == 64 and found.frame.loc[["call", "put"], "vega"].abs().max() == 0  # what has ended has no vol that could have moved


@pytest.mark.parametrize("qty, right, close", [(-1, "C", 104.0), (-3, "P", 93.0), (2, "C", 107.0)])
def test_assignment_moves_pnl_between_option_and_shares(qty, right, close):
    """Option and shares together earn what they earn in the book, and the shares nothing on the day."""
    sign = 1 if right == "C" else -1
    booked_option, booked_shares = -qty * 100 * 3.0, qty * 100 * sign * (close - 100.0)  # marked at 3; shares enter at the strike
    moved = delivered(qty, right, 100.0, close)
    assert booked_shares - moved == 0 and booked_option + moved == pytest.approx(qty * 100 * (max(sign * (close - 100), 0) - 3.0))


def test_delta_weights_make_an_attribution_that_closes():
    """A covered call over three days: the option counts by its delta, and what its time value earned is selection."""
    spots, vols = [100.0, 101.5, 100.7, 102.0], [0.25, 0.24, 0.26, 0.25]
    rows, nav = [], 50_000.0
    for t in range(3):
        book = pd.DataFrame({"qty": [100, -1], "right": ["S", "C"], "spot": spots[t], "strike": [np.nan, 105.0], "tau": [np.nan, 0.1 - t / 365], "vol": [np.nan, vols[t]]}, index=["XOM", "XOM call"])
        pnl, w = explain_pnl(book, spots[t + 1], vols[t + 1], 1.0).frame["pnl"], delta_weights(book, nav)
        rows += [dict(date=t, strategy="stock" if n == "XOM" else "overlay", sector="Energy", symbol=n, weight=w[n], contribution=pnl[n] / nav, bench_weight=0.3 * (n == "XOM"),
                      bench_ret=spots[t + 1] / spots[t] - 1) for n in book.index]
        nav += pnl.sum()
    a = attribute(position_table(pd.DataFrame(rows), cash=0.0), ("strategy", "sector"))
    assert (1 + a.portfolio).prod() == pytest.approx(nav / 50_000) and abs(a.residual) < 1e-15
    assert a.segments("strategy").loc["overlay", "weight"] < 0


def test_path_is_the_sum_of_its_intervals():
    spots, vols = np.array([100.0, 101.0, 99.5]), np.array([[0.2, 0.2, 0.0], [0.21, 0.2, 0.0], [0.22, 0.215, 0.0]])
    path = explain_path(STRADDLE, spots, vols, np.array([0.0, 0.5, 1.0]))
    one = explain_pnl(STRADDLE, 101.0, vols[1], 0.5, steps=1)
    two = explain_pnl(STRADDLE.assign(spot=101.0, vol=vols[1], tau=STRADDLE["tau"] - 0.5 / 365), 99.5, vols[2], 0.5, steps=1)
    assert path.iloc[-1].to_numpy() == pytest.approx((one.total + two.total).to_numpy(), abs=1e-9)
    assert path.iloc[0].abs().sum() == 0


@pytest.mark.parametrize("change, words", [
    (dict(spot=[100.0, np.nan, 100.0]), "spot after 1 of 3 is nan"), (dict(vol=[np.nan, 0.2, 0.2]), "vol after 0 of 2 is nan"), (dict(pnl=[1.0, np.nan, 0.0]), "pnl 1 of 3 is nan"),
])
def test_missing_numbers_are_told(change, words):
    with pytest.raises(DataError, match=words):
        explain_pnl(STRADDLE, **change)


def test_nonsense_is_told():
    for change, words in ((dict(days=-1), "time passes forward"), (dict(order=("gamma",)), "order has 'gamma'"), (dict(order="spot"), "order is 'spot'"), (dict(style="asian"), "style is 'asian'"),
                          (dict(steps=0), "steps is 0")):
        with pytest.raises(InputError, match=words):
            explain_pnl(STRADDLE, **change)
    with pytest.raises(InputError, match="no column 'right'"):
        explain_pnl(STRADDLE.drop(columns="right"))


# ---- two days of TWX by the minute

LEGS = [(-10, "2014-06-21", 70.0, "C"), (-10, "2014-06-21", 70.0, "P"), (10, "2014-07-19", 72.5, "C"), (10, "2014-07-19", 72.5, "P"), (-5, "2014-10-18", 70.0, "C"), (5, "2015-01-17", 65.0, "C")]
RATE = 0.0075  # the primary credit rate of 2014


def quoted_day(folder, day: str, minutes: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray, np.ndarray, pd.DatetimeIndex]:
    """A calendar book in TWX with the mids of a day: positions, spots, vols, days, P&L, instants."""
    quotes = pd.read_parquet(folder / f"twx_option_minute_quotes_{day}.parquet")
    stock = pd.read_parquet(folder / "equity_minute_quotes.parquet").query("symbol == 'TWX'")
    mid = np.where((quotes["bid_close"] > 0) & (quotes["ask_close"] > quotes["bid_close"]), (quotes["bid_close"] + quotes["ask_close"]) / 2, np.nan)
    wide = quotes.assign(mid=mid).pivot_table(index="time", columns=["expiry", "strike", "right"], values="mid", observed=True)
    spot = pd.Series(((stock["bid_close"] + stock["ask_close"]) / 2).to_numpy(), stock["time"])
    start = wide.index[0].normalize()
    at = pd.date_range(start + pd.Timedelta("9h40min"), start + pd.Timedelta("15h55min"), freq=f"{minutes}min")
    filled = lambda x: x.reindex(x.index.union(at)).ffill().reindex(at)
    marks, S = filled(wide[[(pd.Timestamp(e), k, r) for _, e, k, r in LEGS]]).to_numpy(), filled(spot).to_numpy()
    ends = [pd.Timestamp(e).tz_localize("America/New_York") - pd.Timedelta("8h") for _, e, *_ in LEGS]  # 16:00 on the Friday before
    tau = np.array([[(end - t).total_seconds() / 86400 / 365 for end in ends] for t in at])
    qty, strike, right = (np.array(x) for x in zip(*((q, k, r) for q, _, k, r in LEGS)))
    vols, flags = american_vol(marks, S[:, None], strike, tau, RATE, 0.0, right, tick=0.01)
    assert (flags == 0).all()
    book = pd.DataFrame({"qty": qty, "right": right, "spot": S[0], "strike": strike, "tau": tau[0], "vol": vols[0], "rate": RATE}, index=[f"{e} {k:g} {r}" for _, e, k, r in LEGS])
    return book, S, vols, (tau[0, 0] - tau[:, 0]) * 365, (marks - marks[0]) * qty * 100, at


@pytest.mark.parametrize("day, largest, last", [("20140605", "delta", -192.5), ("20140606", "delta", 262.5)])
def test_real_option_pnl_is_explained_through_the_day(shared_data, day, largest, last):
    """Every five minutes: the Greeks explain all but a dollar of a P&L that moves by hundreds; in one step for the whole day, all but two."""
    book, S, vols, days, pnl, at = quoted_day(shared_data, day, 5)
    path = explain_path(book, S, vols, days, pnl, style="american")
    assert path["pnl"].iloc[-1] == pytest.approx(last) and path["pnl"].abs().max() > 250
    assert path["residual"].abs().max() < 0.5
    assert (path[[*EXPLAINS, "residual"]].sum(axis=1) - path["pnl"]).abs().max() < 1e-9
    moved = path["pnl"].abs() > 100
    assert (1 - path["residual"].abs() / path["pnl"].abs())[moved].min() > 0.995
    whole = explain_pnl(book, S[-1], vols[-1], days[-1], pnl=pnl[-1], style="american")
    assert abs(whole.total["residual"]) < 2 and whole.check()["unexplained"].abs().max() < 1e-6
    expiry = pd.Series([name.split()[0] for name in book.index])
    shared = pd.DataFrame(vols - vols[0]).T.groupby(expiry).transform("mean").T.to_numpy()  # one move of vol an expiry: what the smile did besides is unexplained
    assert 0.1 < explain_path(book, S, vols[0] + shared, days, pnl, style="american")["residual"].abs().max() < 2
    figure = explained_figure(path, explained_sentence(path.iloc[-1]), at)
    assert largest in figure.get_suptitle() and len(figure.axes[0].lines) == len([c for c in EXPLAINS if path[c].abs().max() > 1e-9]) + 2
