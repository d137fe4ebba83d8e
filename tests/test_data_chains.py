"""Own option quotes: the vendors' layouts, what is suspect, and reads that see nothing later than `as_of`."""
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import otsport
from otsport.app.cli import app
from otsport.core.calendars import session_close, session_open
from otsport.core.contracts import Quote, option
from otsport.core.errors import DataError, InputError, NoPrices
from otsport.data.chain_history import chain_history
from otsport.data.chains import is_quotes, read_quotes
from otsport.data.columns import take_in
from otsport.data.shelf import load_chains

FRIDAY, MONDAY = date(2014, 6, 6), date(2014, 6, 9)
CLOSE = session_close(FRIDAY)
NEW_YORK = "America/New_York"

# Two strikes, both sides, at the close of 2014-06-06: 640 C 9.0/9.3, 640 P 3.2/3.4, 650 C 3.5/3.6, 650 P no bid/8.2
VENDORS = {
    "optionsdx": "[QUOTE_UNIXTIME], [QUOTE_READTIME], [QUOTE_DATE], [QUOTE_TIME_HOURS], [UNDERLYING_LAST], [EXPIRE_DATE], [EXPIRE_UNIX], [DTE], [C_DELTA], [C_IV], [C_VOLUME], [C_LAST], [C_SIZE], [C_BID], [C_ASK], "
                 "[STRIKE], [P_BID], [P_ASK], [P_SIZE], [P_LAST], [P_IV], [P_VOLUME]\n"
                 "1402084800, 2014-06-06 16:00, 2014-06-06, 16.000000, 645.57, 2014-06-13, 1402689600, 7.00, 0.7, 0.2, 10, 9.1, 3 x 10, 9.0, 9.3, 640.0, 3.2, 3.4, 5 x 6, 3.3, 0.2, 20\n"
                 "1402084800, 2014-06-06 16:00, 2014-06-06, 16.000000, 645.57, 2014-06-13, 1402689600, 7.00, 0.4, 0.2, 10, 3.5, 1 x 1, 3.5, 3.6, 650.0, -1, 8.2, 0 x 6, 8.1, 0.2, 20\n",
    "cboe": "underlying_symbol,quote_date,root,expiration,strike,option_type,open,high,low,close,trade_volume,bid_size_1545,bid_1545,ask_size_1545,ask_1545,underlying_bid_1545,underlying_ask_1545,bid_size_eod,bid_eod,"
            "ask_size_eod,ask_eod,underlying_bid_eod,underlying_ask_eod,vwap,open_interest,delivery_code\n"
            + "".join(f"AAPL,2014-06-06,AAPL,2014-06-13,{k},{r},0,0,0,0,{v},1,7,1,7,645,646,{bs},{b},{as_},{a},645.5,645.6,0,99,\n"
                      for k, r, v, bs, b, as_, a in ((640, "C", 10, 3, 9.0, 10, 9.3), (640, "P", 20, 5, 3.2, 6, 3.4), (650, "C", 10, 1, 3.5, 1, 3.6), (650, "P", 20, 0, -1, 6, 8.2))),
    "cboe interval": "underlying_symbol,quote_datetime,root,expiration,strike,option_type,trade_volume,bid_size,bid,ask_size,ask,underlying_bid,underlying_ask\n"
                     + "".join(f"AAPL,2014-06-06T16:00:00-04:00,AAPL,2014-06-13,{k},{r},{v},{bs},{b},{as_},{a},645.5,645.6\n"
                               for k, r, v, bs, b, as_, a in ((640, "C", 10, 3, 9.0, 10, 9.3), (640, "P", 20, 5, 3.2, 6, 3.4), (650, "C", 10, 1, 3.5, 1, 3.6), (650, "P", 20, 0, -1, 6, 8.2))),
    "orats": "ticker,tradeDate,expirDate,dte,strike,stockPrice,callVolume,callOpenInterest,callBidSize,callAskSize,putVolume,putOpenInterest,putBidSize,putAskSize,callBidPrice,callValue,callAskPrice,putBidPrice,putValue,putAskPrice,delta\n"
             "AAPL,2014-06-06,2014-06-13,8,640,645.57,10,99,3,10,20,99,5,6,9.0,9.1,9.3,3.2,3.3,3.4,0.7\n"
             "AAPL,2014-06-06,2014-06-13,8,650,645.57,10,99,1,1,20,99,0,6,3.5,3.5,3.6,,8.1,8.2,0.4\n",
    "polygon": "ticker,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,sequence_number,sip_timestamp\n"
               + "".join(f"O:AAPL140613{r}{k * 1000:08d},1,{a},{as_},1,{b},{bs},1,1402084800000000000\n"
                         for k, r, bs, b, as_, a in ((640, "C", 3, 9.0, 10, 9.3), (640, "P", 5, 3.2, 6, 3.4), (650, "C", 1, 3.5, 1, 3.6), (650, "P", 0, -1, 6, 8.2))),
    "bars": "time,expiry,strike,right,bid_open,bid_high,bid_low,bid_close,bid_size,ask_open,ask_high,ask_low,ask_close,ask_size\n"
            + "".join(f"2014-06-06T{h}:00:00-04:00,2014-06-13,{k},{r},1,1,1,{b},{bs},20,20,20,{a},{as_}\n" for h in (14, 15)
                      for k, r, bs, b, as_, a in ((640, "call", 3, 9.0, 10, 9.3), (640, "put", 5, 3.2, 6, 3.4), (650, "call", 1, 3.5, 1, 3.6), (650, "put", 0, "", 6, 8.2))),
}
EXPECTED = [("640", "C", 9.0, 9.3, 3, 10), ("640", "P", 3.2, 3.4, 5, 6), ("650", "C", 3.5, 3.6, 1, 1), ("650", "P", None, 8.2, 0, 6)]


def rows_of(quotes):
    return [(str(q.contract.strike.normalize().quantize(Decimal(1))), str(q.contract.right.value), None if np.isnan(q.bid) else q.bid, q.ask, q.bid_size, q.ask_size) for q in quotes]


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendor_layouts_give_the_same_quotes(vendor, tmp_path):
    path = tmp_path / "aapl_quotes.csv"
    path.write_text(VENDORS[vendor])
    assert is_quotes(take_in(path))
    table = read_quotes(path)
    assert table.findings == () and table.symbols == ("AAPL",)
    known = chain_history(table)
    assert rows_of(known.quotes("AAPL", CLOSE)) == EXPECTED
    assert {q.ts for q in known.quotes("AAPL", CLOSE)} == {CLOSE} and {q.contract.expiry for q in known.quotes("AAPL", CLOSE)} == {date(2014, 6, 13)}
    if vendor != "bars":  # the bar before ended an hour earlier
        with pytest.raises(NoPrices, match="there are none before"):
            known.quotes("AAPL", CLOSE - timedelta(microseconds=1))
    if vendor in ("optionsdx", "cboe", "orats", "cboe interval"):
        assert table.frame["underlying"].between(645.5, 645.6).all() and table.frame["volume"].isin([10, 20]).all()
    pd.read_csv(path, skipinitialspace=True).to_parquet(tmp_path / "aapl_quotes.parquet")
    assert rows_of(chain_history(read_quotes(tmp_path / "aapl_quotes.parquet")).quotes("AAPL", CLOSE)) == EXPECTED


def test_columns_may_be_said(tmp_path):
    path = tmp_path / "aapl.csv"
    path.write_text(VENDORS["cboe"])
    table = read_quotes(path, columns={"bid": "bid_1545", "ask": "ask_1545"})
    assert table.frame["bid"].eq(7).all()
    with pytest.raises(InputError, match="did you mean 'bid_1545'"):
        read_quotes(path, columns={"bid": "bid1544"})


@pytest.fixture(scope="module")
def stock(shared_data):
    """Mid prices of AAPL, from the end of each minute on."""
    frame = pd.read_parquet(shared_data / "equity_minute_quotes.parquet").query("symbol == 'AAPL'")
    return pd.Series(((frame.bid_close + frame.ask_close) / 2).to_numpy(), index=pd.DatetimeIndex(frame.time) + pd.Timedelta(minutes=1))


@pytest.fixture(scope="module")
def real(shared_data, stock):
    return otsport.read_quotes(shared_data / "aapl_option_hour_quotes.parquet", underlying=stock)


def test_real_chain_is_read_in_one_call(real, shared_data, stock):
    given = pd.read_parquet(shared_data / "aapl_option_hour_quotes.parquet")
    assert len(real.frame) == len(given) == 31_407 and "4,532" in real.understood["contracts"]
    assert "bars of 60 minutes stamped at their start" in real.understood["times"]
    crossed = given[given.bid_close > given.ask_close]
    assert sum(f.rows for f in real.findings if f.code == "CROSSED") == len(crossed) == 4
    below = [f for f in real.findings if f.code == "BELOW"]
    assert [(f.rows, f.symbol, str(f.day)) for f in below] == [(1, "AAPL", "2014-06-06")] and "642.5: bid 2.67, ask 2.95, underlying 645.525" in below[0].value
    with pytest.raises(DataError, match="crossed='drop', below='drop'|--crossed drop --below drop"):
        chain_history(real)
    settled = otsport.read_quotes(shared_data / "aapl_option_hour_quotes.parquet", underlying=stock, crossed="drop", below="drop")
    assert len(settled.check().frame) == 31_407 - 5


@pytest.fixture(scope="module")
def known(shared_data):
    return chain_history(read_quotes(shared_data / "aapl_option_hour_quotes.parquet", crossed="keep"))


def test_real_quotes_look_no_further(known, shared_data):
    """At and just before every instant, what is read is what the slow way finds in the file."""
    given = pd.read_parquet(shared_data / "aapl_option_hour_quotes.parquet")
    given["end"] = given.time + pd.Timedelta(hours=1)
    for end in sorted(given.end.unique()):
        for as_of in (end, end - pd.Timedelta(microseconds=1)):
            at, seen = as_of.to_pydatetime(), given[(given.end <= as_of) & (given.end.dt.date == as_of.date()) & (given.expiry.dt.date >= as_of.date())]
            if not len(seen):
                with pytest.raises(NoPrices, match="no option quotes of AAPL of the session"):
                    known.quotes("AAPL", at)
                continue
            last = seen.astype({"right": str}).groupby(["expiry", "strike", "right"])[["bid_close", "ask_close", "end"]].tail(1).index
            slow = seen.loc[last].sort_values(["expiry", "strike", "right"])
            quotes = known.quotes("AAPL", at)
            assert len(quotes) == len(slow) and max(q.ts for q in quotes) <= at
            np.testing.assert_array_equal([q.bid for q in quotes], slow.bid_close)
            np.testing.assert_array_equal([q.ask for q in quotes], slow.ask_close)
            assert [float(q.contract.strike) for q in quotes] == slow.strike.tolist()


def test_split_night_is_not_bridged(known):
    """Friday's strikes are quoted in the evening and at the weekend; on Monday, after 7 for 1, never."""
    evening = known.quotes("AAPL", CLOSE + timedelta(hours=30))
    assert len(evening) > 2000 and min(q.contract.strike for q in evening) > 100
    with pytest.raises(NoPrices, match="the last before are of 2014-06-06 20:00 UTC"):
        known.quotes("AAPL", session_open(MONDAY) + timedelta(minutes=20))
    monday = known.quotes("AAPL", session_close(MONDAY))
    assert max(q.contract.strike for q in monday) < 200
    assert all(q.ts.date() == MONDAY for q in monday)


def test_expired_contracts_are_gone(known):
    at_close = {q.contract.expiry for q in known.quotes("AAPL", CLOSE)}
    after = {q.contract.expiry for q in known.quotes("AAPL", CLOSE + timedelta(microseconds=1))}
    assert FRIDAY in at_close and at_close - after == {FRIDAY}


def test_one_quote_and_the_chain(known):
    call = option("AAPL", date(2014, 6, 13), 645, "C")
    quote = known.quote(call, CLOSE)
    assert isinstance(quote, Quote) and quote.contract == call and quote.ts == CLOSE and 0 < quote.bid < quote.ask
    with pytest.raises(NoPrices, match="no quote of AAPL 20140613 C 646 is known"):
        known.quote(option("AAPL", date(2014, 6, 13), 646, "C"), CLOSE)
    chain, = known.chains("AAPL", CLOSE)
    assert date(2014, 6, 13) in chain.expiries and Decimal("645") in chain.strikes and chain.multiplier == 100 and chain.trading_class == ""
    with pytest.raises(NoPrices, match="no option quotes of KO: there are those of AAPL"):
        known.quotes("KO", CLOSE)
    with pytest.raises(InputError):
        known.quotes("AAPL", datetime(2014, 6, 6, 20))


def small(**changes):
    """Two instants of two calls and a put, with one value changed."""
    rows = [(h, "2014-06-13", k, r, b, b + 0.3) for h in ("2014-06-06 19:00Z", "2014-06-06 20:00Z") for k, r, b in ((640.0, "C", 9.0), (650.0, "C", 3.5), (650.0, "P", 7.9))]
    frame = pd.DataFrame(rows, columns=["time", "expiry", "strike", "right", "bid", "ask"])
    frame["underlying_price"] = 645.57
    for column, value in changes.items():
        frame[column] = frame[column].astype(object)
        frame.loc[4, column] = value
    return frame.infer_objects()


FAULTS = [
    (dict(ask=3.0), "CROSSED", {"crossed": "drop"}, 5), (dict(ask=3.0), "CROSSED", {"crossed": "keep"}, 6), (dict(bid=-0.5), "IMPOSSIBLE", {"impossible": "drop"}, 5),
    (dict(ask=-2.0), "IMPOSSIBLE", {"impossible": "drop"}, 5), (dict(underlying_price=660.0), "BELOW", {"below": "drop"}, 5), (dict(underlying_price=660.0), "BELOW", {"below": "keep"}, 6),
    (dict(expiry="2014-06-05"), "EXPIRED", {"expired": "drop"}, 5), (dict(expiry="2014-06-15"), "EXPIRY", {"expired": "drop"}, 5), (dict(time="2014-06-07 20:00Z"), "HOLIDAY", {"holidays": "drop"}, 5),
    (dict(strike=640.0, bid=9.0, ask=9.5), "REPEAT", {"repeats": "first"}, 5), (dict(strike=640.0, bid=9.0, ask=9.5), "REPEAT", {"repeats": "last"}, 5),
]


@pytest.mark.parametrize("change, code, decision, left", FAULTS)
def test_fault_is_found_and_decided(change, code, decision, left):
    assert read_quotes(small(), symbol="AAPL").findings == ()
    table = read_quotes(small(**change), symbol="AAPL")
    assert [f.code for f in table.open_findings] == [code] and len(table.frame) == 6
    with pytest.raises(DataError, match=code):
        table.check()
    with pytest.raises(DataError, match=code):
        chain_history(table)
    assert len(read_quotes(small(**change), symbol="AAPL", **decision).check().frame) == left


def test_minus_one_is_no_quote_and_zero_a_true_zero():
    table = read_quotes(small(bid=-1.0), symbol="AAPL")
    assert table.findings == () and table.frame.bid.isna().sum() == 1 and "1 bids" in table.understood["-1"]
    zero = read_quotes(small(bid=0.0), symbol="AAPL")
    assert zero.findings == () and zero.frame.bid.eq(0).sum() == 1 and "1 with a bid of zero" in zero.understood["quotes"]


BAD = [
    (lambda f: f.drop(columns="time"), "no date column"), (lambda f: f.rename(columns={"strike": "stirke"}).drop(columns="right"), "no strike column.*'stirke' looks like it"),
    (lambda f: f.assign(right="X"), "'X' is neither a call nor a put"), (lambda f: f.assign(ask=["1", "2", "three", "4", "5", "6"]), "row 2, column 'ask': 'three' is no number"),
    (lambda f: f.assign(expiry="never"), "row 0, column 'expiry': 'never' is no date"), (lambda f: f.iloc[:0], "no row below its header"),
    (lambda f: f.drop(columns="ask"), "no ask column"), (lambda f: f.assign(expiry="2014-06-13 09:30"), "an expiry is a day"),
]


@pytest.mark.parametrize("change, words", BAD)
def test_bad_input_is_refused_with_its_place(change, words):
    with pytest.raises(DataError, match=words):
        read_quotes(change(small()), symbol="AAPL")


def test_symbol_must_be_known_and_zone_said():
    with pytest.raises(DataError, match="symbol='AAPL'"):
        read_quotes(small())
    naive = small().assign(time=["2014-06-06 15:00"] * 3 + ["2014-06-06 16:00"] * 3)
    table = read_quotes(naive, symbol="AAPL")
    assert [f.code for f in table.open_findings] == ["ZONE"]
    told = chain_history(read_quotes(naive, symbol="AAPL", zone=NEW_YORK))
    assert told.quotes("AAPL", CLOSE)[0].ts == CLOSE
    with pytest.raises(NoPrices):
        told.quotes("AAPL", session_close(FRIDAY) - timedelta(hours=1, microseconds=1))


def test_trading_classes_are_kept_apart():
    frame = small().assign(underlying_symbol="SPX", root=["SPX", "SPXW", "SPX"] * 2)
    known = chain_history(read_quotes(frame))
    assert [c.trading_class for c in known.chains("SPX", CLOSE)] == ["", "SPXW"]
    assert {q.contract.trading_class for q in known.quotes("SPX", CLOSE)} == {"", "SPXW"}


def test_one_underlying_of_many():
    frame = small().assign(symbol=["AAPL", "KO", "KO"] * 2)
    assert len(read_quotes(frame, symbol="AAPL").frame) == 2 and len(read_quotes(frame).frame) == 6
    with pytest.raises(DataError, match="no quotes of PG: there are those of AAPL, KO"):
        read_quotes(frame, symbol="PG")


def test_two_tables_are_one_history_unless_they_overlap():
    first, second = (read_quotes(small().iloc[part], symbol="AAPL") for part in (slice(0, 3), slice(3, 6)))
    both = chain_history(first, second)
    assert len(both.quotes("AAPL", CLOSE)) == 3
    with pytest.raises(InputError, match="3 quotes are in two tables, the first AAPL 2014-06-13 C 640"):
        chain_history(first, first)


def test_desk_folder_keeps_chains(tmp_path, shared_data):
    run = lambda *words: CliRunner().invoke(app, ["data", *map(str, words)])
    file = shared_data / "aapl_option_hour_quotes.parquet"
    refused = run("add", file, "--folder", tmp_path, "--as", "aapl")
    assert isinstance(refused.exception, DataError) and f"--as aapl --folder {tmp_path} --crossed drop" in str(refused.exception) and not (tmp_path / "chains").exists()
    kept = run("add", file, "--folder", tmp_path, "--as", "aapl", "--crossed", "drop")
    assert kept.exit_code == 0 and "kept as chains/aapl.parquet" in kept.stdout, kept.exception
    table = load_chains(tmp_path, "aapl")
    fresh = read_quotes(file, crossed="drop")
    assert table.decisions == {"crossed": "drop"} and len(table.frame) == 31_403
    assert str(table.frame.time.dtype) == "datetime64[us, UTC]" and list(table.frame.columns) == list(fresh.frame.columns)
    assert rows_of(chain_history(table).quotes("AAPL", CLOSE)) == rows_of(chain_history(fresh).quotes("AAPL", CLOSE))
    wrong = run("add", file, "--folder", tmp_path, "--gaps", "carry")
    assert isinstance(wrong.exception, InputError) and "'gaps' is no decision" in str(wrong.exception)


def _one(**change):
    row = {"time": "2022-12-28T15:00:00Z", "expiry": "2023-01-20", "strike": 130.0, "right": "C", "bid": 2.5, "ask": 2.6, "bid_size": 3.0, "ask_size": 4.0} | change
    return pd.DataFrame([row])


@pytest.mark.parametrize("size", [-3.0, 2.5, np.inf])
def test_a_size_that_is_none_is_impossible(size):
    assert [f.code for f in read_quotes(_one(ask_size=size), symbol="AAPL").findings] == ["IMPOSSIBLE"]
    assert read_quotes(_one(ask_size=np.nan), symbol="AAPL").findings == read_quotes(_one(ask_size=0.0), symbol="AAPL").findings == ()


@pytest.mark.parametrize("name, value", [("multiplier", 10), ("Contract Size", "1000"), ("contract_size", "MINI")])
def test_contracts_of_another_size_are_refused(name, value):
    """They would be traded and valued as contracts of 100 shares."""
    with pytest.raises(DataError, match="is not 100: contracts of another size are not read"):
        read_quotes(_one(**{name: value}), symbol="AAPL")
    for same in (100, "100", "REGULAR"):
        assert read_quotes(_one(**{name: same}), symbol="AAPL").findings == ()
