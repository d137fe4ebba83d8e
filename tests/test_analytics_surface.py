"""Surfaces of the real AAPL and TWX chains of June 2014, and the parts they are made of."""
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from otsport.analytics.american import american
from otsport.analytics.surface import (
    NO_ARBITRAGE, VOL_REASONS, Smile, butterfly_violation, calendar_violation, fit_mixture, fit_svi, implied_forward, inside_share, quote_reasons, vol_surface,
)
from otsport.core.errors import InputError

DATA = Path(os.environ.get("OTSPORT_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RATE = 0.0025  # annual: the discount-window rate of 0.75 % less the usual half a point
NEW_YORK = "America/New_York"


def real_chain(symbol, hour):
    """Quotes at the end of an hourly bar, and the stock's mid at that instant."""
    if not DATA.exists():
        pytest.skip("the folder of shared market data is absent")
    quotes, stock = (pd.read_parquet(DATA / name) for name in (f"{symbol.lower()}_option_hour_quotes.parquet", "equity_minute_quotes.parquet"))
    start = pd.Timestamp(hour, tz=NEW_YORK)
    end = start + pd.Timedelta(hours=1)
    q, s = quotes[quotes.time == start], stock[(stock.symbol == symbol) & (stock.time < end)].iloc[-1]
    tau = (q.expiry.dt.tz_localize(NEW_YORK) + pd.Timedelta(hours=16) - end) / pd.Timedelta(days=365)
    chain = pd.DataFrame({"tau": tau, "strike": q.strike, "right": q.right.astype(str), "bid": q.bid_close, "ask": q.ask_close})
    return chain.reset_index(drop=True), (s.bid_close + s.ask_close) / 2


@pytest.fixture(scope="module", params=[("TWX", "2014-06-06 11:00"), ("AAPL", "2014-06-06 11:00")], ids=["TWX", "AAPL"])
def real(request):
    chain, spot = real_chain(*request.param)
    return chain, spot, vol_surface(chain, spot, RATE)


@pytest.mark.xdist_group("surface")
def test_every_two_sided_quote_has_a_vol_or_a_reason(real):
    chain, spot, surface = real
    q = surface.quotes
    assert len(q) == len(chain)
    two = (q.bid > 0) & (q.ask > q.bid)
    assert np.array_equal(q.mid_vol.notna(), q.reason == "ok") and set(q.reason[two]) <= {"ok", VOL_REASONS[1]}
    left = q[two & q.mid_vol.isna()]  # only deep in the money, where the mid leaves no time value over exercise now
    gain = np.where(left.right == "C", spot - left.strike, left.strike - spot)
    assert len(left) < 0.12 * two.sum() and np.all((left.bid + left.ask) / 2 <= gain + 0.02 * left.strike)
    assert not left.otm.any()


@pytest.mark.xdist_group("surface")
def test_vols_give_the_mids_back(real):
    _, spot, surface = real
    q = surface.quotes[surface.quotes.reason == "ok"].iloc[::7]
    back = american(spot, q.strike, q.tau, RATE, q.div_yield, q.mid_vol, q.right.to_numpy(dtype=str))[0]
    np.testing.assert_allclose(back, (q.bid + q.ask) / 2, atol=1e-7)


@pytest.mark.xdist_group("surface")
def test_fits_lie_inside_bid_and_ask(real):
    _, _, surface = real
    q, summary = surface.quotes, surface.summary()
    two = (q.bid > 0) & (q.ask > q.bid) & q.otm
    assert q.inside[two].mean() >= 0.95  # of all two-sided out-of-the-money quotes, fitted or not
    assert (summary.inside >= 0.95).all()
    assert (summary.rms_vol_points < 2.5).all() and (summary.rms_vol_points[summary.tau > 0.01] < 1).all()


@pytest.mark.xdist_group("surface")
def test_surface_is_free_of_arbitrage(real):
    _, _, surface = real
    ranges = []
    for smile in surface.smiles:
        strikes = surface.quotes.strike[(surface.quotes.tau == smile.tau) & surface.quotes.fitted]
        ranges.append((np.log(strikes.min() / smile.forward), np.log(strikes.max() / smile.forward)))
        assert butterfly_violation(smile, *ranges[-1]) <= NO_ARBITRAGE
    for i in range(1, len(ranges)):
        assert calendar_violation(surface.smiles[i - 1], surface.smiles[i], *ranges[i]) <= 2e-5  # between the points where it is imposed; of the forward


@pytest.mark.xdist_group("surface")
def test_forwards_carry_spot_and_dividends(real):
    """Both paid about 2 % a year; near expiries end before the next ex-date of August 2014."""
    _, spot, surface = real
    summary = surface.summary()
    assert np.allclose(summary.forward[summary.tau < 0.15], spot, rtol=1.5e-3)
    assert summary.div_yield[summary.tau > 0.5].between(0.008, 0.025).all()
    assert (summary.forward[summary.tau > 0.3].diff().dropna() < 0).all()  # dividends outweigh the rate


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


def test_inside_share_counts_both_sides():
    assert inside_share(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.21, 0.2]), np.array([0.2, 0.3, 0.29])) == pytest.approx(1 / 3)


def test_forward_needs_a_pair():
    with pytest.raises(InputError, match="no forward from parity"):
        implied_forward(100, 0.5, 0.01, np.array([50.0]), np.array([49.0]), np.array([0.0]), np.array([0.1]))


def test_quote_reasons_and_bad_input():
    assert quote_reasons(2.0, 1.0) == "crossed or locked"
    with pytest.raises(InputError, match="not negative"):
        quote_reasons([-0.01], [1.0])
    with pytest.raises(InputError, match="'bid'"):
        vol_surface(pd.DataFrame({"tau": [], "strike": [], "right": [], "ask": []}), 100, 0.01)
