"""Measures and reports of track records beside empyrical and quantstats, their answers compared first.

Errors: of `metrics_100` the largest difference over max(1, size) of any measure by the peer's convention; of `tear_sheet` that of the
numbers both pages print. Files of peers go to a folder that is removed.
"""
from functools import cache

from otsport.bench.harness import Job, Part

DAYS, SERIES = 2_520, 100
MEASURES = ("total_return", "annual_return", "vol", "downside_vol", "sharpe", "sortino", "calmar", "max_drawdown", "omega", "var_95", "cvar_95", "skewness", "kurtosis", "tail_ratio", "stability", "beta", "alpha",
            "information_ratio", "batting_average")  # nineteen, all of which empyrical has
SHARED = ("total_return", "annual_return", "vol", "sharpe", "sortino", "calmar", "max_drawdown", "var_95", "cvar_95", "skewness", "kurtosis", "tail_ratio", "beta", "alpha", "information_ratio", "omega")  # and quantstats
QUANTSTATS_SERIES = 10  # of SERIES


@cache
def _table():
    """Ten years of daily returns of a hundred series and of their index."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(1)
    days = pd.bdate_range("2013-01-01", periods=DAYS)
    index = pd.Series(rng.normal(4e-4, 0.01, DAYS), days, name="index")
    return pd.DataFrame(0.7 * index.to_numpy()[:, None] + 0.008 * rng.standard_t(4, (DAYS, SERIES)), days, [f"S{i}" for i in range(SERIES)]), index


def empyrical_measures(x, b):
    """The nineteen of each column."""
    import empyrical as ep
    import numpy as np
    from scipy.stats import kurtosis, skew

    rows = []
    for _, s in x.items():
        alpha, beta = ep.alpha_beta_aligned(s, b)
        rows.append((ep.cum_returns_final(s), ep.annual_return(s), ep.annual_volatility(s), ep.downside_risk(s), ep.sharpe_ratio(s), ep.sortino_ratio(s), ep.calmar_ratio(s), ep.max_drawdown(s), ep.omega_ratio(s),
                     -ep.value_at_risk(s), -ep.conditional_value_at_risk(s), skew(s), kurtosis(s), ep.tail_ratio(s), ep.stability_of_timeseries(s), beta, alpha, ep.excess_sharpe(s, b),
                     ep.batting_average(s, b).iloc[0]))
    return np.array(rows, dtype=float).T


def quantstats_measures(x, b):
    """The sixteen of them that quantstats has, of each column."""
    import numpy as np
    import quantstats.stats as qs

    rows = []
    for _, s in x.items():
        greeks = qs.greeks(s, b)
        rows.append((qs.comp(s), qs.cagr(s), qs.volatility(s), qs.sharpe(s), qs.sortino(s), qs.calmar(s), qs.max_drawdown(s), -qs.value_at_risk(s), -qs.cvar(s), qs.skew(s), qs.kurtosis(s), qs.tail_ratio(s),
                     greeks["beta"], greeks["alpha"], qs.information_ratio(s, b), qs.omega(s)))
    return np.array(rows, dtype=float).T


def metrics_100() -> Job:
    """Nineteen measures of 100 series over ten years of days, five of them against a benchmark; empyrical is given its own convention, quantstats the sixteen that it has."""
    import numpy as np

    from otsport.analytics.performance import performance

    x, b = _table()
    few = x.iloc[:, :QUANTSTATS_SERIES]

    def ours():
        return performance(x, b, measures=MEASURES, convention="empyrical").values.to_numpy()

    def error(found, theirs):
        mine = found if len(theirs) == len(MEASURES) else performance(few, b, measures=SHARED, convention="quantstats").values.to_numpy()
        return float(np.max(np.abs(mine - theirs) / np.maximum(1, np.abs(theirs))))

    quantstats = f"quantstats, {len(SHARED)} of the measures, {QUANTSTATS_SERIES} series scaled"
    peers = {"empyrical": lambda: empyrical_measures(x, b), quantstats: Part(lambda: quantstats_measures(few, b), SERIES / QUANTSTATS_SERIES)}
    return Job("metrics_100", f"{len(MEASURES)} measures of {SERIES} series, {DAYS:,} days", ours, peers, error, 1e-9, {"empyrical": 15.0}, limits={"20 ms": _within(0.020, ours)})


def _within(seconds, run):
    """A promise on the median of warm runs, in milliseconds."""
    import statistics
    import time

    def measured():
        times = []
        for _ in range(15):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return 1e3 * seconds, 1e3 * statistics.median(times)

    return measured


def tear_sheet() -> Job:
    """Ten years of days against a benchmark as a whole HTML page, written to a file; quantstats writes its full report of the same."""
    import atexit
    import re
    import shutil
    import tempfile
    from pathlib import Path

    from otsport.desk.tear_sheet import tear_sheet as sheet_of

    x, b = _table()
    own, folder = x.iloc[:, 0].rename("fund"), Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    def ours():
        return sheet_of(own, b, path=folder / "ours.html")

    def quantstats():
        import logging
        import warnings

        import matplotlib

        matplotlib.use("Agg")
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it asks for a font that few have, hundreds of times
        import quantstats as qs

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            qs.reports.html(own, benchmark=b, output=str(folder / "theirs.html"), title="fund", match_dates=False)
        return folder / "theirs.html"

    def error(found, theirs):
        cells = re.findall(r"<td[^>]*>\s*([^<]*?)\s*</td>", theirs.read_text())
        at = {name: cells.index(name) for name in ("Cumulative Return", "CAGR﹪", "Sharpe", "Sortino", "Max Drawdown", "Volatility (ann.)", "Calmar")}
        printed = {name: float(next(c for c in cells[i + 2 : i + 3]).replace("%", "").replace(",", "")) for name, i in at.items()}
        m = found.facts.measures["fund"]
        mine = {"Cumulative Return": 100 * m["total_return"], "CAGR﹪": 100 * m["annual_return"], "Sharpe": m["sharpe"], "Sortino": m["sortino"], "Max Drawdown": 100 * m["max_drawdown"],
                "Volatility (ann.)": 100 * m["vol"], "Calmar": m["calmar"]}
        return max(abs(mine[name] - value) for name, value in printed.items())

    return Job("tear_sheet", "ten years of days, HTML", ours, {"quantstats": quantstats}, error, 0.0051, {"quantstats": 8.0}, limits={"1.5 s": _within(1.5, ours), "260 kB": lambda: (260, len(ours().html) / 1000)})


JOBS = (metrics_100, tear_sheet)
