"""Books of options revalued: parts, errors of the delta-gamma shortcut, and what is refused."""
import numpy as np
import pandas as pd
import pytest

from otsport.analytics.options import bsm_price
from otsport.analytics.revaluation import book_tail, delta_gamma_error, delta_gamma_pnl, full_revaluation, make_book
from otsport.analytics.risk import component_es, component_var, expected_shortfall, historical_var
from otsport.core.errors import DataError, InputError


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    n, m, scenarios = 50, 4, 600
    book = make_book(rng.integers(1, 10, n) * rng.choice([-1, 1], n), rng.uniform(50, 150, m)[np.arange(n) % m], rng.uniform(60, 140, n), rng.uniform(0.02, 1, n),
                     rng.uniform(0.2, 0.6, n), np.array(["C", "P", "S"])[np.arange(n) % 3], np.arange(n) % m, rate=0.03, div_yield=0.01)
    return book, 0.02 * rng.standard_t(5, (scenarios, m)), 0.01 * rng.standard_normal((scenarios, m))


def test_full_revaluation_equals_prices(case):
    book, moves, shifts = case
    found = full_revaluation(book, moves, shifts, days=2)
    for i in (0, 1, 2, 30, 49):
        u = book.underlying[i]
        after = book.spot[i] * (1 + moves[:, u])
        if book.sign[i] == 0:
            expected = book.scale[i] * (after - book.spot[i])
        else:
            terms = 0.03, 0.01
            new = bsm_price(after, book.strike[i], max(book.tau[i] - 2 / 365, 0), *terms, book.vol[i] + shifts[:, u], book.sign[i])
            expected = book.scale[i] * (new - bsm_price(book.spot[i], book.strike[i], book.tau[i], *terms, book.vol[i], book.sign[i]))
        np.testing.assert_allclose(found.pnl[i], expected, atol=1e-9)
    np.testing.assert_allclose(found.total, found.pnl.sum(axis=0), rtol=1e-11, atol=1e-8)


def test_book_tail_equals_the_general_functions(case):
    found = full_revaluation(*case)
    risk, frame = book_tail(found), pd.DataFrame(found.pnl.T)
    assert risk.var == pytest.approx([historical_var(found.total, a) for a in risk.levels], rel=1e-12)
    assert risk.es == pytest.approx([expected_shortfall(found.total, a) for a in risk.levels], rel=1e-12)
    np.testing.assert_allclose(risk.component_var, component_var(frame), atol=1e-3 * risk.var[0])
    np.testing.assert_allclose(risk.component_es, component_es(frame), rtol=1e-9, atol=1e-8)
    assert risk.component_var.sum() == pytest.approx(risk.var[0], rel=1e-10)


def test_book_tail_without_variation():
    found = full_revaluation(make_book([1, 2], 100.0, 100.0, 0.5, 0.2, "C", 0), np.zeros((40, 1)), days=1)
    risk = book_tail(found, (0.95,))
    assert risk.component_var.tolist() == pytest.approx((-found.pnl[:, 0]).tolist()) and risk.var[0] > 0


def test_delta_gamma_is_exact_for_shares_and_close_for_small_moves(case):
    book, moves, _ = case
    shares = book.sign == 0
    np.testing.assert_allclose(delta_gamma_pnl(book, moves).pnl[shares], full_revaluation(book, moves).pnl[shares], rtol=1e-12, atol=1e-9)
    small, large = (delta_gamma_error(book, moves * k) for k in (0.05, 1.0))
    assert small["mean_error"] < 0.01 * large["mean_error"]
    assert small["delta_gamma_var"] == pytest.approx(small["full_var"], rel=0.01)
    assert large["var_error"] == pytest.approx(large["delta_gamma_var"] - large["full_var"])


def test_delta_gamma_at_expiry_and_zero_vol_is_finite():
    book = make_book(1, 100.0, 100.0, [0.0, 0.5], [0.2, 0.0], "C", 0)
    assert np.isfinite(delta_gamma_pnl(book, [[0.01]]).pnl).all()


def test_delta_gamma_knows_vol_and_time():  # vega of an option at the forward: S n(d1) sqrt(tau), d1 = vol sqrt(tau) / 2 (Hull, ch. 19)
    book = make_book(3, 100.0, 100.0, 0.25, 0.2, "C", 0)
    vega = 100 * np.exp(-0.05**2 / 2) / np.sqrt(2 * np.pi) * 0.5
    assert delta_gamma_pnl(book, [[0.0]], [[0.02]]).total[0] == pytest.approx(300 * vega * 0.02, rel=1e-12)
    theta = -vega * 0.2 / (2 * 0.25)  # a year, at a rate of zero
    assert delta_gamma_pnl(book, [[0.0]], days=2).total[0] == pytest.approx(300 * theta * 2 / 365, rel=1e-9)
    rises = full_revaluation(book, [[0.0]], [[0.001]]).total[0]
    assert delta_gamma_pnl(book, [[0.0]], [[0.001]]).total[0] == pytest.approx(rises, rel=1e-3)


def test_adjusted_option_counts_its_deliverable():  # 150 shares a contract after a 3-for-2 split
    usual, adjusted = (full_revaluation(make_book(2, 100.0, 60.0, 0.0, 0.2, "C", 0, multiplier=units), [[0.1]]).total[0] for units in (100, 150))
    assert (usual, adjusted) == pytest.approx((2 * 100 * 10.0, 2 * 150 * 10.0))


def test_tail_of_a_far_call_is_zero_with_parts_of_zero():
    far = make_book(1, 100.0, 1000.0, 0.1, 0.1, "C", 0)
    for moves in (np.r_[np.zeros(95), np.full(5, 9.9)], np.linspace(-0.02, 0.02, 100), np.r_[np.zeros(95), np.full(5, 0.3)]):
        found = book_tail(full_revaluation(far, moves[:, None]))
        assert found.var == pytest.approx((0.0, 0.0), abs=1e-12) and found.component_var.tolist() == pytest.approx([0.0], abs=1e-12)
        assert "-0.0" not in repr(found.var)


@pytest.mark.parametrize("change, error, words", [
    (dict(spot=-1.0), DataError, "spot of position 0 is -1"), (dict(vol=np.nan), DataError, "vol of position 0 is nan"), (dict(tau=-0.1), InputError, "tau of position 0 is -0.1 years: the expiry precedes the instant of the prices"),
    (dict(right="call"), InputError, "'call' is not known"), (dict(strike=np.inf), DataError, "strike of position 0 is inf"), (dict(qty=np.nan), DataError, "qty of position 0"),
])
def test_make_book_refuses(change, error, words):
    given = dict(qty=1.0, spot=100.0, strike=100.0, tau=0.5, vol=0.2, right="C", underlying=0)
    with pytest.raises(error, match=words):
        make_book(**(given | change))


@pytest.mark.parametrize("moves, shifts, days, error", [
    ([[np.nan]], None, 0, DataError), ([[-1.01]], None, 0, DataError), ([[0.0]], [[-0.5]], 0, DataError), ([[0.0]], [[0.0, 0.0]], 0, InputError),
    ([0.0], None, 0, InputError), ([[0.0]], None, -1, InputError), ([[0.0]], [[np.inf]], 0, DataError),
])
def test_full_revaluation_refuses(moves, shifts, days, error):
    with pytest.raises(error):
        full_revaluation(make_book(1, 100.0, 100.0, 0.5, 0.2, "C", 0), moves, shifts, days)


def test_spot_may_fall_to_zero():
    found = full_revaluation(make_book(1, 100.0, 100.0, 0.5, 0.2, ["C", "P"], 0), [[-1.0]])
    call = bsm_price(100, 100, 0.5, 0, 0, 0.2, "C")
    assert found.pnl[:, 0].tolist() == pytest.approx([-100 * call, 100 * (100 - call)], rel=1e-12)
