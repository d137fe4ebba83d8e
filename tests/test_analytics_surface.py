"""Surfaces of the real AAPL and TWX chains of June 2014, and the parts they are made of."""
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest

from otsport.analytics.american import american
from otsport.analytics.options import IV_FLAGS, UnitWarning, bsm_price, implied_vol
from otsport.analytics.surface import (
    NO_ARBITRAGE, QUOTE_REASONS, VOL_REASONS, Smile, butterfly_violation, calendar_violation, fit_mixture, fit_svi, implied_forward, inside_share, quote_reasons,
    surface_figure, vol_surface,
)
from otsport.core.calendars import expiry_close
from otsport.core.errors import InputError

RATE = 0.0025  # annual: the discount-window rate of 0.75 % less the usual half a point
TICK = 0.01  # dollars
NEW_YORK = "America/New_York"
NO_VOL = {reason for flag, reason in VOL_REASONS.items() if flag}


@cache
def table(folder, name):
    return pd.read_parquet(folder / f"{name}.parquet")


def spot_before(folder, symbol, end):
    stock = table(folder, "equity_minute_quotes")
    last = stock[(stock.symbol == symbol) & (stock.time < end)].iloc[-1]
    return (last.bid_close + last.ask_close) / 2


def with_tau(quotes, end):
    """The columns of a chain; contracts that have expired by then have tau 0 or less."""
    ends = {expiry: expiry_close(expiry.date()) for expiry in quotes.expiry.unique()}  # many are Saturdays
    tau = (pd.to_datetime(quotes.expiry.map(ends), utc=True) - end) / pd.Timedelta(days=365)
    chain = pd.DataFrame({"tau": tau, "strike": quotes.strike, "right": quotes.right.astype(str), "bid": quotes.bid_close, "ask": quotes.ask_close})
    return chain.reset_index(drop=True)


def hours(folder, symbol):
    return sorted(table(folder, f"{symbol.lower()}_option_hour_quotes").time.unique())


def hour_chain(folder, symbol, start):
    """Quotes at the end of an hourly bar, and the stock's mid at that instant."""
    quotes, start = table(folder, f"{symbol.lower()}_option_hour_quotes"), pd.Timestamp(start)
    start = start if start.tzinfo else start.tz_localize(NEW_YORK)
    end = start + pd.Timedelta(hours=1)
    chain = with_tau(quotes[quotes.time == start], end)
    return chain[chain.tau > 0], spot_before(folder, symbol, end)


def minute_chain(folder, day, start):
    """TWX: the last bid and the last ask of every contract up to the end of a minute bar, and the stock's mid."""
    quotes, end = table(folder, f"twx_option_minute_quotes_{day}"), start + pd.Timedelta(minutes=1)
    known = quotes[quotes.time < end].astype({"right": str}).groupby(["expiry", "strike", "right"])[["bid_close", "ask_close"]].last().reset_index()
    return with_tau(known, end), spot_before(folder, "TWX", end)


def two_sided(q):
    return (q.bid > 0) & (q.ask > q.bid)


def check_reasons(q, chain, spot):
    """Every vol that is missing has a reason, and the reason is true."""
    assert len(q) == len(chain)
    two, mid = two_sided(q), (q.bid + q.ask) / 2
    assert set(q.reason[~two]) <= set(QUOTE_REASONS[1:]) and set(q.reason[two]) <= {"ok"} | NO_VOL
    for vol, reason in ((q.bid_vol, q.bid_reason), (q.mid_vol, q.reason), (q.ask_vol, q.ask_reason)):
        assert np.array_equal(vol.notna(), reason == "ok")
    exercise = american(spot, q.strike, q.tau, RATE, q.div_yield, 0.0, q.right.to_numpy(dtype=str))[0]
    for price, reason in ((q.bid, q.bid_reason), (mid, q.reason), (q.ask, q.ask_reason)):
        gap = (price - exercise) / TICK
        assert (gap[reason == VOL_REASONS[1]] < -1 + 1e-6).all() and gap[reason == VOL_REASONS[4]].between(-1 - 1e-6, 1 + 1e-6).all()
    assert not q.otm[two & (q.reason != "ok")].any()  # only in the money


def check_surface(surface):
    """Inside bid and ask, and free of arbitrage; returns quotes and quotes inside by expiry."""
    counts, before = [], None
    for smile in surface.smiles:
        q = surface.quotes[surface.quotes.tau == smile.tau]
        two, strikes = two_sided(q) & q.otm, q.strike[q.fitted]
        counts.append((int(two.sum()), int(q.inside[two].sum())))  # of all two-sided out-of-the-money quotes, fitted or not
        assert counts[-1][1] >= 0.95 * counts[-1][0], f"tau {smile.tau:.4f}: {counts[-1][1]} of {counts[-1][0]} inside bid and ask"
        low, high = np.log(strikes.min() / smile.forward), np.log(strikes.max() / smile.forward)
        assert butterfly_violation(smile, low, high) <= NO_ARBITRAGE
        assert (smile.low, smile.high) == pytest.approx((low, high), abs=1e-12)
        if before is not None:  # over the strikes that either of them quotes
            assert calendar_violation(before, smile, min(low, before.low), max(high, before.high)) <= NO_ARBITRAGE
        before = smile
    return np.array(counts)


def check_chain(chain, spot):
    surface = vol_surface(chain, spot, RATE)
    assert surface.left_out == {}
    check_reasons(surface.quotes, chain, spot)
    return check_surface(surface)


SAMPLE = [("TWX", "2014-06-06 11:00"), ("AAPL", "2014-06-06 11:00"), ("AAPL", "2014-06-09 12:00")]  # AAPL split 7 for 1 between the two days


@pytest.fixture(scope="module", params=SAMPLE, ids=["TWX", "AAPL", "AAPL-split"])
def real(request, shared_data):
    chain, spot = hour_chain(shared_data, *request.param)
    return chain, spot, vol_surface(chain, spot, RATE)


def test_every_quote_has_a_vol_or_a_true_reason(real):
    chain, spot, surface = real
    assert surface.left_out == {}
    check_reasons(surface.quotes, chain, spot)
    assert surface.quotes.mid_vol.notna().sum() > 0.75 * two_sided(surface.quotes).sum()  # wide quotes deep in the money have their mid below exercise value


def test_vols_give_the_mids_back(real):
    _, spot, surface = real
    q = surface.quotes[surface.quotes.reason == "ok"].iloc[::7]
    back = american(spot, q.strike, q.tau, RATE, q.div_yield, q.mid_vol, q.right.to_numpy(dtype=str))[0]
    np.testing.assert_allclose(back, (q.bid + q.ask) / 2, atol=1e-7)


def test_fits_lie_inside_bid_and_ask_without_arbitrage(real):
    surface = real[2]
    check_surface(surface)
    summary = surface.summary()
    assert (summary.rms_vol_points < 2.5).all() and (summary.rms_vol_points[summary.tau > 0.01] < 1).all()


def test_forwards_carry_spot_and_dividends(real):
    """Both paid about 2 % a year; near expiries end before the next ex-date of August 2014."""
    _, spot, surface = real
    summary = surface.summary()
    assert np.allclose(summary.forward[summary.tau < 0.15], spot, rtol=1.5e-3)
    assert summary.div_yield[summary.tau > 0.5].between(0.008, 0.025).all()
    assert (summary.forward[summary.tau > 0.3].diff().dropna() < 0).all()  # dividends outweigh the rate


def test_a_quote_off_the_curve_is_not_inside(real):
    """Negative control: one bid and ask 40 % too dear ends outside, and the rest inside."""
    chain, spot, surface = real
    at = surface.quotes[two_sided(surface.quotes) & surface.quotes.otm & (surface.quotes.tau == surface.smiles[2].tau)].bid.idxmax()
    dear = chain[chain.tau == surface.smiles[2].tau].copy()
    dear.loc[at, ["bid", "ask"]] *= 1.4
    q = vol_surface(dear, spot, RATE).quotes
    two = two_sided(q) & q.otm
    assert not q.inside[at] and q.inside[two].mean() > 0.8


@pytest.mark.parametrize("symbol", ["TWX", "AAPL"])
def test_every_hour_inverted_as_european_or_the_reason_given(symbol, shared_data):
    """All hours at once through `implied_vol`; as European, with no dividends, calls and puts near exercise have more reasons than as American."""
    frames = [chain.assign(spot=spot) for chain, spot in (hour_chain(shared_data, symbol, start) for start in hours(shared_data, symbol))]
    q = pd.concat(frames, ignore_index=True)
    reason, mid = quote_reasons(q.bid, q.ask), ((q.bid + q.ask) / 2).to_numpy()
    assert len(q) > {"TWX": 2_500, "AAPL": 31_000}[symbol] and set(reason) <= set(QUOTE_REASONS)
    vol, flag = implied_vol(mid, q.spot, q.strike, q.tau, RATE, 0.0, q.right.to_numpy(dtype=str), tick=TICK)
    two = reason == "ok"
    assert np.array_equal(np.isfinite(vol), np.isin(flag, [0, 5])) and set(flag[two]) <= {0, 1, 6} and set(flag) <= set(IV_FLAGS)
    assert np.isnan(mid[flag == 3]).all() and not two[flag == 3].any()
    intrinsic = bsm_price(q.spot, q.strike, q.tau, RATE, 0.0, 0.0, q.right.to_numpy(dtype=str))
    gap = (mid - intrinsic) / TICK
    assert (gap[two & (flag == 1)] < -1 + 1e-6).all() and (np.abs(gap[two & (flag == 6)]) <= 1 + 1e-6).all() and (gap[two & (flag == 0)] > 1 - 1e-6).all()
    good = two & (flag == 0)
    back = bsm_price(q.spot[good], q.strike[good], q.tau[good], RATE, 0.0, vol[good], q.right[good].to_numpy(dtype=str))
    np.testing.assert_allclose(back, mid[good], rtol=1e-10)
    out = two & np.where(q.right == "C", q.strike > 1.01 * q.spot, q.strike < 0.99 * q.spot)
    assert (flag[out] == 0).all()  # every out-of-the-money mid has a vol


def test_every_twx_hour_fits(shared_data):
    counts = np.concatenate([check_chain(*hour_chain(shared_data, "TWX", start)) for start in hours(shared_data, "TWX")[::2]])
    assert counts[:, 1].sum() >= 0.99 * counts[:, 0].sum() and len(counts) == 35


@pytest.mark.parametrize("day", ["20140605", "20140606"])
def test_twx_minutes_fit(day, shared_data):
    """Every two hours of the day, and its last minute."""
    minutes = sorted(table(shared_data, f"twx_option_minute_quotes_{day}").time.unique())[:390]
    counts = np.concatenate([check_chain(*minute_chain(shared_data, day, start)) for start in [*minutes[5::120], minutes[-1]]])
    assert counts[:, 1].sum() >= 0.99 * counts[:, 0].sum()


@pytest.mark.soak
@pytest.mark.parametrize("symbol", ["TWX", "AAPL"])
def test_the_whole_chain_fits(symbol, shared_data):
    """Every hour and expiry."""
    counts = np.concatenate([check_chain(*hour_chain(shared_data, symbol, start)) for start in hours(shared_data, symbol)])
    print(f"{symbol}: {counts[:, 1].sum() / counts[:, 0].sum():.4f} inside over {len(counts)} expiries, at least {(counts[:, 1] / counts[:, 0]).min():.4f}")
    assert len(counts) == {"TWX": 70, "AAPL": 174}[symbol]
    assert counts[:, 1].sum() >= 0.99 * counts[:, 0].sum()


@pytest.mark.soak
@pytest.mark.parametrize("day", ["20140605", "20140606"])
def test_the_whole_minute_days_fit(day, shared_data):
    minutes = sorted(table(shared_data, f"twx_option_minute_quotes_{day}").time.unique())[:390]
    counts = np.concatenate([check_chain(*minute_chain(shared_data, day, start)) for start in minutes[1::6]])
    print(f"TWX {day}: {counts[:, 1].sum() / counts[:, 0].sum():.4f} inside over {len(counts)} expiries, at least {(counts[:, 1] / counts[:, 0]).min():.4f}")
    assert counts[:, 1].sum() >= 0.99 * counts[:, 0].sum()


K = np.linspace(-0.4, 0.3, 15)
TRUTH = Smile(0.5, 100.0, "svi", np.array([0.01, 0.1, -0.4, 0.02, 0.15]))
V = TRUTH.vol(K)


def test_svi_recovers_its_own_smile():
    assert np.allclose(fit_svi(K, V - 0.002, V, V + 0.002, 0.5).vol(K), V, atol=1e-5)


def test_mixture_keeps_forward_and_probability():
    weight, mean, _ = fit_mixture(K, V - 0.002, V, V + 0.002, 0.5).params
    assert weight.min() > 0 and weight.sum() == pytest.approx(1, abs=1e-12) and weight @ mean == pytest.approx(1, abs=1e-12)


def test_mixture_obeys_a_nearer_smile_where_quotes_do_not():
    low = V - 0.02
    free, held = (fit_mixture(K, low - 0.001, low, low + 0.001, 0.5, near=near) for near in (None, TRUTH))
    assert calendar_violation(TRUTH, free, K[0], K[-1]) > 1e-3  # the check itself sees the arbitrage
    assert calendar_violation(TRUTH, held, K[0], K[-1]) < 1e-5


def test_mixture_obeys_a_nearer_smile_beyond_its_own_quotes():
    """A nearer expiry quoted to lower strikes, with fatter puts there than the later quotes lead to."""
    steep = Smile(0.45, 100.0, "svi", np.array([0.004, 0.16, -0.7, 0.0, 0.1]), -0.8, 0.3)
    inner = K >= -0.15
    low = V[inner] - 0.02
    held = fit_mixture(K[inner], low - 0.001, low, low + 0.001, 0.5, near=steep)
    alone = fit_mixture(K[inner], low - 0.001, low, low + 0.001, 0.5)
    assert calendar_violation(steep, alone, -0.8, 0.3) > 1e-4  # the check itself sees the arbitrage
    assert calendar_violation(steep, held, -0.8, 0.3) <= NO_ARBITRAGE


def test_vol_between_expiries_has_no_calendar_arbitrage(real):
    """Total variance at equal strike over forward never falls with time, over the strikes that all quote."""
    surface = real[2]
    for near, far in zip(surface.smiles, surface.smiles[1:]):
        k = np.linspace(max(near.low, far.low), min(near.high, far.high), 50)
        assert np.allclose(surface.vol(near.forward * np.exp(k), near.tau), near.vol(k), atol=1e-12)
        taus = np.linspace(near.tau, far.tau, 7)
        forwards = near.forward * (far.forward / near.forward) ** ((taus - near.tau) / (far.tau - near.tau))
        calls = np.array([bsm_price(1.0, np.exp(k), 1.0, 0.0, 0.0, surface.vol(f * np.exp(k), t) * np.sqrt(t), 1.0) for t, f in zip(taus, forwards)])
        assert np.diff(calls, axis=0).min() >= -NO_ARBITRAGE


def test_vol_of_a_strike_and_date():
    surface = made_surface()
    near, far = surface.smiles
    assert surface.vol(100, 0.125) == pytest.approx(near.vol(0.0), abs=1e-3)  # before the nearest expiry its own vol
    k, middle = np.log(95 / np.sqrt(near.forward * far.forward)), (near.tau + far.tau) / 2
    assert surface.vol(95, middle) == pytest.approx(np.sqrt((near.variance(k) + far.variance(k)) / 2 / middle), abs=1e-12)
    for tau, words in ((0.6, "tau is 0.6: the surface reaches from 0 to its last expiry at 0.5000"), (0, "tau is 0:"), (-1, "tau is -1"), ([0.1], "give one number"), (np.nan, "tau is nan")):
        with pytest.raises(InputError, match=words):
            surface.vol(100, tau)
    with pytest.raises(InputError, match="strike is -1"):
        surface.vol([100, -1], 0.3)


def made_surface(**columns):
    strikes = np.arange(80.0, 121, 2.5)
    sides = [pd.DataFrame({"tau": tau, "strike": strikes, "right": right, "mid": american(100, strikes, tau, RATE, 0.0, 0.3, right)[0]}) for tau in (0.25, 0.5) for right in "CP"]
    return vol_surface(pd.concat(sides, ignore_index=True).assign(bid=lambda q: (q.mid - 0.03).clip(0), ask=lambda q: q.mid + 0.03, **columns), 100, RATE)


def test_surface_speaks_briefly():
    surface = made_surface()
    assert repr(surface) == "Surface(spot 100.00, rate 0.0025, 2 expiries from tau 0.2500 to 0.5000, 0 left out)"
    assert len(repr(surface.smiles[0])) < 120 and "quoted from k" in repr(surface.smiles[0])
    summary = surface.summary()
    assert surface._repr_html_().count("<tr") == 3 and summary.low.tolist() == [80.0, 80.0] and summary.high.tolist() == [120.0, 120.0]


def test_figure_names_what_it_draws():
    import matplotlib

    matplotlib.use("Agg")
    plain, named = surface_figure(made_surface()), surface_figure(made_surface(symbol="KO"))
    assert [f.legends[0].get_title().get_text() for f in (plain, named)] == ["spot 100.00 dollars", "KO, spot 100.00 dollars"]
    words = [t.get_text() for t in plain.legends[0].get_texts()]
    assert words == ["bid to ask", "smile"]
    surface = made_surface()
    surface.quotes.loc[surface.quotes[surface.quotes.fitted].index[3], "inside"] = False
    assert "bid to ask, missed" in [t.get_text() for t in surface_figure(surface).legends[0].get_texts()]
    with pytest.raises(InputError, match="the surface is a DataFrame: give what `vol_surface` returns"):
        surface_figure(surface.summary())


def test_inside_share_counts_both_sides():
    assert inside_share(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.21, 0.2]), np.array([0.2, 0.3, 0.29])) == pytest.approx(1 / 3)


def test_forward_needs_a_pair():
    with pytest.raises(InputError, match="no forward from parity"):
        implied_forward(100, 0.5, 0.01, np.array([50.0]), np.array([49.0]), np.array([0.0]), np.array([0.1]))


VEE = Smile(0.25, 100.0, "svi", np.array([-0.04, 2.5, 0.0, 0.0, 0.02]))  # wings steeper than Lee's bound
LATER = Smile(1.0, 100.0, "svi", np.array([0.01, 0.1, -0.4, 0.02, 0.15]) * [1.5, 1, 1, 1, 1])


def test_butterfly_check_sees_a_negative_density_and_no_other():
    assert butterfly_violation(VEE, -0.5, 0.5) > 1e-3
    assert butterfly_violation(TRUTH, K[0], K[-1]) < 1e-9


def test_calendar_check_sees_a_nearer_call_above_and_no_other():
    assert calendar_violation(LATER, TRUTH, K[0], K[-1]) > 1e-4  # the two expiries the wrong way round
    assert calendar_violation(TRUTH, LATER, K[0], K[-1]) == 0


def test_surface_removes_the_arbitrage_that_quotes_hold():
    """Negative control of the whole: quotes of a later expiry cheaper than the nearer one's, and a put dearer than a higher strike's."""
    strikes = np.arange(80.0, 121, 2.5)

    def quoted(tau, vol):
        sides = [pd.DataFrame({"tau": tau, "strike": strikes, "right": right, "mid": american(100, strikes, tau, RATE, 0.0, vol, right)[0]}) for right in "CP"]
        return pd.concat(sides).assign(bid=lambda q: (q.mid - 0.03).clip(0), ask=lambda q: q.mid + 0.03)

    bump = 0.3 + 0.15 * (strikes == 90)
    surface = vol_surface(pd.concat([quoted(0.25, bump), quoted(0.5, 0.18)], ignore_index=True), 100, RATE)
    near, far = surface.smiles
    raw = [Smile(s.tau, s.forward, "svi", np.array([v * v * s.tau, 0, 0, 0, 0.1])) for s, v in ((near, 0.3), (far, 0.18))]
    low, high = np.log(strikes[[0, -1]] / far.forward)
    assert calendar_violation(*raw, low, high) > 1e-3
    assert calendar_violation(near, far, low, high) <= NO_ARBITRAGE and max(butterfly_violation(s, low, high) for s in (near, far)) <= NO_ARBITRAGE
    assert surface.quotes.inside[surface.quotes.fitted].mean() < 0.9  # what cannot be met is not said to be


def test_quote_reasons_each_case():
    bid, ask = [1, np.nan, 1, np.nan, 0, 2, 2], [1.1, np.nan, np.nan, 1, 1, 1, 2]
    assert tuple(quote_reasons(bid, ask)) == QUOTE_REASONS
    with pytest.raises(InputError, match="bid is -0.01: quotes are not negative"):
        quote_reasons([-0.01], [1.0])


CHAIN = pd.DataFrame({"tau": 0.5, "strike": [90.0, 100.0, 110.0] * 2, "right": list("CCCPPP"), "bid": [11.0, 4.9, 1.4, 1.0, 4.8, 11.2], "ask": [11.3, 5.1, 1.5, 1.1, 5.0, 11.5]})


@pytest.mark.parametrize(("change", "match"), [
    ({"bid": None}, "'bid'"), ({"tau": 0.0}, "tau is 0.*expired"), ({"tau": -0.1}, "tau is -0.1"), ({"strike": np.nan}, "strike is nan"),
    ({"strike": 100.0}, "quoted twice"), ({"right": ["C", "C", "C", "P", "P", "X"]}, "right X is neither call nor put"), ({"ask": -1.0}, "ask is -1"), ({"bid": np.nan}, "no expiry has a smile"),
])
def test_chain_that_cannot_be_is_named(change, match):
    name, value = next(iter(change.items()))
    with pytest.raises(InputError, match=match):
        vol_surface(CHAIN.drop(columns=name) if value is None else CHAIN.assign(**change), 100, 0.01)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: vol_surface(CHAIN, None, 0.01), "spot is None: give one number"), (lambda: vol_surface(CHAIN, "100", 0.01), "spot is '100': give one number"), (lambda: vol_surface(CHAIN, 100, None), "rate is None"),
    (lambda: vol_surface(CHAIN.to_dict("list"), 100, 0.01), "the chain is a dict: give a DataFrame"), (lambda: vol_surface(100, CHAIN, 0.01), "the chain is a int: give a DataFrame"),
    (lambda: vol_surface(CHAIN.assign(tau=pd.Timestamp("2024-01-19", tz="UTC")), 100, 0.01), "tau holds"), (lambda: vol_surface(CHAIN.assign(tau=pd.Timestamp("2024-01-19")), 100, 0.01), "tau holds"),
    (lambda: vol_surface(CHAIN.assign(strike="100"), 100, 0.01), "strike holds"), (lambda: vol_surface(CHAIN.assign(bid="x"), 100, 0.01), "bid holds"),
    (lambda: vol_surface(CHAIN.assign(bid=2.0, ask=1.0), 100, 0.01), "of 6 quotes 6 crossed"),
])
def test_what_is_no_chain_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_yields_implied_in_the_last_hours_are_not_warned_of(shared_data):
    """An hour before expiry half a cent of forward is a yield beyond 100 % a year."""
    chain, spot = hour_chain(shared_data, "AAPL", "2014-06-06 14:00")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnitWarning)
        surface = vol_surface(chain[chain.tau < 0.03], spot * 1.0005, RATE)
        found = implied_forward(100, 1 / 24 / 365, 0.0, np.array([99.0, 101.0]), np.array([1.13, 0.04]), np.array([0.02, 0.91]), np.array([0.02, 0.02]))
    assert abs(found.div_yield) > 1
    assert surface.quotes.div_yield.abs().max() > 1


@pytest.mark.parametrize("days, rate, words", [
    (1, 5.0, "rate is 5, that is 500 % a year: for 5 % give 0.05"), (182, 0.01, "tau is 91, that is 91 years (34 of 68 are so large): for 91 days give 91 / 365"),
    (365, 0.25, "rate is 0.25, that is 25 % a year: for 0.25 % give 0.0025; tau is 91.25, that is 91.25 years (68 of 68 are so large): for 91.25 days give 91.25 / 365"),
])
def test_days_and_percent_of_a_chain_are_warned_of_once(days, rate, words):
    """Forwards, vols and fits price the same numbers hundreds of times; one warning, with their count and the caller's line."""
    chain = made_surface().quotes[["tau", "strike", "right", "bid", "ask"]]
    tau = {1: chain.tau, 182: chain.tau.where(chain.tau > 0.3, 91.0), 365: 365 * chain.tau}[days]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            vol_surface(chain.assign(tau=tau), 100, rate)
        except InputError as error:  # such days and rates may leave no forward
            assert "no expiry has a smile" in str(error)
    assert [(str(w.message), w.filename) for w in said if w.category is UnitWarning] == [(words, __file__)]


@pytest.mark.parametrize("spot", [0.0, -1.0, np.nan, np.inf])
def test_spot_that_cannot_be_is_named(spot):
    with pytest.raises(InputError, match=f"spot {spot:g}"):
        vol_surface(CHAIN, spot, 0.01)


def test_an_expiry_without_pairs_is_left_out_and_the_others_fit():
    broken = CHAIN.assign(tau=0.75, bid=CHAIN.bid.where(CHAIN.right == "C", 0.0))
    surface = vol_surface(pd.concat([CHAIN, broken], ignore_index=True), 100, 0.01)
    assert [s.tau for s in surface.smiles] == [0.5] and list(surface.left_out) == [0.75]
    rest = surface.quotes[surface.quotes.tau == 0.75]
    assert set(rest.reason) == {"zero bid", "no forward from parity"} and rest.mid_vol.isna().all() and not rest.inside.any()


def quoted_to_the_cent(tau, strikes, vol=0.3, spread=0.02):
    """Calls and puts on a stock at 100 without carry."""
    strikes = np.asarray(strikes, dtype=float)
    sides = [pd.DataFrame({"tau": tau, "strike": strikes, "right": right, "mid": bsm_price(100, strikes, tau, 0.0, 0.0, vol, right)}) for right in "CP"]
    return pd.concat(sides, ignore_index=True).assign(bid=lambda q: np.floor(100 * (q.mid - spread / 2).clip(0)) / 100, ask=lambda q: np.ceil(100 * (q.mid + spread / 2)) / 100)


FULL = quoted_to_the_cent(0.25, np.arange(80, 121, 2.5))
SPARSE = [
    ("TWX", 0, [47.5, 50.0, 57.5, 60.0, 62.5, 70.0, 85.0]), ("AAPL", 1, [305.0, 355.0, 510.0, 540.0, 715.0, 750.0]), ("AAPL", 1, [240.0, 530.0, 625.0, 780.0, 845.0]), ("AAPL", 2, [45.71, 57.14, 72.86, 122.86]),
]


@pytest.mark.parametrize("symbol, sample, strikes", SPARSE)
def test_sparse_expiry_of_a_real_chain_is_fitted_beside_the_others(symbol, sample, strikes, shared_data):
    """Three or four out-of-the-money quotes, far apart: each of the expiries, thinned out to these strikes."""
    chain, spot = hour_chain(shared_data, *SAMPLE[sample])
    last = chain.tau.max()
    for tau in sorted(chain.tau.unique())[2:-1]:
        thin = chain[(chain.tau == tau) & chain.strike.isin(strikes)]
        surface = vol_surface(pd.concat([thin, chain[chain.tau == last]], ignore_index=True), spot, RATE)
        assert surface.smiles[-1].tau == last and set(surface.left_out) <= {tau}
        assert all("did not settle" not in why for why in surface.left_out.values())


@pytest.mark.parametrize("strikes, bid, ask", [
    ([63.0, 108.0, 113.0], [3.32, 7.99, 6.21], [3.34, 8.01, 6.23]), ([52.0, 82.0, 108.0, 127.0], [2.51, 7.41, 7.87, 1.26], [2.62, 7.52, 7.98, 1.37]), ([66.0, 85.0, 116.0, 128.0], [3.59, 7.79, 5.32, 1.66], [3.63, 7.83, 5.36, 1.7]),
])
def test_few_quotes_far_apart_settle(strikes, bid, ask):
    """Calls above, puts below a forward of 100 in 1.6 years; the interior point went round in circles on them."""
    strikes, right = np.array(strikes), np.where(np.array(strikes) < 100, -1, 1)
    bid, mid, ask = (implied_vol(p, 100, strikes, 1.6, 0, 0, right)[0] for p in (np.array(bid), (np.array(bid) + ask) / 2, np.array(ask)))
    smile = fit_mixture(np.log(strikes / 100), bid, mid, ask, 1.6)
    assert inside_share(smile.vol(np.log(strikes / 100)), bid, ask) == 1 and butterfly_violation(smile, smile.low, smile.high) < NO_ARBITRAGE


@pytest.mark.parametrize("k, vol, tau", [([-0.5, -0.27, -0.23, -0.16], [0.403, 0.341, 0.337, 0.289], 0.02), ([-0.54, -0.09, 0.02], [0.417, 0.287, 0.236], 0.02), ([-0.6, -0.35, -0.01, 0.23], [0.422, 0.348, 0.269, 0.184], 0.05)])
def test_quotes_whose_spread_is_below_rounding_settle(k, vol, tau):
    """Vols known to 0.2 points ten standard deviations out are prices known to 1e-20 of the forward: no quote is."""
    vol = np.array(vol)
    assert fit_mixture(np.array(k), vol - 0.002, vol, vol + 0.002, tau).kind == "mixture"


def unsettled(*arguments):
    return 0.0, 100, 1


@pytest.mark.parametrize("at", [0, 1, 2])
def test_expiry_whose_program_does_not_settle_is_left_out_and_the_others_fit(at, monkeypatch):
    """The program of one expiry refuses, nearest, middle or last: it is named with a reason that blames no quote, and the rest is as without it."""
    from otsport.analytics import surface as room

    bent = [quoted_to_the_cent(tau, np.arange(80, 121, 2.5), 0.3 + 0.06 * (np.arange(80, 121, 2.5) == 90)) for tau in (0.1, 0.25, 0.6)]  # SVI has no such bend
    taus, program, real = [0.1, 0.25, 0.6], room.hinge_program, room.fit_mixture

    def refuse(k, *vols_tau_and_more, **named):
        room.hinge_program = unsettled if vols_tau_and_more[3] == taus[at] else program
        return real(k, *vols_tau_and_more, **named)

    monkeypatch.setattr(room, "hinge_program", program)
    monkeypatch.setattr(room, "fit_mixture", refuse)
    surface = vol_surface(pd.concat(bent, ignore_index=True), 100, 0.0)
    assert [s.tau for s in surface.smiles] == [t for t in taus if t != taus[at]] and {s.kind for s in surface.smiles} == {"mixture"}
    assert surface.left_out == {taus[at]: f"mixture at tau {taus[at]:.4f}: the program over {int(bent[at].pipe(lambda q: ((q.strike >= 100) == (q.right == 'C')).sum()))} quotes did not settle in 100 steps; leave the expiry out, or give it other quotes"}
    rest = surface.quotes[surface.quotes.tau == taus[at]]
    assert not rest.fitted.any() and not rest.inside.any() and rest.fit_vol.isna().all() and rest.mid_vol.notna().any()
    assert len(surface.summary()) == 2 and repr(surface).endswith("1 left out)")
    for near, far in zip(surface.smiles, surface.smiles[1:]):
        assert calendar_violation(near, far, min(near.low, far.low), max(near.high, far.high)) <= NO_ARBITRAGE


@pytest.mark.parametrize("change, why", [
    (lambda q: q[q.strike.isin([100.0])], "a smile needs at least 3"), (lambda q: q[q.right == "C"], "no forward from parity"), (lambda q: q.assign(bid=0.0), "zero bid"),
    (lambda q: q.assign(bid=q.bid.where(q.right == "C", 200.0), ask=q.ask.where(q.right == "C", 201.0)), "no forward from parity"), (lambda q: q.assign(ask=q.bid - 0.01), "crossed"),
])
def test_expiry_that_cannot_be_is_left_out_with_its_reason(change, why):
    other = change(quoted_to_the_cent(0.5, [90.0, 100.0, 110.0]).query("bid > 0"))
    surface = vol_surface(pd.concat([FULL, other], ignore_index=True), 100, 0.0)
    assert [s.tau for s in surface.smiles] == [0.25] and list(surface.left_out) == [0.5] and why in surface.left_out[0.5]
    assert not surface.quotes[surface.quotes.tau == 0.5].fitted.any()
