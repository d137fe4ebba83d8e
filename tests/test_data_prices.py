"""Own prices: what is understood of each vendor's layout, what is found suspect, and what comes of a decision."""
import json
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from io import StringIO

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import otsport
from otsport.app.cli import app
from otsport.core.calendars import session_close, sessions_between
from otsport.core.errors import DataError, InputError, LookAhead, NoPrices
from otsport.data.prices import read_prices
from otsport.data.shelf import keep, load_prices, own_history, shelf_frame
from otsport.data.suspects import split_findings, stale_findings, without_stale

DAYS = ["2014-06-05", "2014-06-06", "2014-06-09"]
CLOSES = [92.48, 92.22, 93.70]  # AAPL, adjusted


def write(folder, text, name="aapl.csv"):
    path = folder / name
    path.write_text(text)
    return path


VENDORS = {
    "yahoo": "Date,Open,High,Low,Close,Adj Close,Volume\n2014-06-05,1,1,1,647.35,92.48,1\n2014-06-06,1,1,1,645.57,92.22,2\n2014-06-09,1,1,1,93.7,93.70,3\n",
    "yfinance csv": "Price,Close,Volume\nTicker,AAPL,AAPL\nDate,,\n2014-06-05,92.48,1\n2014-06-06,92.22,2\n2014-06-09,93.70,3\n",
    "yahoo with zone": "Date,Open,High,Low,Close,Volume\n2014-06-05 00:00:00-04:00,92.3,93,92,92.48,1\n2014-06-06 00:00:00-04:00,92.8,93,92,92.22,2\n2014-06-09 00:00:00-04:00,92.7,94,92,93.70,3\n",
    "stooq": "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\nAAPL.US,D,20140605,000000,92,93,92,92.48,1,0\nAAPL.US,D,20140606,000000,92,93,92,92.22,2,0\n"
             "AAPL.US,D,20140609,000000,93,94,93,93.70,3,0\n",
    "polygon file": "ticker,volume,open,close,high,low,window_start,transactions\nAAPL,1,92,92.48,93,92,1401940800000000000,9\nAAPL,2,92,92.22,93,92,1402027200000000000,9\nAAPL,3,93,93.70,94,93,1402286400000000000,9\n",
    "polygon answer": "v,vw,o,c,h,l,t,n\n1,92,92,92.48,93,92,1401940800000,9\n2,92,92,92.22,93,92,1402027200000,9\n3,93,93,93.70,94,93,1402286400000,9\n",
    "ibkr": "date,open,high,low,close,volume,average,barCount\n2014-06-05,92,93,92,92.48,1,92,9\n2014-06-06,92,93,92,92.22,2,92,9\n2014-06-09,93,94,93,93.70,3,93,9\n",
    "quantconnect": "symbol,time,open,high,low,close,volume\nAAPL,2014-06-05,92,93,92,92.48,1\nAAPL,2014-06-06,92,93,92,92.22,2\nAAPL,2014-06-09,93,94,93,93.70,3\n",
    "nasdaq": "Date;Close/Last;Volume\n06/05/2014;92.48;1\n06/06/2014;92.22;2\n06/09/2014;93.70;3\n",
    "european": "Day\tAAPL\n05.06.2014\t92.48\n06.06.2014\t92.22\n09.06.2014\t93.70\n",
    "wide": "Date,AAPL\n2014-06-05,92.48\n2014-06-06,92.22\n2014-06-09,93.70\n",
    "at the close": "symbol,time,close\nAAPL,2014-06-05T16:00:00-04:00,92.48\nAAPL,2014-06-06T16:00:00-04:00,92.22\nAAPL,2014-06-09T20:00:00Z,93.70\n",
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendor_layouts_give_the_same_closes(vendor, tmp_path):
    table = read_prices(write(tmp_path, VENDORS[vendor]))
    assert list(table.closes.columns) == ["AAPL"] and table.closes["AAPL"].tolist() == CLOSES
    assert [str(d.date()) for d in table.closes.index] == DAYS
    assert table.findings == () and table.check() is table
    assert table.adjusted == ("all" if vendor == "yahoo" else "")
    frame = pd.read_csv(StringIO(VENDORS[vendor])) if vendor not in ("yfinance csv", "nasdaq", "european") else None
    if frame is not None:  # the same from memory, and from parquet
        frame.to_parquet(tmp_path / "aapl.parquet")
        assert read_prices(frame, symbol="AAPL" if "symbol" not in frame else None).closes.equals(table.closes)
        assert read_prices(tmp_path / "aapl.parquet").closes.equals(table.closes)


def test_frames_of_yfinance_and_quantconnect():
    days = pd.DatetimeIndex(DAYS, name="Date")
    many = pd.concat({"Close": pd.DataFrame({"AAPL": CLOSES, "KO": [40.0, 41.0, 42.0]}, index=days), "Volume": pd.DataFrame({"AAPL": [1, 2, 3], "KO": [1, 2, 3]}, index=days)}, axis=1, names=["Price", "Ticker"])
    table = read_prices(many)
    assert table.closes["AAPL"].tolist() == CLOSES and table.closes["KO"].tolist() == [40.0, 41.0, 42.0]
    swapped = read_prices(many.swaplevel(axis=1))  # group_by="ticker"
    assert swapped.closes.equals(table.closes)
    lean = pd.DataFrame({"close": CLOSES, "open": CLOSES}, index=pd.MultiIndex.from_product([["AAPL"], pd.DatetimeIndex(DAYS)], names=["symbol", "time"]))
    assert read_prices(lean).closes.equals(table.closes[["AAPL"]])


def test_wide_tickers_that_are_also_field_names():
    frame = pd.DataFrame({"Date": DAYS, "C": CLOSES, "T": CLOSES, "V": CLOSES, "LOW": CLOSES, "OPEN": CLOSES})
    assert read_prices(frame).symbols == ("C", "T", "V", "LOW", "OPEN")


EIGHT = ["AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "HHH"]


@pytest.fixture
def eight(tmp_path):
    """Eight tickers by hand: DDD has a gap of two sessions, FFF splits 3 for 1, Independence Day has a row, HHH begins late."""
    days = [*sessions_between(date(2014, 6, 2), date(2014, 7, 18)), date(2014, 7, 4)]
    days.sort()
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(np.round(50 * np.exp(np.cumsum(rng.normal(0, 0.01, (len(days), 8)), axis=0)), 2), index=pd.DatetimeIndex(days, name="Date"), columns=EIGHT)
    frame.loc["2014-07-04"] = frame.loc["2014-07-03"]
    frame.loc["2014-06-18":"2014-06-19", "DDD"] = np.nan
    frame.loc[:"2014-06-25", "FFF"] *= 3
    frame.loc[:"2014-06-11", "HHH"] = np.nan
    path = tmp_path / "eight.csv"
    frame.to_csv(path)
    return path, frame


def test_eight_tickers_by_hand(eight):
    path, given = eight
    table = read_prices(path)
    assert [(f.code, f.symbol, str(f.day), f.rows) for f in table.findings] == [
        ("HOLIDAY", "all", "2014-07-04", 8), ("SPLIT", "FFF", "2014-06-26", 1), ("GAP", "DDD", "2014-06-18", 2)]
    assert "near 3:1" in table.findings[1].value and table.understood["begin later"] == "HHH from 2014-06-12"
    assert table.closes.equals(given.drop(pd.Timestamp("2014-07-04")).rename_axis(None).set_axis(table.closes.index))  # shown as it is, nothing mended
    with pytest.raises(DataError, match=r"otsport data add \S*eight.csv --holidays drop --splits adjust --gaps carry .*read_prices\(.*holidays='drop', splits='adjust', gaps='carry'\)"):
        table.check()
    with pytest.raises(DataError, match="1 GAP"):
        own_history(read_prices(path, holidays="drop", splits="adjust"))
    settled = read_prices(path, holidays="drop", splits="adjust", gaps="carry").check()
    assert settled.adjusted == "splits" and table.adjusted == "raw"
    assert settled.closes.at[pd.Timestamp("2014-06-19"), "DDD"] == given.at[pd.Timestamp("2014-06-17"), "DDD"]
    np.testing.assert_allclose(settled.closes["FFF"][:"2014-06-25"], given["FFF"][:"2014-06-25"] / 3, rtol=1e-15)
    assert settled.closes["HHH"].isna().sum() == 8
    assert {f.code for f in settled.findings} == {"HOLIDAY", "SPLIT", "GAP"}  # what was found stays told
    raw = read_prices(path, holidays="drop", splits="raw", gaps="carry").check()
    assert raw.adjusted == "raw" and raw.closes["FFF"].iloc[0] == given["FFF"].iloc[0]


def test_desk_folder_keeps_what_was_decided(eight, tmp_path):
    path, _ = eight
    run = lambda *words: CliRunner().invoke(app, ["data", *map(str, words)])
    desk = tmp_path / "desk"
    desk.mkdir()
    refused = run("add", path, "--as", "mine", "--folder", desk)
    assert isinstance(refused.exception, DataError) and not (desk / "prices").exists() and "SPLIT" in refused.stdout
    typed = str(refused.exception).split("otsport data ")[1].split("   or in")[0]
    import shlex
    kept = run(*shlex.split(typed))  # the command that the refusal offers decides
    assert kept.exit_code == 0 and "kept as prices/mine.parquet" in kept.stdout, kept.exception
    back = load_prices(desk, "mine")
    note = json.loads(pq.read_schema(desk / "prices" / "mine.parquet").metadata[b"otsport"])
    import hashlib
    assert note["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and note["source"] == "eight.csv" and str(tmp_path) not in json.dumps(note)
    assert back.decisions == {"holidays": "drop", "splits": "adjust", "gaps": "carry"} and len(back.findings) == 3
    assert back.closes.equals(read_prices(path, holidays="drop", splits="adjust", gaps="carry").closes)
    assert back.closes.dtypes.eq("float64").all()
    again = run(*shlex.split(typed))
    assert isinstance(again.exception, InputError) and "--replace" in str(again.exception)
    assert run(*shlex.split(typed), "--replace").exit_code == 0
    assert "prices/mine" in run("--folder", desk).stdout
    pd.DataFrame({"A": [1.0]}).to_parquet(desk / "prices" / "stray.parquet")
    assert "was not written by" in shelf_frame(desk)["symbols"][1]
    with pytest.raises(DataError, match="was not written by"):
        load_prices(desk, "stray")


def test_no_desk_folder_says_what_makes_one(eight, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["data", "add", str(eight[0])])
    assert isinstance(done.exception, InputError) and "otsport new FOLDER" in str(done.exception)
    (tmp_path / "book.yaml").write_text("version: 1\n")
    done = CliRunner().invoke(app, ["data", "add", str(eight[0]), "--holidays", "drop", "--splits", "adjust", "--gaps", "carry"])
    assert done.exit_code == 0 and (tmp_path / "prices" / "eight.parquet").exists()


def daily(shared_data):
    return pd.read_parquet(shared_data / "equity_daily.parquet")


def split_events_of(shared_data):
    """(symbol, first day after, ratio) of every split in the corporate actions."""
    factors = pd.read_parquet(shared_data / "equity_factors.parquet").sort_values(["symbol", "date"])
    ratio = factors.groupby("symbol").split_factor.shift(-1) / factors.split_factor
    return [(s, d, round(r, 4)) for s, d, r in zip(factors.symbol, factors.date, ratio) if abs(r - 1) > 1e-3]


def test_real_splits_are_found(shared_data):
    """All 15 splits of ten symbols in 23 years; two of 15 need a word of their own."""
    frame = daily(shared_data)
    wide = {c: frame.pivot(index="date", columns="symbol", values=c) for c in ("close", "open")}
    found = {(f.symbol, f.day): f for f in split_findings(wide["close"], wide["open"])}
    events = [(s, next(d for d in wide["close"].index if d > day).date(), r) for s, day, r in split_events_of(shared_data)]
    assert len(events) == 15 and all((s, d) in found for s, d, _ in events)
    near = [(s, d, r) for s, d, r in events if found[s, d].code == "SPLIT"]
    assert len(near) == 14 and ("AIG", date(2009, 7, 1), 0.05) not in near
    for s, d, r in near:
        p, q = found[s, d].value.split("near ")[1].split(":")
        assert int(p) / int(q) == pytest.approx(r, rel=1e-4), (s, d)


def test_real_aapl_is_found_raw_and_adjusted_right(shared_data):
    frame = daily(shared_data)
    aapl = frame[(frame.symbol == "AAPL") & (frame.date >= "2013-01-01") & (frame.date < "2019-01-01")]
    table = read_prices(aapl)
    assert table.adjusted == "raw" and [(f.code, f.event) for f in table.findings] == [("SPLIT", "AAPL 2014-06-09")]
    assert "645.57 to 92.69, a ratio of 6.965, near 7:1" in table.findings[0].value
    mended = read_prices(aapl, splits="adjust").check()
    factors = pd.read_parquet(shared_data / "equity_factors.parquet")
    steps = factors[factors.symbol == "AAPL"].set_index("date").split_factor
    factor = np.array([steps[steps.index >= day].iloc[0] for day in mended.closes.index])
    expected = aapl.close.to_numpy() * factor / factor[-1]
    np.testing.assert_allclose(mended.closes["AAPL"], expected, rtol=2e-6)  # the factors are rounded to six digits
    assert mended.adjusted == "splits"
    alone = read_prices(aapl, splits={"AAPL 2014-06-09": "7:1"})
    np.testing.assert_allclose(alone.closes, mended.closes, rtol=1e-15)
    with pytest.raises(InputError, match=r"splits\['AAPL 2014-06-09'\] is 'seven'"):
        read_prices(aapl, splits={"AAPL 2014-06-09": "seven"})


def test_real_jump_waits_for_its_own_word(shared_data):
    frame = daily(shared_data)
    aig = frame[(frame.symbol == "AIG") & (frame.date >= "2009-06-01") & (frame.date < "2009-08-01")]
    assert [f.code for f in read_prices(aig, splits="adjust").open_findings] == ["JUMP"]
    mended = read_prices(aig, splits={"all": "adjust", "AIG 2009-07-01": "1:20"}).check()
    assert mended.closes.loc["2009-06-30", "AIG"] == pytest.approx(1.13 * 20)


def test_real_minutes_give_the_daily_closes(shared_data):
    """The last regular minute of AAPL and TWX, told in New York time and in UTC; the daily file has the official closes."""
    minutes = pd.read_parquet(shared_data / "equity_minute_trades.parquet")
    minutes = minutes[minutes.time >= "2014-06-05"]
    table = read_prices(minutes, splits="adjust")
    assert "1-minute bars stamped at their start" in table.understood["bars"] and table.understood["time zone"].startswith("America/New_York")
    official = daily(shared_data).query("symbol == 'AAPL'").set_index("date").close
    raw = read_prices(minutes, splits="raw").closes["AAPL"]
    assert abs(raw / official[raw.index] - 1).max() < 1e-3
    last = minutes[(minutes.symbol == "AAPL") & (minutes.time < "2014-06-06 16:00") & (minutes.time > "2014-06-06")].close.iloc[-1]
    assert raw["2014-06-06"] == last
    assert read_prices(minutes.assign(time=minutes.time.dt.tz_convert("UTC")), splits="raw").closes["AAPL"].equals(raw)


def test_times_without_a_zone_wait_for_one(shared_data):
    minutes = pd.read_parquet(shared_data / "equity_minute_trades.parquet").query("symbol == 'TWX'")
    minutes = minutes[minutes.time < "2014-06-10"]
    right = read_prices(minutes).closes
    for zone in ("America/New_York", "UTC"):
        naive = minutes.assign(time=minutes.time.dt.tz_convert(zone).dt.tz_localize(None))
        asked = read_prices(naive)
        assert [f.code for f in asked.open_findings] == ["ZONE"] and f"zone='{zone}'" in asked.findings[0].next_step
        with pytest.raises(DataError, match=f"read_prices.frame, zone='{zone}'"):
            asked.check()
        assert read_prices(naive, zone=zone).check().closes.equals(right)
    with pytest.raises(DataError, match="ends in regular hours of the exchange, read as times of Asia/Tokyo"):
        read_prices(minutes.assign(time=minutes.time.dt.tz_localize(None)), zone="Asia/Tokyo")
    with pytest.raises(InputError, match="did you mean 'America/New_York'"):
        read_prices(minutes, zone="America/New York")


def test_bars_at_their_end_and_half_days():
    day = pd.Timestamp("2014-11-28 13:00", tz="America/New_York")  # the day after Thanksgiving closes at one
    ends = pd.DatetimeIndex([day - pd.Timedelta(minutes=1), day, day + pd.Timedelta(minutes=30)])
    frame = pd.DataFrame({"time": ends, "close": [1.0, 2.0, 3.0]})
    table = read_prices(frame, symbol="X")
    assert "stamped at their end" in table.understood["bars"] and table.closes["X"].tolist() == [2.0]
    assert read_prices(frame, symbol="X", stamp="start").closes["X"].tolist() == [1.0]  # the bar that begins at one is after hours


FAULTS = [
    (lambda f: pd.concat([f, f.iloc[[3]].assign(KO=43.5)]), "REPEAT", {"repeats": "last"}, lambda c: c.iloc[3] == 43.5),
    (lambda f: pd.concat([f, f.iloc[[3]].assign(KO=43.5)]), "REPEAT", {"repeats": "first"}, lambda c: c.iloc[3] == 43.0),
    (lambda f: f.assign(KO=f.KO.where(f.index != f.index[3], 0.0)), "IMPOSSIBLE", {"impossible": "drop", "gaps": "carry"}, lambda c: c.iloc[3] == 42.0),
    (lambda f: f.assign(KO=f.KO.where(f.index < f.index[5], 44.0)), "STALE", {"stale": "keep"}, lambda c: c.iloc[9] == 44.0),
    (lambda f: f.assign(PG=f.PG.where(f.index < f.index[15])), "ENDS_EARLY", {"ends": "cut"}, lambda c: len(c) == 15),
    (lambda f: f.assign(KO=f.KO.where(f.index < f.index[15])), "ENDS_EARLY", {"ends": "leave-out"}, lambda c: c.name == "PG" and len(c) == 20),
    (lambda f: f.drop(f.index[3]), "GAP", {"gaps": "carry"}, lambda c: c.iloc[3] == 42.0),
    (lambda f: f.assign(KO=f.KO.where(f.index != f.index[3], 63.0)), "SPIKE", {"spikes": "drop", "gaps": "carry"}, lambda c: c.iloc[3] == 42.0),
    (lambda f: f.assign(KO=f.KO.where(f.index != f.index[3], 63.0)), "SPIKE", {"spikes": "keep"}, lambda c: c.iloc[3] == 63.0),
    (lambda f: f.iloc[[0, 1, 2, 7, 12, 17, 19]], "SPARSE", {"sparse": "keep", "gaps": "carry"}, lambda c: len(c) == 20 and c.iloc[6] == 42.0),
    (lambda f: f.set_axis(f.index.insert(0, pd.Timestamp("1989-12-29"))[:20]), "EARLY", {"early": "cut", "gaps": "carry"}, lambda c: c.index[0].year > 1989),
]


@pytest.mark.parametrize("change, code, decision, good", FAULTS)
def test_fault_is_found_and_decided(change, code, decision, good):
    days = pd.DatetimeIndex(sessions_between(date(2014, 6, 2), date(2014, 6, 27)))
    clean = pd.DataFrame({"KO": 40.0 + np.arange(20), "PG": 80.0 + np.arange(20)}, index=days)
    assert read_prices(clean).findings == ()
    table = read_prices(change(clean))
    assert code in [f.code for f in table.open_findings]
    with pytest.raises(DataError, match=code):
        table.check()
    assert good(read_prices(change(clean), **decision).check().closes.iloc[:, 0])


def test_a_gap_tells_the_move_over_it_and_is_no_move_of_a_session():
    days = pd.DatetimeIndex(sessions_between(date(2014, 6, 2), date(2014, 6, 13)))
    frame = pd.DataFrame({"KO": [40.0, 41, np.nan, np.nan, 60, 61, 62, 63, 64, 65], "PG": [80.0, 80, np.nan, 81, 82, 83, 84, 85, 86, 87]}, index=days)
    assert [(f.code, f.symbol, f.value) for f in read_prices(frame).findings] == [
        ("GAP", "all", "no price for 1 session; KO 41 before, 60 after (+46.3%)"), ("GAP", "KO", "no price for 1 session; 41 before, 60 after (+46.3%)")]
    assert not [f for f in read_prices(frame, gaps="carry").findings if f.code in ("MOVE", "SPIKE")]


@pytest.mark.parametrize("closes, quiet, told", [
    ([1, 2] + [3] * 8 + [4], [], [("2014-06-04", "3 in 8 rows up to 2014-06-13", 8)]), ([1, 2] + [3] * 7 + [4], [], []),
    ([1, 2, 3, 3, 3, 3, 4], [3, 4, 5], [("2014-06-04", "3 in 4 rows up to 2014-06-09 without volume", 4)]), ([1, 2, 3, 3, 3, 4], [3, 4], []),
    ([1] + [3] * 9 + [4], [2, 3, 4, 5], [("2014-06-03", "3 in 9 rows up to 2014-06-13", 9)]),  # told once
    ([3] * 8 + [5, 4, 4, 4, 4], [10, 11, 12], [("2014-06-02", "3 in 8 rows up to 2014-06-11", 8), ("2014-06-13", "4 in 4 rows up to 2014-06-18 without volume", 4)]),
])  # fmt: skip
def test_equal_closes_are_told_from_their_first_row_to_their_last(closes, quiet, told):
    """Eight in a row, or three repetitions without volume; a run that is both is told once, and what is dropped of it is all but the first."""
    days = pd.DatetimeIndex(sessions_between(date(2014, 6, 2), date(2014, 6, 30)))[: len(closes)]
    frame = pd.DataFrame({"A": np.array(closes, float)}, index=days)
    volumes = pd.DataFrame({"A": [0.0 if i in quiet else 5.0 for i in range(len(closes))]}, index=days)
    found = stale_findings(frame, volumes)
    assert [(str(f.day), f.value, f.rows) for f in found] == told
    left = without_stale(frame, found)["A"].notna().sum()
    assert left == len(closes) - sum(rows - 1 for *_, rows in told)


@pytest.mark.parametrize("text, closes", [
    ("Date;AAPL\n05.06.2014;92,48\n06.06.2014;92,2\n09.06.2014;93\n", [92.48, 92.2, 93]),
    ("Date\tAAPL\tB\n2014-06-05\t92,480\t1.5\n2014-06-06\t92,220\t1.5\n2014-06-09\t0,5\t1.5\n", [92.48, 92.22, 0.5]),  # one cell that can only be decimals is enough
])  # fmt: skip
def test_decimal_commas_are_read_between_semicolons_and_tabs_and_said(tmp_path, text, closes):
    table = read_prices(write(tmp_path, text, "Kurse (neu).csv"), splits="raw", spikes="keep")
    assert table.closes["AAPL"].tolist() == closes and table.understood["numbers"] == "decimal comma" and table.name == "Kurse_neu"
    assert "numbers" not in read_prices(write(tmp_path, "Date;AAPL\n2014-06-05;92.48\n", "plain.csv")).understood


@pytest.mark.parametrize("text", ["Date;BRK\n2014-06-05;189,480\n2014-06-06;189,220\n", 'Date,AAPL\n2014-06-05,"92,48"\n', "Date;A;B\n2014-06-05;1,5;1,234,567\n2014-06-06;1,5;3,5\n"])
def test_a_comma_that_may_part_thousands_is_refused(tmp_path, text):
    with pytest.raises(DataError, match="line 2, column '.*' is no number .*separators of thousands"):
        read_prices(write(tmp_path, text))


def test_times_of_which_only_some_name_a_zone_are_refused_with_their_line(tmp_path):
    rows = ["time,close", "2014-06-06T09:30:00-04:00,1", "2014-06-06T09:31:00-04:00,1", "2014-06-06 09:32:00,1"]
    with pytest.raises(DataError, match=r"aapl.csv line 4, column 'time': '2014-06-06 09:32:00' names no time zone, and others of the column do \(1 such cells\)"):
        read_prices(write(tmp_path, "\n".join(rows)))
    assert read_prices(write(tmp_path, "\n".join(rows[:3]))).understood["time zone"].startswith("UTC (told by the file): 09:30")


def minutes_of(*days) -> pd.DataFrame:
    """A bar a minute in regular hours of New York, a cent up a bar."""
    times = pd.DatetimeIndex(np.concatenate([pd.date_range(f"{d} 09:30", f"{d} 15:59", freq="min") for d in days]))
    return pd.DataFrame({"time": times, "close": 50 + 0.01 * np.arange(len(times))})


def test_sessions_that_are_not_whole():
    """A day cut at noon has a close, and it is the wrong one: it waits for a word. A hole leaves the close right, and is told with the move over it."""
    frame = minutes_of("2022-12-20", "2022-12-21", "2022-12-22")
    assert read_prices(frame, symbol="KO", zone="America/New_York").findings == ()
    cut = frame[(frame.time < "2022-12-21 12:00") | (frame.time > "2022-12-22")]
    table = read_prices(cut, symbol="KO", zone="America/New_York")
    assert [(f.code, str(f.day), f.value, f.decision) for f in table.open_findings] == [("LAST_BAR", "2022-12-21", "its last bar ended 240 minutes before the close", "short")]
    with pytest.raises(DataError, match="1 LAST_BAR.*short='keep'"):
        table.check()
    kept = read_prices(cut, symbol="KO", zone="America/New_York", short="keep").check()
    assert kept.closes["KO"].round(2).tolist() == [53.89, 55.39, 61.69]
    dropped = read_prices(cut, symbol="KO", zone="America/New_York", short="drop", gaps="carry").check()
    assert dropped.closes["KO"].round(2).tolist() == [53.89, 53.89, 61.69] and {f.code for f in dropped.findings} == {"LAST_BAR", "GAP"}
    holes = frame[((frame.time < "2022-12-21 10:00") | (frame.time > "2022-12-21 11:30")) & (frame.time >= "2022-12-20 10:15")]
    table = read_prices(holes, symbol="KO", zone="America/New_York").check()
    assert [(f.code, f.value) for f in table.findings] == [("HOLE", "no bar from 09:30 to 10:15 New York"), ("HOLE", "no bar from 10:00 to 11:31 New York; 54.19 before, 55.11 after (+1.7%)")]
    many = minutes_of(*(str(d) for d in sessions_between(date(2022, 12, 1), date(2022, 12, 12))))
    many = many[(many.time.dt.hour != 11) & ~((many.time.dt.day == 7) & (many.time.dt.hour == 12))]
    one, = read_prices(many, symbol="KO", zone="America/New_York").findings
    assert (one.code, str(one.day), one.rows) == ("HOLE", "2022-12-07", 8) and "no bar from 11:00 to 13:00" in one.value and one.value.endswith("the longest of 8 such holes")


@pytest.mark.parametrize("said", ["UTC", "America/Chicago", "Europe/London"])
def test_a_wrong_zone_is_told_and_waits_for_a_word(said):
    """New York's minutes under another zone: the closes are those of other hours, and a part of the bars is lost."""
    frame = minutes_of("2022-12-20", "2022-12-21")
    table = read_prices(frame, symbol="KO", zone=said)
    finding, = (f for f in table.open_findings if f.code == "HOURS")
    assert "100% if they are America/New_York" in finding.value and "say zone='America/New_York', or hours='keep'" in finding.next_step
    with pytest.raises(DataError, match="1 HOURS.*hours='keep'"):
        table.check()
    read_prices(frame, symbol="KO", zone=said, hours="keep", short="keep").check()
    told = read_prices(frame.assign(time=frame.time.dt.tz_localize(said)), symbol="KO")  # the file itself is wrong
    assert "HOURS" in [f.code for f in told.open_findings] and f"{said} (told by the file): " in told.understood["time zone"]


def test_a_right_zone_is_shown_by_its_hours():
    frame = minutes_of("2022-12-20", "2022-12-21")
    assert read_prices(frame, symbol="KO", zone="America/New_York").understood["time zone"] == "America/New_York (as said): 09:30 to 15:59 New York, 100% of them in regular hours"
    utc = frame.assign(time=frame.time.dt.tz_localize("America/New_York").dt.tz_convert("UTC"))
    assert read_prices(utc, symbol="KO").findings == ()
    with pytest.raises(InputError, match="the times of the file tell their own .UTC.: leave zone out"):
        read_prices(utc, symbol="KO", zone="America/New_York")
    with pytest.raises(InputError, match="'EST' is the same all year, without daylight saving: give the name of a place, as 'America/New_York'"):
        read_prices(frame, symbol="KO", zone="EST")
    evening = pd.DataFrame({"time": pd.to_datetime(["2022-12-20 16:15", "2022-12-21 16:15"]), "close": [1.0, 1.1]})
    assert read_prices(evening, symbol="KO", zone="America/New_York").findings == ()  # one time a day says nothing of its zone
    days = pd.DataFrame({"date": ["2022-12-20", "2022-12-21"], "close": [1.0, 1.1]})
    assert read_prices(days, symbol="KO", zone="UTC").understood["time zone"] == "days, no time of day; zone='UTC' is not used"


def test_clean_real_prices_are_not_suspect():
    """33 years of 20 stocks: RRC, adjusted to a tenth of a cent, repeats itself in the nineties; the rest are seven nights near a ratio, a true spike, and moves that are only told."""
    from otsport.data.samples import sample
    table = read_prices(sample("sp500_20_daily"))
    assert {f.symbol for f in table.findings if f.code == "STALE"} == {"RRC"}
    rest = Counter(f.code for f in table.findings if f.code != "STALE")
    assert rest == {"SPLIT": 7, "SPIKE": 3, "MOVE": 16} and not [f for f in table.open_findings if f.code == "MOVE"]
    assert "15.925 to 12.624 (-20.7%), and back to 15.793" in next(f.value for f in table.findings if f.event == "JPM 2009-01-20")


BAD = [
    ("", DataError, "is empty"),
    ("Date,Close\n", DataError, "no row below its header"),
    ("Dtae,Close\n2014-06-06,1\n", DataError, "no date column.*'Dtae' looks like it.*columns={'date': 'Dtae'}"),
    ("Date,Close,Close\n2014-06-06,1,2\n", DataError, "line 1 has the column 'Close' more than once"),
    ("Date,Close\n2014-06-06,1\n2014-06-09,n/k\n", DataError, "aapl.csv line 3, column 'Close': 'n/k' is no number"),
    ("Date,Close\n2014-06-06,1\n\n2014-06-09,\"1,234.5\"\n", DataError, "line 4, column 'Close': '1,234.5' is no number.*without separators"),
    ("Date,Close\n2014-06-06,1\nsoon,2\n", DataError, "line 3, column 'Date': 'soon' is no date"),
    ("Date,Close\n2014-06-06,\n2014-06-09,\n", DataError, "every cell is empty"),
    ("Date,Name,AAPL\n2014-06-06,Apple,1\n", DataError, "line 2, column 'Name': 'Apple' is no number"),
    ("Date\n2014-06-06\n", DataError, "no close column"),
    ("Date,Symbol,Close\n2014-06-06,AAPL,1\n2014-06-09,,2\n", DataError, "line 3, column 'Symbol' is empty"),
    ("Date,Close\n2055-06-07,1\n", DataError, "after the end of the calendar"),
]


@pytest.mark.parametrize("text, error, words", BAD)
def test_bad_input_is_refused_with_its_place(text, error, words, tmp_path):
    with pytest.raises(error, match=words):
        read_prices(write(tmp_path, text))


def test_bad_arguments_are_refused(tmp_path):
    path = write(tmp_path, VENDORS["ibkr"])
    for words, match in ((dict(gaps="mend"), "gaps is 'mend'"), (dict(holiday="drop"), "'holiday' is no decision"), (dict(adjusted="yes"), "adjusted is 'yes'"),
                         (dict(columns={"close": "Clse"}), "did you mean 'close'"), (dict(columns={"cloze": "close"}), "did you mean 'close'")):
        with pytest.raises(InputError, match=match):
            read_prices(path, **words)
    with pytest.raises(InputError, match="did you mean aapl.csv"):
        read_prices(tmp_path / "aapl.cvs")
    assert read_prices(path, columns={"close": "average"}).closes["AAPL"].tolist() == [92, 92, 93]


def test_history_of_own_prices_looks_no_further(eight):
    table = otsport.read_prices(eight[0], holidays="drop", splits="adjust", gaps="carry")
    own = own_history(table, sectors={"AAA": "Energy"})
    for day in table.closes.index:
        at = session_close(day.date())
        for instant, last in ((at, day), (at - timedelta(microseconds=1), None)):
            past = own.past(instant) if last is not None or day != table.closes.index[0] else None
            if past is None:
                continue
            assert past.session == (day.date() if last is not None else table.closes.index[table.closes.index.get_loc(day) - 1].date())
            assert ("HHH" in past.symbols) == (past.session >= date(2014, 6, 12))
            assert not past.closes(sessions=1).isna().any(axis=None)
    past = own.past(session_close(date(2014, 6, 13)))
    with pytest.raises(NoPrices, match=r"of HHH \(from 2014-06-12\).*past.listed\(10\)"):
        past.closes(sessions=10)
    with pytest.raises(NoPrices, match="HHH"):
        past.returns(sessions=9)
    assert list(past.closes(past.listed(10), 10).columns) == EIGHT[:-1]
    eve = own.past(session_close(date(2014, 6, 11)))
    with pytest.raises(NoPrices, match=r"HHH \(none yet\)"):
        eve.closes(["AAA", "HHH"], 1)
    with pytest.raises(NoPrices, match="no price of HHH on 2014-06-11"):
        own.close("HHH", date(2014, 6, 11), session_close(date(2014, 7, 1)))
    with pytest.raises(LookAhead):
        own.close("AAA", date(2014, 6, 12), session_close(date(2014, 6, 11)))
    for read, words in ((past.index, "no index"), (lambda: own.vix(past.as_of), "no volatility index"), (lambda: own.funds(past.as_of), "no factor funds")):
        with pytest.raises(NoPrices, match=words):
            read()
    assert own.sector("AAA") == "Energy"
    with pytest.raises(DataError, match="no sector of BBB: write `BBB:"):
        own.sector("BBB")
    with pytest.raises(InputError, match="'AAB'?|AAB"):
        own_history(table, sectors={"AAB": "Energy"})
    indexed = own_history(table, index="BBB")
    assert "BBB" not in indexed.symbols and indexed.index(past.as_of).iloc[-1] == table.closes.at[pd.Timestamp("2014-06-13"), "BBB"]


def test_a_table_cut_at_as_of_answers_the_same(eight):
    """Negative control of look-ahead: prices changed after `as_of` change nothing that is read as of it."""
    table = read_prices(eight[0], holidays="drop", splits="adjust", gaps="carry")
    at = session_close(date(2014, 6, 20))
    changed = table.closes.copy()
    changed.loc["2014-06-23":] *= 2
    from dataclasses import replace
    other = own_history(replace(table, closes=changed))
    same = own_history(table).past(at).closes(sessions=5)
    assert same.equals(other.past(at).closes(sessions=5))
    later = session_close(date(2014, 6, 23))
    assert not own_history(table).past(later).closes(sessions=5).equals(other.past(later).closes(sessions=5))


def test_own_prices_are_replayed_by_the_gateway():
    """Without an index, VIX and sectors; the first session is the one for which the stock that begins last has its volatility."""
    from otsport.gateway.market import OPTION_SESSIONS, Market
    days = pd.DatetimeIndex(sessions_between(date(2014, 1, 2), date(2014, 7, 31)))
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(50 * np.exp(rng.normal(0, 0.01, (len(days), 2)).cumsum(axis=0)), index=days, columns=["OLD", "NEW"])
    frame.loc[: days[9], "NEW"] = np.nan
    market = Market(own_history(read_prices(frame)), seed=7)
    assert market.first == days[10 + OPTION_SESSIONS + 1].date()
    model = market.model(market.first)
    assert np.isfinite(model.option_vol).all() and np.isnan(model.vix) and np.isfinite(model.last).all()
    with pytest.raises(NoPrices, match="cannot be replayed"):
        market.model(days[10 + OPTION_SESSIONS].date())


def test_one_symbol_of_many_and_one_that_is_not_there():
    days = pd.DatetimeIndex(sessions_between(date(2014, 6, 2), date(2014, 6, 6)))
    long = pd.DataFrame({"date": days.repeat(2), "symbol": ["KO", "PG"] * 5, "close": [40.0, 80.0, 41.0, 81.0, 42.0, 82.0, 43.0, 83.0, 44.0, 84.0]})
    assert read_prices(long, symbol="PG").closes.to_numpy().ravel().tolist() == [80.0, 81.0, 82.0, 83.0, 84.0]
    with pytest.raises(DataError, match="no prices of PGG: there are KO, PG; did you mean 'PG'"):
        read_prices(long, symbol="PGG")


def test_half_a_million_rows_say_where_they_are(capfd):
    """600,000 minute rows of five symbols in seconds, with a word on standard error for each step."""
    import time
    from otsport.core.calendars import session_open
    opens = [session_open(d) for d in sessions_between(date(2014, 1, 2), date(2015, 3, 23))]
    stamps = pd.DatetimeIndex(np.concatenate([pd.date_range(o, periods=390, freq="min").tz_localize(None).to_numpy() for o in opens])).tz_localize("UTC")
    walk = 50 * np.exp(np.random.default_rng(5).normal(0, 1e-4, (len(stamps), 5)).cumsum(axis=0))
    long = pd.DataFrame({"symbol": np.tile(list("ABCDE"), len(stamps)), "time": stamps.repeat(5), "close": walk.ravel()})
    begun = time.process_time()
    table = read_prices(long)
    assert time.process_time() - begun < 15 and len(long) > 500_000  # about 1 s
    assert "daily closes of the bars" in capfd.readouterr().err
    ends = [session_close(d) - timedelta(minutes=1) for d in sessions_between(date(2014, 1, 2), date(2015, 3, 23))]
    last = stamps.get_indexer(pd.DatetimeIndex(ends))
    np.testing.assert_array_equal(table.closes["A"].dropna(), walk[last, 0])


def test_coverage_figure_marks_what_was_found(eight):
    from otsport.show.coverage import coverage_figure, mark_frame, spans
    table = read_prices(eight[0])
    figure = coverage_figure(table)
    assert figure.get_suptitle() == "eight: 8 symbols, 3 findings wait for a decision"
    assert len(spans(table.closes["DDD"])) == 2 and len(spans(table.closes["AAA"])) == 1
    assert mark_frame(table).groupby("code").size().to_dict() == {"GAP": 1, "HOLIDAY": 8, "SPLIT": 1}
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == EIGHT


def test_a_table_shows_itself(eight):
    table = read_prices(eight[0])
    for text in (repr(table), table._repr_html_()):
        assert all(word in text for word in ("eight", "8 symbols", "HOLIDAY", "SPLIT", "near 3:1", "GAP", "columns", "daily"))
    assert list(table.suspect.decided) == ["open"] * 3
    assert list(read_prices(eight[0], splits="raw").suspect.decided) == ["open", "raw", "open"]


def test_only_settled_tables_are_kept(eight, tmp_path):
    with pytest.raises(DataError, match="HOLIDAY"):
        keep(read_prices(eight[0]), tmp_path)
    assert not (tmp_path / "prices").exists()


def test_a_kept_table_whose_file_is_cut_is_refused(eight, tmp_path):
    path = keep(read_prices(eight[0], holidays="drop", splits="adjust", gaps="carry"), tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="no whole parquet file"):
        load_prices(tmp_path, "eight")


def test_import_stays_light():
    import subprocess
    import sys
    code = "import sys, otsport; assert 'pandas' not in sys.modules; assert otsport.read_prices.__module__ == 'otsport.data.prices'; assert 'read_quotes' in dir(otsport)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'read_price'"):
        otsport.read_price


def test_naive_as_of_is_refused(eight):
    own = own_history(read_prices(eight[0], holidays="drop", splits="adjust", gaps="carry"))
    with pytest.raises(InputError):
        own.past(datetime(2014, 6, 20))
    assert own.past(datetime(2014, 6, 20, 20, tzinfo=timezone.utc)).session == date(2014, 6, 20)
