"""What the gateway replays: a tape of the day, a past session as if it were now, bars and profit; never a price of later."""
import asyncio
import json
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal as D

import numpy as np
import pandas as pd
import pytest
from exchange_support import THURSDAY, StillMarket, ticket
from gateway_support import SESSION, Talk, buy, codes

from otsport.core.calendars import NEW_YORK, previous_session, session_close, session_open
from otsport.core.contracts import option, stock
from otsport.core.errors import DataError, InputError, NoPrices
from otsport.data.samples import history
from otsport.gateway.as_now import AsNow, opening_of
from otsport.gateway.bars import bar_size, end_of, requested_bars, sessions_of
from otsport.gateway.exchange import Exchange
from otsport.gateway.journal import Clock, read_journal
from otsport.gateway.market import Closes, Market
from otsport.gateway.pnl import daily
from otsport.gateway.replay import Replay, read_replay, replay_market
from otsport.gateway.session import Gateway
from otsport.gateway.sockets import follow_wall
from otsport.gateway.tape import Recorded, read_tape

KO = stock("KO")
NIGHT = datetime(2025, 3, 1, 20, 17, tzinfo=NEW_YORK)  # a Saturday evening


def at(text: str, day: str = "2022-12-15") -> pd.Timestamp:
    return pd.Timestamp(f"{day} {text}", tz="America/New_York")


def frame(symbol: str, **columns) -> pd.DataFrame:
    return pd.DataFrame({"symbol": symbol} | columns)


# ---------------------------------------------------------------- a tape

def minutes(day: str = "2022-12-15", base: float = 63.0, count: int = 390) -> pd.DataFrame:
    "A bar a minute; its close is the base and a cent for each minute."
    return frame("KO", time=pd.date_range(at("09:30", day), periods=count, freq="min"), close=base + np.arange(count) / 100)


def test_tape_knows_a_bar_when_it_has_ended():
    market = Market(Recorded(read_tape([minutes()]), step=timedelta(minutes=1)), 7)
    steps = market.session_steps(SESSION)
    lasts = {s.astimezone(NEW_YORK).strftime("%H:%M"): market.quote(KO, SESSION, i).last for i, s in enumerate(steps)}
    assert (lasts["09:31"], lasts["09:32"], lasts["10:30"], lasts["16:00"]) == (63.00, 63.01, 63.59, 66.89)  # the bar that began at 09:30 ends at 09:31
    assert market.official_close("KO", SESSION) == D("66.89")


def test_given_quotes_stand_beside_given_prices():
    quotes = frame("KO", time=[at("09:31"), at("09:33")], bid=[62.95, np.nan], ask=[63.05, 63.10], bid_size=[300, 0], ask_size=[500, 200])
    market = Market(Recorded(read_tape([minutes(), quotes]), step=timedelta(minutes=1)), 7)
    steps = market.session_steps(SESSION)
    when = lambda text: market.quote(KO, SESSION, steps.index(at(text).to_pydatetime()))
    assert (when("09:33").bid, when("09:33").ask, when("09:33").ask_size, when("09:33").source) == (62.95, 63.05, 500, "given")  # a bar of two minutes has ended
    assert not when("09:36").bid > 0 and when("09:36").ask == 63.10  # no bid is no bid


def test_order_meets_the_recorded_quote():
    quotes = frame("KO", time=[at("09:30"), at("09:31")], bid=[62.95, 62.90], ask=[63.05, 63.00], bid_size=[300, 300], ask_size=[150, 400])
    source = Recorded(read_tape([minutes(), quotes]), step=timedelta(minutes=1))
    exchange = Exchange(Market(source, 7), {"DU1": D(100_000)}, SESSION)
    talk = Talk(Gateway(exchange))
    while exchange.now < session_open(SESSION) + timedelta(minutes=1):
        exchange.advance()
    talk.say("placeOrder", **buy(1, qty=D(200)))
    exchange.advance()
    assert [(e.qty, e.price) for e in exchange.executions()] == [(150, D("63.05")), (50, D("63.00"))]


@pytest.mark.parametrize("rows, words", [
    (frame("KO", time=[at("04:00"), at("05:00")], close=[1.0, 2.0]), "regular hours"), (frame("KO", when=[1], close=[2.0]), "no tape"), (frame("KO", time=[at("10:00")], volume=[5]), "no tape"),
])  # fmt: skip
def test_tape_without_prices_is_refused(rows, words):
    with pytest.raises((DataError, NoPrices), match=words):
        Recorded(read_tape([rows]))


def test_tape_ends_where_a_symbol_is_missing():
    tape = read_tape([minutes(), minutes("2022-12-16", 64.0), minutes().assign(symbol="PEP")])
    both, alone = Recorded(tape, date(2022, 12, 15)), Recorded(tape, date(2022, 12, 16))
    assert both.symbols == ("KO", "PEP") and both.days == (date(2022, 12, 15),) and alone.symbols == ("KO",) and alone.days == (date(2022, 12, 16),)
    with pytest.raises(NoPrices, match="no prices in the session 2022-12-19"):
        Recorded(tape, date(2022, 12, 19))


def test_files_of_both_kinds_are_told_apart(tmp_path):
    days, tape = tmp_path / "days.parquet", tmp_path / "tape.parquet"
    history().stock_table.frame[["KO", "PEP"]].tail(100).to_parquet(days)
    minutes().to_parquet(tape)
    assert read_replay([days]).closes.symbols == ("KO", "PEP") and read_replay([tape]).tape.symbols == ("KO",)
    market, day = replay_market(read_replay([days]), date(2022, 12, 28), 7, tmp_path / "j")
    assert day == date(2022, 12, 28) and market.official_close("KO", day) == D(str(round(history().close("KO", day, session_close(day)), 2)))
    for files, step, words in (([tape, days], 300, "served alone"), ([tape], 7, "divide half an hour"), ([tape], 0.5, "1 to 1800")):
        with pytest.raises(InputError, match=words):
            read_replay(files, step=timedelta(seconds=step))


def test_recorded_trades_and_a_whole_given_chain(shared_data, tmp_path):
    "TWX on 2014-06-06: its trades, quotes and every option by the minute."
    files = [shared_data / f"equity_minute_{kind}.parquet" for kind in ("trades", "quotes")]
    replay = read_replay(files, [shared_data / "twx_option_minute_quotes_20140606.parquet"], step=timedelta(minutes=1))
    day = date(2014, 6, 6)
    market, _ = replay_market(replay, day, 7, tmp_path / "j")
    step = market.session_steps(day).index(at("10:00", "2014-06-06").to_pydatetime())
    raw = pd.read_parquet(files[1]).query("symbol == 'TWX'").set_index("time")
    row = raw.loc[at("09:59", "2014-06-06")]
    quote = market.quote(stock("TWX"), day, step)
    assert (quote.bid, quote.ask, quote.bid_size, quote.source) == (row.bid_close, row.ask_close, row.bid_size, "given")
    (chain,) = market.chains("TWX", day)
    priced = [q for c in sorted(chain.listed, key=str) if (q := market.quote(c, day, step)).bid > 0]
    assert len(chain.listed) > 150 and len(priced) > 100 and {q.source for q in priced} == {"given"}
    model = market.option_model(option("TWX", "2014-07-19", 70, "C"), day, step)
    assert 0.1 < model.vol < 0.5 and 0 < model.delta < 1
    assert market.quote(option("AAPL", market.chain("AAPL", day).expiries[1], 650, "C"), day, step).source == "modelled"


# ---------------------------------------------------------------- as if it were now

def now_market(opening=NIGHT, step: int = 60) -> Market:
    return Market(AsNow(Closes(history(), 7, timedelta(seconds=step)), SESSION, opening), 7)


def test_market_is_open_at_once_at_any_hour():
    market = now_market()
    exchange = Exchange(market, {"DU1": D(100_000)}, date(2025, 3, 1))
    assert exchange.now == NIGHT and exchange.is_open and exchange.session == date(2025, 3, 1)
    talk = Talk(Gateway(exchange))
    heard = talk.say("placeOrder", **buy(1, qty=D(100)))
    assert [v["time"] for n, v in heard if n == "execDetails"] == ["20250301 20:17:00 America/New_York"]
    (details,) = [v for n, v in talk.say("reqContractDetails", reqId=3, symbol="KO", secType="STK") if n == "contractDetails"]
    assert details["tradingHours"] == "20250301:2017-20250302:0247"
    expiries = [v["expiries"] for n, v in talk.say("reqSecDefOptParams", reqId=4, symbol="KO", secType="STK") if n == "secDefOptParam"][0]
    assert [e["expiry"] for e in expiries] == ["20250321", "20250417", "20250516"]  # Good Friday is no session


def test_prices_are_those_of_the_past_session():
    plain, moved = Market(Closes(history(), 7, timedelta(minutes=1)), 7), now_market()
    day = date(2025, 3, 1)
    assert np.array_equal(moved.path("KO", day), plain.path("KO", SESSION)) and moved.official_close("KO", day) == plain.official_close("KO", SESSION)
    assert np.array_equal(moved.path("KO", date(2025, 2, 28)), plain.path("KO", previous_session(SESSION)))  # Friday shows the session before
    assert np.array_equal(moved.path("KO", date(2025, 2, 27)), plain.path("KO", previous_session(previous_session(SESSION))))


def test_session_of_now_ends_and_stays_closed():
    exchange = Exchange(now_market(), {"DU1": D(100_000)}, date(2025, 3, 1))
    exchange.place(replace(_ticket(1), tif="DAY", order_type="LMT", limit_price=D("20.00")))
    for _ in range(390 + 60 + 5):
        exchange.advance()
    assert not exchange.is_open and not exchange.open_orders() and exchange.session == date(2025, 3, 1)
    assert exchange.now == NIGHT + timedelta(hours=7.5)


def _ticket(number: int):
    return ticket(number, "BUY", 10)


@pytest.mark.parametrize("later, goes_on, working", [(timedelta(minutes=30), True, 2), (timedelta(hours=8), False, 1), (timedelta(days=3), False, 1)])
def test_session_of_now_goes_on_after_a_restart(tmp_path, later, goes_on, working):
    "A DAY and a GTC order rest; within the session both still do, in a later one the GTC order alone."
    journal, replay = tmp_path / "j.jsonl", Replay(history(), step=timedelta(minutes=1), as_now=True)
    opening = datetime(2025, 3, 4, 11, 0, tzinfo=NEW_YORK)
    market, day = replay_market(replay, SESSION, 7, journal, opening)
    exchange = Exchange(market, {"DU1": D(100_000)}, day, journal)
    for number, tif in ((1, "DAY"), (2, "GTC")):
        exchange.place(replace(_ticket(number), tif=tif, order_type="LMT", limit_price=D("20.00")))
    for _ in range(10):
        exchange.advance()
    exchange.close()
    market, day = replay_market(replay, SESSION, 7, journal, opening + later)
    again = Exchange(market, {"DU1": D(100_000)}, day, journal)
    assert (again.now == opening + timedelta(minutes=10)) == goes_on and len(again.open_orders()) == working and again.is_open
    assert goes_on or again.now == opening + later
    clocks = [e.ts for events, _, _ in read_journal(journal.read_bytes()) for e in events if isinstance(e, Clock)]
    assert clocks == sorted(clocks)  # the journal never runs back
    again.close()


def test_clock_of_the_wall_is_kept_up_with():
    exchange = Exchange(now_market(opening=datetime.now(timezone.utc).replace(microsecond=0) - timedelta(minutes=20), step=60), {"DU1": D(100_000)}, datetime.now(NEW_YORK).date())
    server = type("S", (), {"gateway": Gateway(exchange, "wall"), "flush": lambda self: None})()

    async def for_a_moment():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(follow_wall(server), 0.3)

    asyncio.run(for_a_moment())
    assert 0 <= (datetime.now(timezone.utc) - exchange.now).total_seconds() <= 61  # twenty steps at once
    assert abs((server.gateway.told_time() - datetime.now(timezone.utc)).total_seconds()) < 1


def test_journal_of_another_kind_begins_anew(tmp_path):
    source = Closes(history(), 7)
    assert opening_of(tmp_path / "none", source, SESSION, NIGHT) == (NIGHT, False)
    exchange = Exchange(Market(source, 7), {"DU1": D(1)}, SESSION, tmp_path / "j")
    exchange.close()
    assert opening_of(tmp_path / "j", source, SESSION, NIGHT) == (NIGHT, False)


def test_given_chain_is_moved_by_whole_weeks(shared_data, tmp_path):
    replay = read_replay([shared_data / "equity_minute_trades.parquet"], [shared_data / "twx_option_minute_quotes_20140606.parquet"], step=timedelta(minutes=1), as_now=True)
    market, day = replay_market(replay, date(2014, 6, 6), 7, tmp_path / "j", datetime(2025, 3, 5, 12, 0, tzinfo=NEW_YORK))
    plain, _ = replay_market(replace(replay, as_now=False), date(2014, 6, 6), 7, tmp_path / "j")
    (moved,), (before,) = market.chains("TWX", day), plain.chains("TWX", date(2014, 6, 6))
    shift = {a - b for a, b in zip(moved.expiries, before.expiries)}
    assert len(shift) == 1 and shift.pop().days % 7 == 0 and moved.expiries[0] >= day - timedelta(days=4)
    step = plain.session_steps(date(2014, 6, 6)).index(at("11:00", "2014-06-06").to_pydatetime())
    one = next(c for c in sorted(before.listed, key=str) if plain.quote(c, date(2014, 6, 6), step).two_sided)
    ours = market.quote(replace(one, expiry=one.expiry + (moved.expiries[0] - before.expiries[0])), day, step)
    theirs = plain.quote(one, date(2014, 6, 6), step)
    assert (ours.bid, ours.ask, ours.source) == (theirs.bid, theirs.ask, "given") and ours.ts.astimezone(NEW_YORK).date() == day


# ---------------------------------------------------------------- bars

@pytest.fixture(scope="module")
def noon():
    "An exchange on the bundled prices at noon."
    exchange = Exchange(Market(history(), 1), {"DU1": D(100_000)}, SESSION)
    while exchange.now < at("12:00").to_pydatetime():
        exchange.advance()
    return exchange


def test_daily_bars_close_at_the_given_closes_and_today_ends_now(noon):
    bars = requested_bars(noon, KO, noon.now, "20 D", bar_size("1 day"), "TRADES")
    closes = history().closes(noon.now, ["KO"], 19).iloc[:, 0]
    assert [round(b.close, 2) for b in bars[:-1]] == [round(c, 2) for c in closes] and len(bars) == 20
    path, steps = noon.market.path("KO", SESSION), noon.market.session_steps(SESSION)
    seen = [p for p, s in zip(path, steps) if session_open(SESSION) <= s <= noon.now]
    assert (bars[-1].open, bars[-1].high, bars[-1].low, bars[-1].close) == (seen[0], max(seen), min(seen), seen[-1])
    assert all(b.low <= min(b.open, b.close) and b.high >= max(b.open, b.close) for b in bars)


@pytest.mark.parametrize("size, count", [("5 mins", 78 + 30), ("30 mins", 13 + 5), ("1 hour", 7 + 3)])
def test_short_bars_begin_at_the_open_and_know_nothing_of_later(noon, size, count):
    bars = requested_bars(noon, KO, noon.now, "2 D", bar_size(size), "TRADES")
    assert len(bars) == count and bars[-1].close == noon.quote(KO).last and bars[0].start == session_open(previous_session(SESSION))
    assert max(b.start for b in bars) < noon.now


def test_bars_end_where_they_are_asked_to(noon):
    end = end_of("20221214 11:00:00 US/Eastern", noon.now)
    assert end == at("11:00", "2022-12-14")
    bars = requested_bars(noon, KO, end, "3600 S", bar_size("5 mins"), "TRADES")
    assert bars[0].start == at("10:00", "2022-12-14") and bars[-1].start <= end and len(bars) == 12
    assert end_of("20301231 11:00:00", noon.now) == noon.now  # never the future


def test_bars_of_quotes_and_of_options(noon):
    bid, ask = (requested_bars(noon, KO, noon.now, "1 D", bar_size("30 mins"), what) for what in ("BID", "ASK"))
    assert all(b.close < a.close and b.volume == -1 for b, a in zip(bid, ask))
    call = option("KO", noon.chain("KO").expiries[1], 65, "C")
    bars = requested_bars(noon, call, noon.now, "2 D", bar_size("1 hour"), "MIDPOINT")
    assert len(bars) == 10 and bars[-1].close == noon.quote(call).mid


@pytest.mark.parametrize("words, code", [
    ({"barSize": "5 parsecs"}, 321), ({"barSize": "1 secs"}, 321), ({"duration": "5"}, 321), ({"duration": "30 Y"}, 321), ({"show": "YIELD_BID"}, 321), ({"end": "yesterday"}, 321), ({"end": "19900110 10:00:00"}, 162),
    ({"secType": "BAG", "legs": []}, 321), ({"symbol": "XX"}, 200), ({"keepUpToDate": True, "end": "20221214 10:00:00"}, 321),
])  # fmt: skip
def test_bars_that_cannot_be_served_are_refused_in_words(noon, words, code):
    talk = Talk(Gateway(noon))
    asked = {"reqId": 5, "symbol": "KO", "secType": "STK", "duration": "5 D", "barSize": "1 day", "show": "TRADES", "useRTH": True, "formatDate": 1}
    assert codes(talk.say("reqHistoricalData", **asked | words)) == [(5, code)]


def test_bars_are_kept_up_to_date():
    exchange = Exchange(Market(history(), 1), {"DU1": D(100_000)}, SESSION)
    while exchange.now < at("12:00").to_pydatetime():
        exchange.advance()
    talk = Talk(Gateway(exchange))
    heard = talk.say("reqHistoricalData", reqId=5, symbol="KO", secType="STK", duration="1 D", barSize="15 mins", show="TRADES", useRTH=True, formatDate=2, keepUpToDate=True)
    begun = [b["date"] for n, v in heard if n == "historicalData" for b in v["bars"]]
    assert len(begun) == 10 and begun[0] == str(int(session_open(SESSION).timestamp()))
    told = []
    for _ in range(4):
        talk.gateway.step()
        told += [(v["date"], v["close"]) for n, v in talk.hear() if n == "historicalDataUpdate"]
    assert len({when for when, _ in told}) == 2 and told[-1][1] == D(str(exchange.quote(KO).last))
    talk.say("cancelHistoricalData", reqId=5)
    talk.gateway.step()
    assert talk.hear() == []


def test_durations_and_sizes_are_those_of_tws():
    assert [sessions_of(t) for t in ("60 S", "23400 S", "1 D", "2 W", "3 M", "1 Y")] == [1, 2, 1, 10, 63, 252]
    assert [bar_size(t).seconds or bar_size(t).sessions for t in ("30 secs", "1 min", "3 mins", "8 hours", "1 day", "1 week", "1 month", "1W")] == [30, 60, 180, 28800, 1, 5, 21, 5]


# ---------------------------------------------------------------- profit

class OptionsWithoutClose(StillMarket):
    "No close of the day before in the quotes of options, as in the modelled market."

    def quote(self, contract, day, step):
        found = super().quote(contract, day, step)
        return replace(found, last=float("nan"), close=float("nan")) if contract.is_option else found


def test_profit_of_the_day_follows_positions_of_the_morning_trades_and_expiry():
    exchange = Exchange(OptionsWithoutClose(), {"DU1": D(100_000)}, THURSDAY)
    exchange.advance()
    talk = Talk(Gateway(exchange))
    talk.say("placeOrder", **buy(1, qty=D(100)))
    talk.say("placeOrder", **buy(2, qty=D(2), symbol="KO", secType="OPT", expiry="20221216", strike=D(60), right="C"))
    (first,) = [v for n, v in talk.say("reqPnL", reqId=9, account="DU1") if n == "pnl"]
    assert (first["daily"], first["unrealized"], first["realized"]) == (D("-1.00") - 5, D("-6.00"), 0)  # a cent below the ask; 1.225 for what cost 1.25
    while exchange.session == THURSDAY:
        exchange.advance()
    assert daily(exchange, "DU1", KO) == 0  # nothing moved since the close
    talk.say("placeOrder", **buy(3, side="SELL", qty=D(40)))  # before the open: it waits
    exchange.advance()
    assert daily(exchange, "DU1", KO) == 40 * D("-0.01")  # sold at 60.00 what closed at 60.01
    while exchange.now < session_close(exchange.session):
        exchange.advance()
    call = option("KO", "2022-12-16", 60, "C")
    assert {h.contract.key: h.qty for h in exchange.holdings("DU1")} == {"KO": 260}  # 60.01: two calls are exercised, for 12,000 dollars
    assert daily(exchange, "DU1", call) == -2 * D("1.225") * 100 and daily(exchange, "DU1", KO) == D("-0.40") + 200 * D("0.01")
    (single,) = [v for n, v in talk.say("reqPnLSingle", reqId=10, account="DU1", conId=exchange.con_id(KO)) if n == "pnlSingle"]
    assert (single["qty"], single["daily"], single["value"]) == (260, D("1.60"), D("15602.60"))


def test_profit_of_what_is_not_there_is_refused():
    talk = Talk(Gateway(Exchange(StillMarket(), {"DU1": D(1000), "DU2": D(1000)}, THURSDAY)))
    assert codes(talk.say("reqPnL", reqId=9, account="")) == [(9, 321)] and codes(talk.say("reqPnLSingle", reqId=9, account="DU1", conId=77_777)) == [(9, 200)]
    heard = talk.say("reqPnLSingle", reqId=9, account="DU1", conId=1)
    assert [(v["qty"], v["value"]) for n, v in heard] == [(0, 0)]


# ---------------------------------------------------------------- paper and live

def test_login_is_paper_or_live():
    with pytest.raises(InputError, match="DU1 is a paper account and U1 a live one"):
        Exchange(StillMarket(), {"DU1": D(1), "U1": D(1)}, THURSDAY)
    assert Exchange(StillMarket(), {"U1": D(1), "F2": D(1)}, THURSDAY).accounts == ("U1", "F2")


def test_paper_and_live_gateways_keep_their_own_orders(tmp_path):
    books = {name: Exchange(StillMarket(), {name: D(100_000)}, THURSDAY, tmp_path / f"{name}.jsonl") for name in ("DU1", "U1")}
    for name, exchange in books.items():
        exchange.advance()
        Talk(Gateway(exchange)).say("placeOrder", **buy(1, qty=D(10), account=name))
        assert codes(Talk(Gateway(exchange), 2).say("placeOrder", **buy(2, account="U1" if name == "DU1" else "DU1"))) == [(2, 321)]
        exchange.close()
    assert [json.loads(line)["events"][0].get("account", "") for line in (tmp_path / "U1.jsonl").read_text().splitlines()[:1]] == ["U1"]
