"""Tables of returns that are none: refused by name, for weights and for measures alike."""
import numpy as np
import pandas as pd
import pytest

import otsport
from otsport.core.errors import InputError, OtsportError

DAYS = pd.bdate_range("2022-01-03", periods=300)
R = pd.DataFrame(np.random.default_rng(0).normal(0.0004, 0.01, (300, 3)), DAYS, list("ABC"))
P = 100 * (1 + R).cumprod()

WRONG = {
    "growth of one dollar": (P / P.iloc[0], "more than half of the returns are beyond 20%"), "cheap prices": (P / 200, "more than half"), "log prices": (np.log(P), "more than half"),
    "gross returns": (1 + R, "more than half"), "a name twice": (R.set_axis(["A", "A", "B"], axis=1), "A stands there twice"),
    "a day twice": (R.set_axis([DAYS[0], *DAYS[:-1]]), "2022-01-03 00:00:00 stands there twice"),
    "months": (R.set_axis(pd.date_range("2000-01-31", periods=300, freq="ME")), "31 days apart: give daily ones"), "weeks": (R.set_axis(pd.date_range("2000-01-07", periods=300, freq="W")), "7 days apart"),
    "five minutes": (R.set_axis(pd.date_range("2022-01-03 09:30", periods=300, freq="5min")), "days apart"),
}


@pytest.mark.parametrize("answer", [otsport.optimal_weights, otsport.measures])
@pytest.mark.parametrize("name", WRONG)
def test_what_are_no_daily_returns_is_refused(answer, name):
    table, words = WRONG[name]
    with pytest.raises(InputError, match=words):
        answer(table)
    answer(R)


def test_a_file_without_days_does_not_lose_its_first_asset(tmp_path):
    """The numbers of A were read as days of 1970, and A was gone without a word."""
    R.to_csv(tmp_path / "bare.csv", index=False)
    with pytest.raises(OtsportError, match="bare.csv, line 2: .* is no day"):
        otsport.measures(tmp_path / "bare.csv")
    for name, days in (("plain", DAYS.strftime("%Y-%m-%d")), ("digits", DAYS.strftime("%Y%m%d").astype(int))):
        R.set_axis(days).to_csv(tmp_path / f"{name}.csv")
        assert list(otsport.measures(tmp_path / f"{name}.csv").returns.columns) == list("ABC")
        R[["A"]].set_axis(days).to_csv(tmp_path / "one.csv")  # a day and one series are enough
        assert list(otsport.measures(tmp_path / "one.csv").returns.columns) == ["A"]
