"""Given option quotes: the gateway lists, quotes and matches at them, the desk marks at them and says so; seen on the real AAPL and TWX chains of June 2014."""
import asyncio
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import otsport
from otsport.app.folder import new_folder, read_folder, this_folder
from otsport.app.params import find_paper, read_paper, resolve
from otsport.app.trading_day import check_book
from otsport.core.calendars import NEW_YORK, session_close
from otsport.core.contracts import from_key, option, stock
from otsport.core.errors import DataError, FolderError
from otsport.core.orders import OrderType, Side
from otsport.data.chain_history import chain_history, parity_spots
from otsport.data.chains import read_quotes
from otsport.data.prices import read_prices
from otsport.data.samples import history
from otsport.data.shelf import keep
from otsport.data.store import open_store
from otsport.desk.day import read_days
from otsport.desk import report
from otsport.gateway.exchange import Exchange
from otsport.gateway.given import GivenMarket
from otsport.gateway.journal import Execution, Ticket
from otsport.gateway.sockets import serve
from run_support import FAULTLESS, left_behind, otsport as typed, verdict

FRIDAY, MONDAY = date(2014, 6, 6), date(2014, 6, 9)
HOUR = pd.Timedelta(hours=1)


def change(path, old, new):
    """Replace a text that occurs once."""
    text = path.read_text()
    assert text.count(old) == 1, (old, text.count(old))
    path.write_text(text.replace(old, new))


def make(path, closes, quotes, strategy="", **prices):
    """A desk folder on prices and option quotes of its own: one stock, own strategy first, covered calls after it."""
    made = new_folder(path).path
    name = str(closes.columns[0]).lower()
    keep(read_prices(closes, name=name, **prices), made)
    keep(quotes, made)
    book = made / "book.yaml"
    change(book, "prices: sample", f"prices: prices/{name}.parquet")
    change(book, "chains: []", f"chains: [chains/{quotes.name}.parquet]")
    change(book, "  max_sector_weight: 0.35    # one sector; leave it out and no sectors are needed\n", "")
    change(book, "objective: max_sharpe", "objective: sizes")
    text = book.read_text()
    book.write_text(text[: text.index("universe: [")] + "universe: all\n\n" + text[text.index("# Who says") :])
    if strategy:
        (made / "mine.py").write_text(strategy)
        change(book, "  - use: momentum\n    with: {top: 8}    # the best stocks of the last 12 months without the last one\n", "  - use: mine.py:hold\n")
        change(book, "  - use: my_strategy.ipynb:dip_buyer\n    with: {count: 3}\n    allocation: 0.25\n", "")
    return made


HOLD = "from otsport.strategy.words import buy\n\ndef hold(known):\n    return [buy(s, confidence=0.9, why='always') for s in known.symbols]\n"


# ------------------------------------------------------------------ the slow way: rows of the file

def bars(file):
    """The file with the instant from which a bar is known."""
    frame = pd.read_parquet(file)
    return frame.assign(end=frame.time + HOUR, right=frame.right.astype(str))


def in_force(given, contract, at):
    """Bid, ask and sizes of the last bar of the contract that had ended at an instant of the day."""
    mine = given[(given.strike == float(contract.strike)) & (given.right == contract.right.value) & (given.expiry == pd.Timestamp(contract.expiry))]
    seen = mine[(mine.end <= at) & (mine.end.dt.date == at.astimezone(NEW_YORK).date())]
    assert len(seen), f"no row of {contract} is in force at {at}"
    return seen.iloc[-1]


def check_fills(fills, given):
    """Every option was sold at the bid and bought at the ask in force, within the size; at least one was."""
    options = [f for f in fills if f.contract.is_option]
    assert options
    for f in options:
        row = in_force(given, f.contract, f.ts)
        price, size = (row.ask_close, row.ask_size) if f.side is Side.BUY else (row.bid_close, row.bid_size)
        assert f.price == Decimal(str(price)), (f, price)
        assert f.qty <= int(size)


def check_marks(marks, given, at):
    """Marks by key are the middles of the rows in force."""
    assert marks
    for key, mark in marks.items():
        row = in_force(given, from_key(key), at)
        assert float(mark) == pytest.approx((row.bid_close + row.ask_close) / 2, abs=1e-9), key


# ------------------------------------------------------------------ AAPL, by hand, over the wire

@pytest.fixture(scope="module")
def aapl(shared_data):
    """Closes as they were traded, and the file of the chain."""
    daily = pd.read_parquet(shared_data / "equity_daily.parquet").query("symbol == 'AAPL' and date >= '2012-01-03' and date <= '2014-06-09'")
    return pd.DataFrame({"AAPL": daily.close.to_numpy()}, index=pd.DatetimeIndex(daily.date)), shared_data / "aapl_option_hour_quotes.parquet"


def aapl_folder(path, aapl, shift=pd.Timedelta(0), **prices):
    closes, file = aapl
    frame = pd.read_parquet(file)
    table = read_quotes(frame.assign(time=frame.time + shift), name="aapl", symbol="AAPL", crossed="drop", **({"expired": "drop", "holidays": "drop"} if shift else {}))
    return make(path, closes, table, **({"splits": "raw"} | prices))


async def covered_call(folder, journal):
    """200 shares and two calls at eleven, held to the close and into the next session; what the broker and the book said."""
    desk = read_folder(folder)
    exchange = Exchange(GivenMarket(desk.history, 7, desk.chains), {"DU123456": Decimal(1_000_000)}, FRIDAY, journal)
    server = await serve(exchange, clock="heartbeat")
    seen = {}
    try:
        book = await otsport.open_book(port=server.port).connect()
        while exchange.now < datetime(2014, 6, 6, 15, 10, tzinfo=timezone.utc):
            await book.refresh()
        assert (await book.buy("AAPL", 200)).accepted
        seen["chain"] = await book.chain("AAPL", days=14, width=0.1, right="C")
        assert (await book.sell(seen["chain"].nearest(0.3), 2)).accepted
        while exchange.now < session_close(FRIDAY):
            await book.refresh()
        seen |= {"positions": book.positions, "fills": book.fills, "told": repr(book), "executed": [e for e in exchange.state.fills]}
        with pytest.raises(DataError) as stopped:
            while True:
                await book.refresh()
        seen |= {"stopped": str(stopped.value), "broker": exchange.now}
        await book.disconnect()
    finally:
        server.close()
        await server.wait_closed()
        exchange.close()
    return seen


@pytest.fixture(scope="module")
def friday(aapl, tmp_path_factory):
    """A Friday on the real chain, and the folder in which it was traded."""
    path = tmp_path_factory.mktemp("aapl")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OTSPORT_HOME", raising=False)
        folder = aapl_folder(path / "desk", aapl)
        patch.chdir(folder)
        return folder, asyncio.run(covered_call(folder, path / "journal.jsonl")), (path / "journal.jsonl").read_bytes()


def test_a_covered_call_trades_and_is_marked_at_the_real_bid_and_ask(friday, aapl):
    folder, seen, _ = friday
    given, sold = bars(aapl[1]), [f for f in seen["executed"] if f.contract.is_option]
    assert sum(f.qty for f in sold) == 2 and {f.side for f in sold} == {Side.SELL}
    check_fills(seen["executed"], given)
    held = seen["positions"].set_index("contract")
    check_marks({key: row.mark for key, row in held.iterrows() if key != "AAPL"}, given, session_close(FRIDAY))
    assert held.loc["AAPL", "mark"] == Decimal("645.57") and held.loc["AAPL", "mark_from"] == "last price"
    call = sold[0].contract.key
    assert held.loc[call, "mark_from"] == "given quotes of chains/aapl.parquet"
    assert seen["fills"].set_index("contract")["quotes"].to_dict() == {"AAPL": "modelled", call: "given quotes of chains/aapl.parquet"}


def test_the_chain_in_one_call_is_the_real_one(friday, aapl):
    """Every option that the file has of that expiry and width, at the bid and ask of its row; pairs that it does not have say that they are not listed."""
    _, seen, _ = friday
    chain, given = seen["chain"], bars(aapl[1])
    assert chain.attrs["source"] == "given quotes of chains/aapl.parquet" and "quotes: given quotes of chains/aapl.parquet" in chain.attrs["caption"]
    listed = {option("AAPL", e.date(), Decimal(repr(k)), r).key for e, k, r in zip(given.expiry, given.strike, given.right)}
    told = chain.set_index("contract")
    mine = [key for key in told.index if key in listed]
    assert len(mine) > 15 and len(mine) < len(told)
    for key in mine:
        row = in_force(given, from_key(key), chain.attrs["as_of"])
        np.testing.assert_array_equal([told.bid[key], told.ask[key]], [row.bid_close, row.ask_close], err_msg=key)
    assert all("No security definition" in told.reason[key] for key in told.index if key not in listed), told.reason[~told.index.isin(mine)].iloc[0]


def test_quotes_of_another_hour_are_noticed(aapl, tmp_path, monkeypatch):
    """The same day on a table whose rows come an hour late: its fills and marks are not those of the file."""
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    folder = aapl_folder(tmp_path / "desk", aapl, shift=HOUR)
    monkeypatch.chdir(folder)
    seen, given = asyncio.run(covered_call(folder, None)), bars(aapl[1])
    with pytest.raises(AssertionError):
        check_fills(seen["executed"], given)
    held = seen["positions"].set_index("contract").drop(index="AAPL")
    with pytest.raises(AssertionError):
        check_marks(held["mark"].to_dict(), given, session_close(FRIDAY))
    late = given.assign(end=given.end + HOUR)
    check_fills(seen["executed"], late)
    check_marks(held["mark"].to_dict(), late, session_close(FRIDAY))


def test_the_same_day_again_is_the_same_to_the_byte(friday, aapl, tmp_path, monkeypatch):
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    folder = aapl_folder(tmp_path / "desk", aapl)
    monkeypatch.chdir(folder)
    asyncio.run(covered_call(folder, tmp_path / "journal.jsonl"))
    assert (tmp_path / "journal.jsonl").read_bytes() == friday[2] and len(friday[2]) > 1000


def test_the_day_after_the_split_is_stopped_by_name(friday, monkeypatch):
    """Nothing of Monday is done: neither by hand nor by a trading day."""
    folder, seen, _ = friday
    assert seen["broker"].astimezone(NEW_YORK).date() == MONDAY
    for words in ("session 2014-06-09: AAPL split in the night before 2014-06-09", "near 7:1", "prices/aapl.parquet", "200 AAPL", "-2 AAPL 20140621 C", "otsport desk split AAPL NEW:OLD --day 2014-06-09"):
        assert words in seen["stopped"], seen["stopped"]
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    monkeypatch.chdir(folder)
    params = resolve(read_paper(find_paper("trading_day")), {"run_date": "2014-06-09"})
    with open_store() as store, pytest.raises(DataError, match="AAPL split in the night before 2014-06-09"):
        check_book(store, params)


def test_prices_adjusted_for_a_split_do_not_go_with_quotes_that_are_not(aapl, tmp_path, monkeypatch):
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    folder = aapl_folder(tmp_path / "desk", aapl, splits="adjust")
    monkeypatch.chdir(folder)
    with pytest.raises(FolderError, match=r"book.yaml, line \d+: chains\[1\] = 'chains/aapl.parquet': its quotes of AAPL on 2014-06-06 speak of an underlying at 645.5\d dollars .* closes at 92.2\d, 7.00 times apart"):
        this_folder()


def test_the_listing_is_that_of_the_file(friday, aapl):
    """Before and after the split, nothing more and nothing less."""
    folder, _, _ = friday
    desk, given = read_folder(folder), pd.read_parquet(aapl[1])
    for day in (FRIDAY, MONDAY):
        exchange = Exchange(GivenMarket(desk.history, 7, desk.chains), {"DU1": Decimal(10_000)}, day)
        of_day = given[given.time.dt.date == day]
        wanted = {option("AAPL", e.date(), Decimal(repr(k)), r).key for e, k, r in zip(of_day.expiry, of_day.strike, of_day.right.astype(str))}
        assert {c.key for c in exchange.details("AAPL") if c.is_option} == wanted and len(wanted) > 2000
        assert all(exchange.listed(from_key(key)) for key in sorted(wanted)[::97])
    assert not exchange.listed(option("AAPL", "2014-06-21", 650, "C"))  # a strike of before the split


# ------------------------------------------------------------------ TWX, three trading days of the desk

@pytest.fixture(scope="module")
def twx(shared_data, tmp_path_factory):
    """Three sessions of `otsport run trading_day`: closes of the three days as traded; those before them, which no file has, are IBM's at TWX's level."""
    minutes = pd.read_parquet(shared_data / "equity_minute_trades.parquet").query("symbol == 'TWX'")
    regular = minutes[(minutes.time.dt.strftime("%H:%M") <= "16:00") & (minutes.time.dt.date <= MONDAY)]
    real = regular.groupby(regular.time.dt.date).close.last()
    before = pd.read_parquet(shared_data / "equity_daily.parquet").query("symbol == 'IBM' and date >= '2012-01-03' and date < '2014-06-05'")
    closes = pd.concat([pd.Series((before.close * 70.5 / before.close.iloc[-1]).round(2).to_numpy(), index=pd.DatetimeIndex(before.date)), real.set_axis(pd.DatetimeIndex(real.index))])
    file = shared_data / "twx_option_hour_quotes.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OTSPORT_HOME", raising=False)
        folder = make(tmp_path_factory.mktemp("twx") / "desk", closes.to_frame("TWX"), read_quotes(file, name="twx", symbol="TWX"), HOLD, adjusted="splits")
        done = typed(folder / "state", "run", "trading_day", "-p", "run_date=2014-06-09", "-p", "sessions=3", cwd=folder)
        assert done.returncode == 0, done.stderr
        patch.chdir(folder)
        with open_store() as store:
            return folder, read_days(store, this_folder().history, "main", 3), bars(file)


def test_three_days_of_a_covered_call_book_on_the_real_chain(twx):
    folder, (first, second, third), given = twx
    assert [d.session for d in (first, second, third)] == [date(2014, 6, 5), FRIDAY, MONDAY]
    assert verdict(folder / "state") == FAULTLESS and left_behind(folder / "state") == []
    shares = {d.session: {p.contract.key: p.qty for p in d.snapshot.positions if p.qty} for d in (first, second, third)}
    # Thursday: nothing had been quoted before the open, so shares are bought and no call is chosen
    assert list(shares[first.session]) == ["TWX"] and not [f for f in first.fills if f.contract.is_option]
    assert "NO_QUOTE" in [d.code for d in first.plan.decisions if d.subject == "TWX"]
    # Friday: the call is chosen from the quotes of Thursday's close, and sold at the bid in force
    call, = [key for key in shares[second.session] if key != "TWX"]
    check_fills(second.fills, given)
    assert 0 < -shares[second.session][call] * 100 <= shares[second.session]["TWX"]
    wish, = second.plan.wishes
    assert wish.contract.key == call and f"bid {in_force(given, wish.contract, session_close(first.session)).bid_close:.2f} dollars" in wish.reason
    marks = {p.contract.key: p for p in second.snapshot.positions}
    check_marks({call: marks[call].mark}, given, session_close(FRIDAY))
    assert marks[call].source == "given quotes of chains/twx.parquet" and marks["TWX"].source == "last price"
    # Monday: no table quotes it, and the mark says that it is modelled
    last = {p.contract.key: p for p in third.snapshot.positions if p.qty}
    assert last[call].source == "modelled: no quote in force in chains/twx.parquet" and last[call].mark > 0
    with pytest.raises(AssertionError):
        check_fills(second.fills, given.assign(end=given.end + HOUR))


def test_the_report_says_whose_quotes_they_were(twx):
    _, (_, second, third), _ = twx
    said = "given quotes of chains/twx.parquet"
    assert f"(quotes: {said})" in report.calls_table(second).html
    assert said in report.fills_table(second).html and said in report.positions_table(second).html
    assert "modelled: no quote in force in chains/twx.parquet" in report.positions_table(third).html
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OTSPORT_HOME", raising=False)
        assert report.vol_note(second, second.prices).startswith(f"Option quotes of TWX: {said}.")


# ------------------------------------------------------------------ made up: ages, mistakes, both kinds side by side

DAY, EXPIRY = date(2022, 12, 28), date(2023, 1, 20)
CALL = option("AAPL", EXPIRY, 130, "C")


def made_up(*rows):
    """A table of AAPL quotes: hour and minute (UTC), bid, ask, sizes."""
    frame = pd.DataFrame([(f"2022-12-28T{at}:00Z", EXPIRY, 130.0, "C", *rest) for at, *rest in rows], columns=["time", "expiry", "strike", "right", "bid", "ask", "bid_size", "ask_size"])
    return read_quotes(frame, symbol="AAPL", name="aapl")


def quoted_at(market, hour, minute=0):
    steps = market.session_steps(DAY)
    return market.quote(CALL, DAY, steps.index(datetime(2022, 12, 28, hour, minute, tzinfo=timezone.utc)))


def test_a_row_is_in_force_until_the_next_and_not_for_ever():
    market = GivenMarket(history(), 7, chain_history(made_up(("15:00", 2.5, 2.6, 3, 4), ("15:30", 2.4, 2.5, 3, 4))), timedelta(minutes=45))
    told = {(h, m): quoted_at(market, h, m).bid for h, m in ((14, 55), (15, 0), (15, 25), (15, 30), (16, 10), (16, 15), (21, 0))}
    assert {k: v for k, v in told.items() if v == v} == {(15, 0): 2.5, (15, 25): 2.5, (15, 30): 2.4, (16, 10): 2.4}
    assert all(quoted_at(market, h).source == "given" for h in (15, 20))
    assert market.quote(option("KO", EXPIRY, 65, "C"), DAY, 40).source == "modelled"


def test_no_quote_trades_nothing_and_is_valued_at_its_exercise_value():
    market = GivenMarket(history(), 7, chain_history(made_up(("15:00", 2.5, 2.6, 3, 4))))
    exchange, heard = Exchange(market, {"DU1": Decimal(500_000)}, DAY), []
    exchange.listen(lambda e: heard.append(e) if isinstance(e, Execution) and e.contract.is_option else None)
    while exchange.now < datetime(2022, 12, 28, 15, 0, tzinfo=timezone.utc):
        exchange.advance()
    exchange.place(Ticket("DU1", 1, 1, CALL, Side.BUY, Decimal(4), OrderType.MARKET, None))
    assert [(f.qty, f.price) for f in heard] == [(4, Decimal("2.60"))]
    while exchange.now < datetime(2022, 12, 28, 16, 30, tzinfo=timezone.utc):
        exchange.advance()
    exchange.place(Ticket("DU1", 1, 2, CALL, Side.SELL, Decimal(4), OrderType.MARKET, None))
    exchange.place(Ticket("DU1", 1, 3, CALL, Side.BUY, Decimal(1), OrderType.MARKET, None))
    while exchange.is_open:
        exchange.advance()
    assert len(heard) == 1
    spot = exchange.quote(stock("AAPL")).last
    assert exchange.mark(CALL) == Decimal(str(max(round(spot - 130, 2), 0))) and exchange.values("DU1").net_liquidation > 0


def test_a_price_between_ticks_is_met_at_the_worse_tick():
    market = GivenMarket(history(), 7, chain_history(made_up(("15:00", 3.43, 3.52, 3, 4))))
    exchange, heard = Exchange(market, {"DU1": Decimal(500_000)}, DAY), []
    exchange.listen(lambda e: heard.append((e.side, e.price)) if isinstance(e, Execution) else None)
    while exchange.now < datetime(2022, 12, 28, 15, 0, tzinfo=timezone.utc):
        exchange.advance()
    exchange.place(Ticket("DU1", 1, 1, CALL, Side.BUY, Decimal(2), OrderType.MARKET, None))
    exchange.place(Ticket("DU1", 1, 2, CALL, Side.SELL, Decimal(1), OrderType.MARKET, None))
    assert heard == [(Side.BUY, Decimal("3.55")), (Side.SELL, Decimal("3.40"))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A desk folder with a table of AAPL quotes on its shelf, not yet named in book.yaml."""
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    made = new_folder(tmp_path / "desk").path
    keep(made_up(("15:00", 2.5, 2.6, 3, 4)), made)
    monkeypatch.chdir(made)
    return made


def test_a_folder_names_its_quotes_and_says_where_each_is_from(folder):
    before = dict(resolve(read_paper(find_paper("trading_day")), {}).rules)
    assert this_folder().chains is None and this_folder().quoted(True) == (("", "modelled"),) and "chains" not in before
    change(folder / "book.yaml", "chains: []", "chains: [chains/aapl.parquet]")
    assert this_folder().chains.symbols == ("AAPL",)
    assert this_folder().quoted(True) == (("AAPL", "given quotes of chains/aapl.parquet"), ("", "modelled"))
    assert this_folder().quoted(False) == (("", "live"),)
    assert dict(resolve(read_paper(find_paper("trading_day")), {}).rules)["chains"] == "chains/aapl.parquet for 60 minutes"


MISTAKES = [
    ("chains: [chains/aapl.parq]", "chains[1] = 'chains/aapl.parq': there is no such file in "), ("chains: [chains/appl.parquet]", "did you mean chains/aapl.parquet? there are chains/aapl.parquet; take quotes in with"),
    ("chains: [chains/aapl.parquet, chains/aapl.parquet]", "chains[2] = 'chains/aapl.parquet': it is listed twice"), ("chains: chains/aapl.parquet", "write a list as [chains/aapl.parquet], or []"),
    ("chain: [chains/aapl.parquet]", "there is no such field here: did you mean chains?"),
]


@pytest.mark.parametrize("line, words", MISTAKES)
def test_a_mistake_in_the_chains_is_told_with_its_line(folder, line, words):
    change(folder / "book.yaml", "chains: []", line)
    number = next(i for i, text in enumerate((folder / "book.yaml").read_text().splitlines(), 1) if text == line)
    with pytest.raises(FolderError) as caught:
        this_folder()
    assert str(caught.value).startswith(f"book.yaml, line {number}: ") and words in str(caught.value), str(caught.value)


def test_an_hour_of_validity_is_a_number_of_minutes(folder):
    change(folder / "book.yaml", "chain_minutes: 60 ", "chain_minutes: 0 ")
    with pytest.raises(FolderError, match="chain_minutes = 0: input should be greater than 0: write minutes, for example 60"):
        this_folder()


def test_quotes_of_what_has_no_prices_are_refused(folder):
    frame = pd.DataFrame([("2022-12-28T15:00:00Z", EXPIRY, 130.0, "C", 2.5, 2.6)], columns=["time", "expiry", "strike", "right", "bid", "ask"])
    keep(read_quotes(frame, symbol="APL", name="apl"), folder)
    change(folder / "book.yaml", "chains: []", "chains: [chains/apl.parquet]")
    with pytest.raises(FolderError, match="its quotes are of APL, of which sample has no prices: did you mean AAPL?"):
        this_folder()


def test_parity_speaks_of_the_underlying():
    """640 + 12 - 6.5; a table of calls alone speaks of nothing."""
    rows = [("2014-06-06T20:00:00Z", "2014-06-21", 640.0, r, m - 0.1, m + 0.1) for r, m in (("C", 12.0), ("P", 6.5))]
    frame = pd.DataFrame(rows, columns=["time", "expiry", "strike", "right", "bid", "ask"])
    spots = parity_spots(chain_history(read_quotes(frame, symbol="AAPL")).by_symbol["AAPL"])
    assert spots.round(9).to_dict() == {FRIDAY: 645.5}
    assert parity_spots(chain_history(read_quotes(frame[frame.right == "C"], symbol="AAPL")).by_symbol["AAPL"]).empty
