"""First steps: what is easily got wrong is named with the way out, numbers keep their names, and results print what they are."""
import warnings
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from otsport.analytics.covariance import denoised_covariance, ewma_covariance, factor_covariance, repaired_covariance, sample_covariance, shrunk_covariance
from otsport.analytics.kelly import growth_rate, kelly_many
from otsport.analytics.live import LiveBook
from otsport.analytics.metrics import ShortHistory, drawdowns, longest_drawdown, metrics, rolling_metrics
from otsport.analytics.montecarlo import copula_scenarios, monte_carlo
from otsport.analytics.revaluation import delta_gamma_pnl, full_revaluation, make_book
from otsport.analytics.risk import expected_shortfall, historical_var
from otsport.analytics.var import linear_var, parametric_parts
from otsport.core.errors import DataError, InputError
from otsport.core.books import Lot, Position, PositionMark, Snapshot
from otsport.core.contracts import option, stock
from otsport.data.ring import SnapshotRing
from otsport.data.ticks import TickBuffer

OPENED = datetime(2025, 1, 2, 15, tzinfo=UTC)
AAPL, CALL = stock("AAPL"), option("AAPL", date(2025, 6, 20), Decimal(200), "C")
ZERO = Decimal(0)
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(RNG.normal(5e-4, 0.01, (300, 3)), columns=["AAPL", "KO", "JPM"])


def position(contract, qty, price):
    return Position("DU1", "main", contract, (Lot(Decimal(qty), Decimal(price), OPENED),) if qty else ())


def snapshot(*marks):
    """The last exact one: (contract, quantity, mark)."""
    rows = tuple(PositionMark(c, Decimal(q), ZERO, Decimal(m), Decimal(q) * Decimal(m) * c.multiplier, ZERO, ZERO) for c, q, m in marks)
    nav = Decimal(10_000) + sum(r.value for r in rows)
    return Snapshot("DU1", "main", date(2025, 1, 2), OPENED, Decimal(10_000), nav, rows, ZERO, ZERO, ZERO, ZERO)


HELD = [position(AAPL, 100, 180), position(CALL, -1, 5)]


def test_day_without_a_snapshot_begins_at_the_first_marks():
    book = LiveBook(HELD, 10_000.0)
    first, second = book.update([190.0, 7.0]), book.update([191.0, 6.0])
    assert (first.day_pnl, first.unrealized) == (0.0, 800.0)
    assert (second.day_pnl, second.unrealized) == (200.0, 1000.0)


def test_day_without_a_snapshot_begins_for_each_position_at_its_own_first_mark():
    book = LiveBook(HELD, 10_000.0)
    assert np.isnan(book.update([190.0, np.nan]).day_pnl)
    assert book.update([192.0, 7.0]).day_pnl == 200.0 and book.update([192.0, 6.5], flow=500.0).day_pnl == 250.0
    assert book.positions()["day_pnl"].tolist() == [200.0, 50.0]


def test_day_with_a_snapshot_begins_at_its_values():
    book = LiveBook(HELD, 10_000.0, snapshot((AAPL, 100, 185), (CALL, -1, 6)))
    assert book.update([190.0, 7.0]).day_pnl == 500.0 - 100.0


def test_position_opened_today_begins_at_its_cost_through_moved():
    close = snapshot((AAPL, 100, 185))
    assert LiveBook(HELD, 10_500.0, close, {CALL.key: 500.0}).update([190.0, 7.0]).day_pnl == 500.0 - 200.0
    with pytest.raises(InputError, match="AAPL 20250620 C 200 is not in the previous Snapshot: give the cash that opening it moved"):
        LiveBook(HELD, 10_500.0, close)


def test_position_that_was_worthless_or_is_closed_needs_no_moved():
    worthless = snapshot((AAPL, 100, 185), (CALL, -1, 0))
    assert LiveBook(HELD, 10_000.0, worthless).update([185.0, 0.5]).day_pnl == -50.0
    assert LiveBook([position(AAPL, 100, 180), position(CALL, 0, 0)], 10_000.0, snapshot((AAPL, 100, 185))).update([186.0, 1.0]).day_pnl == 100.0


def test_adjusted_option_counts_its_deliverable():  # 150 shares after a 3-for-2 split: 150 dollars for each dollar of its price
    adjusted = replace(CALL, multiplier=150)
    book = LiveBook([position(adjusted, -2, 5)], 10_000.0)
    assert (book.update([7.0]).short, book.update([7.0]).nav) == (2100.0, 7900.0)


def test_option_that_expired_before_the_snapshot_is_refused_by_name():
    late = replace(snapshot((AAPL, 100, 185), (CALL, -1, 6)), ts=datetime(2025, 6, 23, 15, tzinfo=UTC))
    with pytest.raises(InputError, match="AAPL 20250620 C 200 expired on 2025-06-20, before 2025-06-23: leave it out"):
        LiveBook(HELD, 10_000.0, late)
    LiveBook([HELD[0], position(CALL, 0, 0)], 10_000.0, replace(late, positions=late.positions[:1]))  # settled: nothing is held of it


def test_moved_without_a_snapshot_is_refused():
    with pytest.raises(InputError, match="AAPL moved cash since a Snapshot that is not given"):
        LiveBook(HELD, 10_000.0, moved={"AAPL": -18_000.0})


@pytest.mark.parametrize("given, words", [({"AAPL": 100}, "a dict is given"), ([("AAPL", 100)], "'AAPL', 100"), (["AAPL"], "'AAPL' is given"), ([AAPL], "Contract")])
def test_live_book_wants_position_records(given, words):
    with pytest.raises(InputError, match=words) as error:
        LiveBook(given, 1e4)
    assert 'Position records are wanted, for example Position("DU1"' in str(error.value)


PRICES = 100 * np.cumprod(1 + TABLE["AAPL"].to_numpy())


@pytest.mark.parametrize("measure", [metrics, drawdowns, longest_drawdown, lambda x: rolling_metrics(x, 3), lambda x: growth_rate(x, 0.5), lambda x: kelly_many(np.column_stack([x, x]))])
@pytest.mark.parametrize("prices", [[100.0, 101.0, 99.0, 102.0], PRICES, [0.01, 101.0, 0.02, 0.01]])
def test_prices_given_as_returns_are_named(measure, prices):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=r"in a period: give simple returns as decimals \(0.01 is 1 %\), prices / previous - 1"):
            measure(prices)
        warnings.simplefilter("ignore", ShortHistory)
        measure([0.1, 10.0, -0.1, 0.05])  # negative control: +1,000 % is a return


@pytest.mark.parametrize("measure", [lambda x: growth_rate(x, 0.5), lambda x: kelly_many(x[:, None])])
def test_percent_given_to_kelly_is_named(measure):
    with pytest.raises(DataError, match="below -1: none can lose more than all; give simple returns as decimals"):
        measure(100 * TABLE["AAPL"].to_numpy())
    measure(TABLE["AAPL"].to_numpy())


def test_loss_of_nothing_is_zero_without_a_sign():
    assert repr(metrics(np.zeros(20)).var_95) == repr(metrics(np.zeros(20)).cvar_95) == "0.0"


def test_annual_return_that_leaves_float64_is_nan_with_a_note():
    found = metrics([0.05, -0.01, 0.06], periods=98_280)
    assert np.isnan(found.annual_return) and np.isnan(found.calmar) and found.note.startswith("3 returns compound to no annual return")
    assert "compound" not in metrics([0.05, -0.01, 0.06]).note


NAMED = make_book([1, 100, -2], 100.0, [100.0, np.nan, 95.0], [0.5, np.nan, 0.2], [0.2, np.nan, 0.3], ["C", "S", "P"], ["KO", "AAPL", "KO"])
NUMBERED = make_book([1, 100, -2], 100.0, [100.0, np.nan, 95.0], [0.5, np.nan, 0.2], [0.2, np.nan, 0.3], ["C", "S", "P"], [0, 1, 0])


@pytest.mark.parametrize("value", [full_revaluation, delta_gamma_pnl])
def test_book_of_names_reads_frames_by_name(value):
    shifts = TABLE.abs() / 10
    expected = value(NUMBERED, TABLE[["KO", "AAPL"]].to_numpy(), shifts[["KO", "AAPL"]].to_numpy(), 1).pnl
    for columns in (["KO", "AAPL"], ["AAPL", "KO"]):
        np.testing.assert_array_equal(value(NAMED, TABLE[columns], shifts[["AAPL", "KO"]][::-1], 1).pnl, expected)
    np.testing.assert_array_equal(value(NUMBERED, TABLE[["KO", "AAPL"]].set_axis([0, 1], axis=1)).pnl, value(NAMED, TABLE[["AAPL", "KO"]]).pnl)


@pytest.mark.parametrize("book, moves, shifts, words", [
    (NAMED, TABLE.to_numpy(), None, "no names, the book is on KO, AAPL"), (NAMED, TABLE[["KO"]], None, "AAPL is in the book but not in the spot returns"), (NAMED, TABLE[["KO", "AAPL"]], TABLE.to_numpy(), "vol shifts have no names"),
    (NAMED, TABLE, None, "JPM is in the spot returns but not in the book"), (NAMED, TABLE.set_axis(["KO", "AAPL", "KO"], axis=1), None, "KO stands twice in the spot returns"), (NUMBERED, TABLE, None, "the book numbers its underlyings"), (NUMBERED, TABLE.to_numpy(), TABLE, "the vol shifts have columns"),
    (NUMBERED, TABLE.set_axis([1, 0, 2], axis=1), None, "the book numbers"), (NAMED, TABLE[["KO", "AAPL"]], TABLE[["KO", "AAPL"]][1:].abs(), "0 is in the spot returns but not in the vol shifts"), (NUMBERED, np.empty((0, 2)), None, "no scenarios"), (NAMED, TABLE[["AAPL", "KO"]][:0], None, "no scenarios"),
])
def test_scenarios_that_do_not_name_what_the_book_names_are_refused(book, moves, shifts, words):
    for value in (full_revaluation, delta_gamma_pnl):
        with pytest.raises(InputError, match=words):
            value(book, moves, shifts)


@pytest.mark.parametrize("estimate", [sample_covariance, shrunk_covariance, ewma_covariance, denoised_covariance, lambda x: factor_covariance(x, 1), lambda x: repaired_covariance(sample_covariance(x)), copula_scenarios])
def test_frame_gives_a_frame_of_the_same_numbers(estimate):
    named, plain = estimate(TABLE), estimate(TABLE.to_numpy())
    assert isinstance(plain, np.ndarray) and list(named.columns) == list(TABLE)
    np.testing.assert_array_equal(named.to_numpy(), plain)
    assert estimate is copula_scenarios or list(named.index) == list(TABLE)


def test_covariance_of_a_frame_meets_exposures_by_name():
    exposures = pd.Series({"AAPL": 1e5, "KO": 2e5, "JPM": -1e5})
    assert parametric_parts(exposures, sample_covariance(TABLE)).var > 0
    assert parametric_parts(exposures[::-1], sample_covariance(TABLE)).component_var.tolist() == pytest.approx(parametric_parts(exposures, sample_covariance(TABLE)).component_var[::-1].tolist(), rel=1e-12)
    with pytest.raises(InputError, match="JPM is in the covariance but not in exposures"):
        parametric_parts(exposures[:2], sample_covariance(TABLE))


@pytest.mark.parametrize("measure", [lambda cov: parametric_parts([1e5] * 3, cov), lambda cov: monte_carlo([1e5] * 3, 0, cov, scenarios=2000)])
def test_daily_covariance_warns_and_an_annual_one_does_not(measure):
    with pytest.warns(UserWarning, match="252 times that of daily returns") as caught:
        measure(np.cov(TABLE.T))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(sample_covariance(TABLE))
        measure(np.zeros((3, 3)))


@pytest.mark.parametrize("measure", [historical_var, expected_shortfall])
def test_table_of_pnl_is_told_to_be_summed(measure):
    with pytest.raises(InputError, match=r"shape \(300, 3\): give one number an observation, \(n,\); of positions in columns that is their sum, pnl.sum\(axis=1\)"):
        measure(TABLE)
    assert measure(TABLE.sum(axis=1)) > 0


@pytest.mark.parametrize("level, fewest", [(0.95, 400), (0.99, 2000), (0.9, 200)])
def test_simulation_names_the_scenarios_that_its_level_needs(level, fewest):
    with pytest.raises(DataError, match=f"{fewest - 1} scenarios say nothing about a {100 * level:g}% loss: at least {fewest} are needed"):
        monte_carlo([1e5], 0, [[0.04]], scenarios=fewest - 1, levels=(level,))
    assert monte_carlo([1e5], 0, [[0.04]], scenarios=fewest, levels=(level,)).var_error[0] > 0


def test_scenarios_with_a_point_are_told_how():
    with pytest.raises(InputError, match="scenarios is 100000.0: give a whole number of at least 20, 100_000 without a point$"):
        monte_carlo([1e5], 0, [[0.04]], scenarios=1e5)


def test_gamma_of_zero_is_a_linear_book():
    assert monte_carlo([1e5, 2e5], 0, np.eye(2) * 0.04, scenarios=4000).var == monte_carlo([1e5, 2e5], [0.0, 0.0], np.eye(2) * 0.04, scenarios=4000).var
    with pytest.raises(InputError, match=r"gamma \(\)"):
        monte_carlo([1e5, 2e5], 5.0, np.eye(2) * 0.04)


@pytest.mark.parametrize("strike, right", [("C", Decimal(200)), (Decimal(200), "call"), ("x", "C"), (None, "C"), (Decimal(200), None)])
def test_option_with_arguments_exchanged_names_their_order(strike, right):
    with pytest.raises(InputError, match=r"the order is option\(symbol, expiry, strike, right\)"):
        option("AAPL", date(2025, 6, 20), strike, right)


def made():
    """A result of each kind with the words that its text holds."""
    moves = RNG.normal(0, 0.01, (500, 400))
    book, ring, ticks = LiveBook(HELD, 1e4), SnapshotRing(["nav", "cash"], chunk=2), TickBuffer(["KO", "JPM"], ["bid"])
    book.update([190.0, 7.0])
    for second in range(3):
        ring.push(OPENED.replace(second=second), [1.0, 2.0])
    ticks.push("KO", "bid", 61.0)
    return {
        "tail": (linear_var(moves, np.full(400, 1e4)), ["400 positions in 500 scenarios, dollars, losses positive", "VaR", "ES", "99%"]),
        "tail of returns": (linear_var(TABLE, np.full(3, 0.3), (0.95,)), ["KO", "0.0"]),
        "simulation": (monte_carlo([1e5], 0, [[0.04]], scenarios=2000), ["2,000 scenarios, seed 0, dollars", "its error"]),
        "revaluation": (full_revaluation(NAMED, TABLE[["KO", "AAPL"]]), ["3 positions in 300 scenarios, dollars: worst -"]),
        "kelly": (kelly_many(TABLE), ["3 assets", "of wealth", "a period"]),
        "metrics": (metrics(TABLE["KO"]), ["300 returns", "sharpe", "decimal a session, loss positive"]),
        "rolling": (rolling_metrics(TABLE, 252), ["3 series, 49 windows of 252 returns", "sharpe"]),
        "live": (book, ["2 positions", "NAV 28,300.00", "day P&L +0.00", "unrealized +800.00"]), "live before": (LiveBook(HELD, 1e4), ["not valued yet"]),
        "book": (NAMED, ["Book of 3 positions, options: 2; underlyings: KO, AAPL"]), "numbered book": (NUMBERED, ["columns 0 to 1"]),
        "ring": (ring, ["nav, cash: 3 snapshots, newest 2025-01-02 15:00:02 UTC", "1 chunks, 1 snapshots open"]), "ring before": (SnapshotRing(["nav"]), ["nav: empty"]),
        "ticks": (ticks, ["2 keys and the fields bid: 1 of 4096 ticks waiting"]),
    }


@pytest.mark.parametrize("kind", made())
def test_result_prints_what_it_is_in_a_few_lines(kind):
    result, words = made()[kind]
    text = repr(result)
    assert all(word in text for word in words), text
    assert text.count("\n") < 20 and len(text) < 1600 and "0x" not in text and "array(" not in text
    assert text == repr(result)
    if hasattr(result, "_repr_html_"):
        assert "<table" in result._repr_html_() and "<script" not in result._repr_html_()


def test_names_in_html_are_escaped():
    html = linear_var(TABLE.set_axis(["<b>", "KO", "JPM"], axis=1), np.full(3, 1e4))._repr_html_()
    assert "&lt;b&gt;" in html and "<b>" not in html
