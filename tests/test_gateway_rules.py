"""The rules of the simulated exchange, one by one, against values that a pencil gives; each test takes milliseconds."""
import random
from dataclasses import replace
from datetime import date
from decimal import Decimal as D
from zlib import crc32

import pytest
from exchange_support import CALL, EXPIRY, KO, LAST, LATER_CALL, PUT, THURSDAY, StillMarket, ticket

from otsport.analytics.margin import margin_of
from otsport.analytics.margin_rules import STAGES
from otsport.core.calendars import session_close, session_open
from otsport.core.contracts import Quote, Right, option, stock
from otsport.core.errors import BrokerError, InputError, NoPrices
from otsport.core.orders import OrderType, Side
from otsport.core.venues import commission_due, commission_estimate, exact_mark, stock_tick, tick_of
from otsport.gateway.accounts import Book, State, apply, move, portfolio_line
from otsport.gateway.exchange import Exchange
from otsport.gateway.funds import buy_cost, requirements, short_after, still_to_sell, uncovered
from otsport.gateway.journal import Clock, Execution, Opened, OrderUpdate, Received, Refusal
from otsport.gateway.listing import HASHED, contract_number, in_chain, is_monthly, symbol_of
from otsport.gateway.matching import affordable, close_events, marketable, match, option_expiry, touch

NOW = session_open(THURSDAY)
DEEP = option("KO", EXPIRY, 55, "C")


def venue(market: StillMarket | None = None, cash: str = "100000", session: date = THURSDAY, more: dict | None = None) -> Exchange:
    "An exchange at the open, with one account."
    exchange = Exchange(market or StillMarket(), {"DU1": D(cash)} | (more or {}), session)
    exchange.advance()
    return exchange


def until_close(exchange: Exchange) -> Exchange:
    while exchange.now < session_close(exchange.session):
        exchange.advance()
    return exchange


def cash(exchange: Exchange, account: str = "DU1") -> D:
    return exchange.values(account).cash


def held(exchange: Exchange, account: str = "DU1") -> dict:
    return {h.contract: h.qty for h in exchange.holdings(account)}


# ---------------------------------------------------------------- fees

@pytest.mark.parametrize("contract, qty, value, fee", [
    (KO, 100, 6002, "1.00"), (KO, 200, 12000, "1.00"), (KO, 201, 12060, "1.01"), (KO, 333, 19980, "1.67"), (KO, 331, 19860, "1.66"), (KO, 1000, 60000, "5.00"),
    (KO, 1, 60, "0.60"), (KO, 1, 100, "1.00"), (KO, 1000, 270, "2.70"),
    (CALL, 1, 120, "1.00"), (CALL, 2, 240, "1.30"), (CALL, 10, 1200, "6.50"), (CALL, 1, 5, "1.00"),
])  # fmt: skip
def test_commission_is_that_of_the_fixed_plan(contract, qty, value, fee):
    assert commission_due(contract, D(qty), D(value)) == D(fee)


def test_estimate_is_never_below_the_commission():
    assert [commission_estimate(KO, D(n)) for n in (0, 1, 201, 333)] == [D(0), D("1.00"), D("1.01"), D("1.67")]
    assert [commission_estimate(CALL, D(n)) for n in (1, 3)] == [D("1.00"), D("1.95")]


def test_parts_of_an_order_pay_what_the_whole_pays():
    "333 shares in two parts: 300 cost 1.50, all cost 1.665, half a cent goes up; so the second part pays 0.17."
    market = StillMarket()
    market.said[1, "KO"] = (60.00, 60.02, 300, 300)
    exchange = venue(market)
    exchange.place(ticket(1, "BUY", 333))
    exchange.advance()
    assert [(e.qty, exchange.commission(e.exec_id).amount) for e in exchange.executions()] == [(300, D("1.50")), (33, D("0.17"))]
    assert cash(exchange) == D("100000") - 333 * D("60.02") - D("1.67")


# ---------------------------------------------------------------- positions and what they cost

def test_position_moves_through_zero():
    book = Book(D(0), D(0))
    assert move(book, KO, D(100), D(60)) is None and (book.qty[KO], book.cost[KO]) == (100, 6000)
    assert move(book, KO, D(50), D(63)) is None and book.cost[KO] == 9150
    assert move(book, KO, D(-30), D(65)) == 1950 - 30 * 61  # the average cost is 61
    assert (book.qty[KO], book.cost[KO]) == (120, 7320)
    assert move(book, KO, D(-200), D(60)) == -120  # 120 are closed a dollar below cost, 80 are short from here
    assert (book.qty[KO], book.cost[KO], book.realized[KO]) == (-80, -4800, 0)
    assert move(book, KO, D(80), D(59)) == 80 and book.qty == {} and book.cost == {}
    assert book.realized[KO] == 80


def test_short_option_realizes_its_premium():
    book = Book(D(0), D(0))
    move(book, CALL, D(-2), D("1.20"))
    assert book.cost[CALL] == -240
    assert move(book, CALL, D(1), D("0.20")) == 100 and book.cost[CALL] == -120
    line = portfolio_line(book, CALL, D("1.50"))
    assert (line.qty, line.value, line.avg_cost, line.unrealized, line.realized) == (-1, -150, D("1.20"), -30, 100)


def test_values_are_cash_and_marks():
    exchange = venue()
    exchange.place(ticket(1, "BUY", 100))
    exchange.place(ticket(2, "SELL", 1, LATER_CALL))
    values = exchange.values("DU1")
    assert values.cash == D("100000") - 6002 - 1 + 120 - 1 == values.buying_power
    assert values.net_liquidation == values.cash + 6001 - D("122.50")  # the stock at its last, the call at the middle of 1.20 and 1.25
    assert [(line.contract, line.value, line.unrealized) for line in exchange.portfolio("DU1")] == [(KO, 6001, -1), (LATER_CALL, D("-122.50"), D("-2.50"))]


# ---------------------------------------------------------------- may it enter

@pytest.mark.parametrize("wrong, code, words", [
    (ticket(1, "BUY", 1, account="DU9"), 321, "DU9"), (ticket(1, "BUY", 1, account=""), 321, "blank"), (ticket(1, "BUY", 1, stock("XYZ")), 200, "not listed"),
    (ticket(1, "BUY", 0), 434, "not positive"), (ticket(1, "BUY", -1), 434, "not positive"), (ticket(1, "BUY", "NaN"), 434, "not positive"), (ticket(1, "BUY", "Infinity"), 434, "not positive"),
    (ticket(1, "BUY", "1.5"), 10318, "fractional"), (ticket(1, "BUY", 1, tif="IOC"), 321, "IOC"),
    (ticket(1, "BUY", 1, limit="NaN"), 321, "NaN"), (ticket(1, "BUY", 1, limit="Infinity"), 321, "Infinity"), (replace(ticket(1, "BUY", 1), order_type=OrderType.LIMIT), 321, "None"),
    (replace(ticket(1, "BUY", 1, limit="60.00"), order_type=OrderType.MARKET), 321, "MKT"),
    (ticket(1, "BUY", 1, limit="0"), 110, "variation"), (ticket(1, "BUY", 1, limit="-60.00"), 110, "variation"), (ticket(1, "BUY", 1, limit="60.005"), 110, "0.01"),
    (ticket(1, "BUY", 1, CALL, limit="3.02"), 110, "0.05"), (ticket(1, "BUY", 1, CALL, limit="1.205"), 110, "0.01"),
])  # fmt: skip
def test_malformed_order_is_refused_with_its_code(wrong, code, words):
    exchange = venue()
    update = exchange.place(wrong)
    assert (update.status, update.code) == ("Inactive", code) and words in update.message
    assert cash(exchange) == 100000 and not exchange.open_orders() and not exchange.executions()


@pytest.mark.parametrize("limit", ["0.0101", "0.9999", "1.01", "60.00"])
def test_stock_limit_on_its_tick_enters(limit):
    assert venue().place(ticket(1, "BUY", 1, limit=limit)).status in ("Submitted", "Filled")


@pytest.mark.parametrize("limit", ["2.99", "3.00", "3.05"])
def test_option_limit_on_its_tick_enters(limit):
    assert venue().place(ticket(1, "BUY", 1, CALL, limit=limit)).code == 0


def test_index_options_have_ticks_of_their_own():
    "SPX trades in nickels below 3 dollars and in dimes above (Cboe)."
    spx = option("SPX", EXPIRY, 3800, "C")
    exchange = venue()
    codes = [exchange.place(ticket(n, "BUY", 1, spx, limit=p)).code for n, p in enumerate(("2.95", "2.96", "4.10", "4.05"), 1)]
    assert codes == [0, 110, 0, 110]


# ---------------------------------------------------------------- cash and cover

def test_limit_buy_needs_price_and_commission():
    "100 at 60.02 are 6,002 and a commission of 1."
    assert venue(cash="6003.00").place(ticket(1, "BUY", 100, limit="60.02")).code == 0
    refused = venue(cash="6002.99").place(ticket(1, "BUY", 100, limit="60.02"))
    assert refused.code == 201 and "0.01 dollars are missing" in refused.message and "6002.99" in refused.message


def test_market_buy_needs_the_ask_plus_five_percent():
    "60.02 x 1.05 = 63.021, 100 are 6,302.10, commission 1."
    assert venue(cash="6303.10").place(ticket(1, "BUY", 100)).status == "Filled"
    assert venue(cash="6303.09").place(ticket(1, "BUY", 100)).code == 201


def test_working_buys_of_this_account_reserve_their_cash():
    "80,008 dollars are reserved of 100,000 (1,600 x 50.00 and a commission of 8.00), so 19,992 are free; 499 x 40.00 and 2.50 fit, 500 do not."
    exchange = venue(more={"DU2": D(50_000)})
    exchange.place(ticket(1, "BUY", 1600, limit="50.00"))
    assert exchange.place(ticket(2, "BUY", 500, limit="40.00")).code == 201
    assert exchange.place(ticket(3, "BUY", 499, limit="40.00")).code == 0
    assert exchange.place(ticket(4, "BUY", 1249, limit="40.00", account="DU2")).code == 0  # the other account is free
    exchange.cancel(1, 1)
    assert exchange.place(ticket(5, "BUY", 500, limit="40.00")).code == 0


def test_partly_filled_buy_reserves_only_its_rest():
    "1,000 wished, 500 filled at 60.02 (30,010 and 2.50); the rest at the limit of 60.05 is 30,025 and 2.50 more."
    exchange = venue(cash="61000")
    exchange.place(ticket(1, "BUY", 1000, limit="60.05"))
    assert cash(exchange) == D("61000") - 30010 - D("2.50")
    assert D("61000") - 30010 - D("2.50") - 30025 - D("2.50") == 960  # free
    assert exchange.place(ticket(2, "BUY", 25, limit="38.37")).code == 201  # 959.25 and 1.00
    assert exchange.place(ticket(3, "BUY", 25, limit="38.36")).code == 0  # 959.00 and 1.00


def test_cost_of_the_rest_of_a_buy():
    "50 of 150 are filled for 3,000 with 1.00 paid; 100 at 60 and 5% are 6,300, the whole commission stays 1.00."
    rest = buy_cost(ticket(1, "BUY", 150), D(50), D(3000), D("1.00"), D(60))
    assert rest == D("6300.00")
    assert buy_cost(ticket(1, "BUY", 2, CALL, limit="1.25"), D(0), D(0), D(0), D(9)) == 250 + D("1.30")


def test_calls_need_shares_that_nothing_else_pledges():
    exchange = venue()
    exchange.place(ticket(1, "BUY", 300))
    assert exchange.place(ticket(2, "SELL", 1, CALL)).status == "Filled"  # 100 pledged
    assert exchange.place(ticket(3, "SELL", 1, LATER_CALL, limit="9.00")).status == "Submitted"  # 100 more, working
    refused = exchange.place(ticket(4, "SELL", 101, limit="70.00"))
    assert refused.code == 201 and "1 shares of KO" in refused.message and "sold short" in refused.message
    assert exchange.place(ticket(5, "SELL", 100, limit="70.00")).code == 0  # the last free hundred
    refused = exchange.place(ticket(6, "SELL", 1, CALL))
    assert refused.code == 201 and "100 shares of KO" in refused.message and "against shares held" in refused.message
    exchange.cancel(1, 5)
    assert exchange.place(ticket(7, "SELL", 1, CALL)).code == 0


def test_adjusted_call_pledges_what_it_delivers():
    adjusted = option("KO", EXPIRY, 60, "C", trading_class="KO1", deliverable=150)
    book = Book(D(0), D(0), {KO: D(200)})
    assert uncovered(book, {adjusted: D(1)}, "KO") == -50
    assert uncovered(book, {adjusted: D(2)}, "KO") == 100
    assert uncovered(Book(D(0), D(0), {KO: D(200), adjusted: D(-1)}), {}, "KO") == -50
    assert uncovered(book, {CALL: D(1)}, "PEP") == 0  # another symbol


def test_long_calls_are_sold_without_shares():
    book = Book(D(0), D(0), {CALL: D(2)})
    assert short_after(book, {CALL: D(2)}) == {} and short_after(book, {CALL: D(3)}) == {CALL: 1}
    assert uncovered(book, {CALL: D(2)}, "KO") == 0 and uncovered(book, {CALL: D(3)}, "KO") == 100


def test_short_puts_are_secured_by_their_strike():
    "One put on 60 is secured by 6,000. Its premium of 120 less 1.00 comes on top of 6,100."
    exchange = venue(cash="6100")
    assert exchange.place(ticket(1, "SELL", 2, PUT)).code == 201
    assert exchange.place(ticket(2, "SELL", 1, PUT)).status == "Filled"
    assert cash(exchange) == 6219
    assert exchange.place(ticket(3, "BUY", 109, limit="2.00")).code == 0  # 218 and 1.00: what is free
    assert exchange.place(ticket(4, "BUY", 1, limit="0.50")).code == 201
    exchange.cancel(1, 3)
    assert exchange.place(ticket(5, "BUY", 110, limit="2.00")).code == 201  # 220 and 1.00
    assert exchange.place(ticket(6, "BUY", 1, PUT)).status == "Filled"  # the way out is paid by the security that it frees


def test_sells_of_another_account_pledge_nothing_here():
    exchange = venue(more={"DU2": D(50_000)})
    for n, account in ((1, "DU1"), (2, "DU2")):
        exchange.place(ticket(n, "BUY", 100, account=account))
    exchange.place(ticket(3, "SELL", 100, limit="70.00", account="DU2"))
    assert still_to_sell(exchange.state, "DU1") == {} and still_to_sell(exchange.state, "DU2") == {KO: 100}
    assert exchange.place(ticket(4, "SELL", 100, limit="70.00")).code == 0


# ---------------------------------------------------------------- matching

def order(side: str, qty: int, limit: str | None = None, contract=KO) -> OrderUpdate:
    return OrderUpdate(ticket(1, side, qty, contract, limit), 100001, "Submitted", D(0), D(qty), D(0), D(0), NOW)


def at(cash_: str, update: OrderUpdate, positions: dict | None = None) -> State:
    "A state with one working order."
    state = State()
    for e in (Opened("DU1", D(cash_), 0), Clock(THURSDAY, 1, NOW), Received(update.ticket, update.perm_id, "new", NOW), update):
        apply(state, e)
    state.books["DU1"].qty |= positions or {}
    state.books["DU1"].cost |= {c: D(0) for c in positions or {}}
    return state


QUOTE = Quote(KO, NOW, 60.00, 60.02, 300, 400, 60.01, 60.01, "modelled")


def test_touch_is_the_other_side():
    assert touch(QUOTE, Side.BUY) == (D("60.02"), 400) and touch(QUOTE, Side.SELL) == (D("60.00"), 300)
    assert touch(replace(QUOTE, ask=float("nan")), Side.BUY) == (0, 0) and touch(replace(QUOTE, bid=0.0), Side.SELL) == (0, 0)
    assert touch(replace(QUOTE, ask_size=0), Side.BUY) == (0, 0) and touch(replace(QUOTE, bid_size=float("nan")), Side.SELL) == (0, 0)


@pytest.mark.parametrize("side, limit, price, trades", [
    ("BUY", "60.02", "60.02", True), ("BUY", "60.01", "60.02", False), ("BUY", "60.03", "60.02", True), ("SELL", "60.00", "60.00", True), ("SELL", "60.01", "60.00", False),
    ("SELL", "59.00", "60.00", True), ("BUY", None, "999.00", True), ("SELL", None, "0.01", True),
])  # fmt: skip
def test_no_order_trades_through_its_limit(side, limit, price, trades):
    assert marketable(ticket(1, side, 1, limit=limit), D(price)) is trades
    side_price = {"ask": float(price), "bid": float(price) - 0.02} if side == "BUY" else {"bid": float(price), "ask": float(price) + 0.02}
    found = match(at("100000", order(side, 1, limit), {KO: D(1)}), 100001, replace(QUOTE, **side_price), NOW)
    assert bool(found) is trades
    if found:
        assert found[0].price == D(price)  # the quote's price, also when the limit was worse


def test_fill_is_execution_then_status_then_commission():
    trade, after, note = match(at("100000", order("BUY", 500, "60.05")), 100001, QUOTE, NOW)
    assert (trade.exec_id, trade.perm_id, trade.client_id, trade.order_id, trade.account, trade.side, trade.contract, trade.ts) == \
        (f"{crc32(b'DU1'):08x}.000186a1.0001.01", 100001, 1, 1, "DU1", Side.BUY, KO, NOW)
    assert (trade.qty, trade.price, trade.cum_qty, trade.avg_price, trade.cash) == (400, D("60.02"), 400, D("60.02"), -24008)
    assert (after.status, after.filled, after.remaining, after.avg_price, after.last_price) == ("Submitted", 400, 100, D("60.02"), D("60.02"))
    assert (note.exec_id, note.amount, note.realized, note.account) == (trade.exec_id, D("2.00"), None, "DU1")


def test_second_fill_adds_to_the_first():
    "400 at 60.02, then 100 at 60.07 is 60.03 on average: (24,008 + 6,007) / 500."
    state = at("100000", order("BUY", 500))
    for e in match(state, 100001, QUOTE, NOW):
        apply(state, e)
    apply(state, Clock(THURSDAY, 2, NOW))
    trade, after, note = match(state, 100001, replace(QUOTE, ask=60.07, ask_size=1000), NOW)
    assert (trade.exec_id, trade.qty, trade.cum_qty, trade.avg_price) == (f"{crc32(b'DU1'):08x}.000186a1.0002.01", 100, 500, D("60.03"))
    assert (after.status, after.filled, after.remaining, after.last_price, note.amount) == ("Filled", 500, 0, D("60.07"), D("0.50"))


def test_sell_tells_what_it_realized():
    state = at("0", order("SELL", 100), {KO: D(300)})
    state.books["DU1"].cost[KO] = D(18300)  # 61.00 a share
    trade, _, note = match(state, 100001, QUOTE, NOW)
    assert (trade.cash, note.realized) == (6000, -100)


def test_options_count_by_their_multiplier():
    state = at("1000", order("BUY", 2, "1.30", CALL))
    trade, after, note = match(state, 100001, Quote(CALL, NOW, 1.20, 1.25, 5, 5), NOW)
    assert (trade.cash, trade.avg_price, note.amount) == (-250, D("1.25"), D("1.30"))
    for e in (trade, after, note):
        apply(state, e)
    assert state.books["DU1"].cash == D("748.70") and state.books["DU1"].qty == {CALL: 2}


def test_displayed_size_is_taken_once_a_step_first_come_first_served():
    exchange = Exchange(StillMarket(), {"DU1": D(100_000)}, THURSDAY)
    for n, qty in ((1, 300), (2, 400), (3, 100)):
        exchange.place(ticket(n, "BUY", qty))
    exchange.advance()
    assert [(e.order_id, e.qty) for e in exchange.executions()] == [(1, 300), (2, 200)]
    assert exchange.place(ticket(4, "SELL", 500)).status == "Filled"  # the other side is untouched
    exchange.advance()
    assert [(e.order_id, e.qty) for e in exchange.executions()][3:] == [(2, 200), (3, 100)]


def test_calls_and_puts_have_sizes_of_their_own():
    exchange = venue(cash="100000")
    assert exchange.place(ticket(1, "BUY", 5, CALL)).status == "Filled"
    assert exchange.place(ticket(2, "BUY", 5, PUT)).status == "Filled" and exchange.place(ticket(3, "BUY", 1, CALL)).status == "Submitted"


def test_buy_is_cut_to_what_the_cash_pays():
    "6,003 pays 100 shares at 60.02 with a commission of 1.00; nothing is left for the next step, so the order ends."
    state = at("6003.00", order("BUY", 500))
    assert affordable(state, state.orders[100001], D(500), D("60.02")) == 100
    assert affordable(state, state.orders[100001], D(40), D("60.02")) == 40
    for e in match(state, 100001, replace(QUOTE, ask_size=500), NOW):
        apply(state, e)
    assert state.books["DU1"].cash == 0
    apply(state, Clock(THURSDAY, 2, NOW))
    (ended,) = match(state, 100001, QUOTE, NOW)
    assert (ended.status, ended.code, ended.filled, ended.remaining) == ("Cancelled", 201, 100, 400) and "cash no longer covers" in ended.message


@pytest.mark.parametrize("cash_, bought", [("6003.00", 100), ("6002.99", 99), ("60.62", 1), ("60.61", 0), ("0", 0)])
def test_affordable_to_the_cent(cash_, bought):
    "One share at 60.02 costs 60.62 with its commission of 1%."
    state = at(cash_, order("BUY", 500))
    assert affordable(state, state.orders[100001], D(500), D("60.02")) == bought


def test_cash_behind_short_puts_buys_nothing():
    state = at("6100", order("BUY", 10), {PUT: D(-1)})
    assert affordable(state, state.orders[100001], D(10), D("60.02")) == 1  # 100 are free
    back = at("6100", order("BUY", 2, None, PUT), {PUT: D(-1)})
    assert affordable(back, back.orders[100001], D(1), D("1.25")) == 1


def test_sell_whose_shares_are_gone_ends():
    state = at("0", order("SELL", 100), {KO: D(99)})
    (ended,) = match(state, 100001, QUOTE, NOW)
    assert (ended.status, ended.code) == ("Cancelled", 201) and "1 shares of KO" in ended.message
    assert len(match(at("0", order("SELL", 100), {KO: D(100)}), 100001, QUOTE, NOW)) == 3
    assert len(match(at("0", order("SELL", 1, None, PUT)), 100001, Quote(PUT, NOW, 1.20, 1.25, 5, 5), NOW)) == 3  # a put needs no shares


# ---------------------------------------------------------------- the life of an order

def test_held_order_meets_the_open():
    exchange = Exchange(StillMarket(), {"DU1": D(100_000)}, THURSDAY)
    assert exchange.place(ticket(1, "BUY", 100)).status == "PreSubmitted" and not exchange.executions()
    exchange.advance()
    assert exchange.state.orders[100001].status == "Filled" and exchange.executions()[0].ts == session_open(THURSDAY)


def test_day_order_ends_at_the_close_and_gtc_stays():
    exchange = venue()
    exchange.place(ticket(1, "BUY", 100, limit="10.00"))
    exchange.place(ticket(2, "BUY", 100, limit="10.00", tif="GTC"))
    until_close(exchange)
    [done] = exchange.completed_orders()
    assert (done.ticket.order_id, done.status, done.code, done.ts) == (1, "Cancelled", 202, session_close(THURSDAY)) and "expired" in done.message
    assert [u.ticket.order_id for u in exchange.open_orders()] == [2]


def test_order_after_the_close_trades_at_the_next_open():
    exchange = until_close(venue())
    assert exchange.place(ticket(1, "BUY", 100)).status == "PreSubmitted"
    while exchange.session == THURSDAY:
        exchange.advance()
    assert exchange.open_orders() and not exchange.state.fills
    exchange.advance()
    assert [e.ts for e in exchange.state.fills] == [session_open(EXPIRY)]


@pytest.mark.parametrize("changed, name", [
    ({"account": "DU2"}, "account"), ({"side": Side.SELL}, "side"), ({"contract": stock("SPX")}, "contract"), ({"order_ref": "other"}, "order_ref"),
])
def test_modify_cannot_make_another_order(changed, name):
    exchange = venue(more={"DU2": D(100_000)})
    exchange.place(ticket(1, "BUY", 100, limit="50.00", order_ref="mine"))
    refused = exchange.place(replace(ticket(1, "BUY", 100, limit="51.00", order_ref="mine"), **changed))
    assert isinstance(refused, Refusal) and refused.code == 105 and name in refused.message
    [still] = exchange.open_orders()
    assert (still.ticket.account, still.ticket.side, still.ticket.contract, still.ticket.limit_price, still.ticket.order_ref) == ("DU1", Side.BUY, KO, D("50.00"), "mine")


def test_modify_changes_price_quantity_and_what_is_left():
    exchange = venue()
    exchange.place(ticket(1, "BUY", 700, limit="60.02"))
    assert exchange.place(ticket(1, "BUY", 500, limit="60.02")).code == 201  # 500 are filled
    assert exchange.place(ticket(1, "BUY", 600, limit="50.00")).remaining == 100
    assert exchange.state.orders[100001].filled == 500 and exchange.state.orders[100001].ticket.limit_price == 50
    exchange.advance()
    assert exchange.place(ticket(1, "BUY", 600, limit="60.05")).status == "Filled"
    assert held(exchange) == {KO: 600} and exchange.place(ticket(1, "BUY", 900)).code == 104


def test_modified_order_does_not_stand_in_its_own_way():
    exchange = venue(cash="6003")
    exchange.place(ticket(1, "BUY", 100, limit="50.00"))
    assert exchange.place(ticket(1, "BUY", 100, limit="60.01")).code == 0  # 6,001 and 1.00
    assert exchange.place(ticket(1, "BUY", 101, limit="60.01")).code == 201
    assert exchange.open_orders()[0].ticket.qty == 100


def test_modify_of_a_finished_order():
    exchange = venue()
    exchange.place(ticket(1, "BUY", 1, limit="50.00"))
    assert exchange.cancel(1, 1).status == "Cancelled"
    assert exchange.place(ticket(1, "BUY", 1)).code == 103 and not exchange.executions()


def test_cancel_belongs_to_the_client_and_the_living():
    exchange = venue()
    exchange.place(ticket(1, "BUY", 1, limit="50.00"))
    assert (exchange.cancel(2, 1).code, exchange.cancel(1, 2).code) == (10147, 10147) and exchange.open_orders()
    done = exchange.cancel(1, 1)
    assert (done.status, done.code, done.filled) == ("Cancelled", 202, 0) and exchange.cancel(1, 1).code == 10148
    exchange.place(ticket(2, "BUY", 1))
    assert exchange.cancel(1, 2).code == 10148


def test_numbers_go_up():
    exchange = venue()
    assert exchange.next_order_id() == 1
    exchange.place(ticket(7, "BUY", 1))
    exchange.place(ticket(5, "BUY", 1, client_id=2))
    assert exchange.next_order_id() == 8
    assert [u.perm_id for u in exchange.state.orders.values()] == [100001, 100002]


# ---------------------------------------------------------------- expiry

@pytest.mark.parametrize("contract, qty, close, outcome, shares, moved", [
    (CALL, -1, "60.01", "assigned", -100, 6000), (CALL, -1, "60.00", "expired", 0, 0), (CALL, -1, "60.0099", "expired", 0, 0), (CALL, 2, "60.01", "exercised", 200, -12000),
    (PUT, -2, "59.99", "assigned", 200, -12000), (PUT, 1, "59.99", "exercised", -100, 6000), (PUT, -1, "60.00", "expired", 0, 0), (PUT, -1, "75.00", "expired", 0, 0), (CALL, 1, "45.00", "expired", 0, 0),
])  # fmt: skip
def test_a_cent_in_the_money_is_exercised(contract, qty, close, outcome, shares, moved):
    ended = option_expiry("DU1", contract, D(qty), D(close), NOW)
    assert (ended.outcome, ended.shares, ended.cash, ended.qty, ended.official_close) == (outcome, shares, moved, qty, D(close))


def test_adjusted_option_delivers_its_shares_for_its_strike():
    adjusted = option("KO", EXPIRY, 60, "C", trading_class="KO1", deliverable=150)
    ended = option_expiry("DU1", adjusted, D(1), D(61), NOW)
    assert (ended.shares, ended.cash) == (150, -6000)
    state = State()
    apply(state, Opened("DU1", D(10_000), 0))
    move(state.books["DU1"], adjusted, D(1), D(1))
    apply(state, ended)
    book = state.books["DU1"]
    assert (book.qty, book.cash, book.cost[KO]) == ({KO: 150}, 4000, 6000)


def test_covered_call_is_called_away():
    exchange = venue(StillMarket(KO="61.00"), session=EXPIRY)
    exchange.place(ticket(1, "BUY", 100))
    exchange.place(ticket(2, "SELL", 1, CALL))
    before, fills = cash(exchange), len(exchange.executions())
    until_close(exchange)
    assert held(exchange) == {} and cash(exchange) - before == 6000 and len(exchange.executions()) == fills
    assert exchange.state.books["DU1"].realized == {CALL: 120, KO: -2}  # the premium; bought at 60.02, delivered at 60


def test_only_what_expires_today_ends():
    exchange = venue(StillMarket(KO="61.00"))
    exchange.place(ticket(1, "BUY", 200))
    exchange.place(ticket(2, "SELL", 1, CALL))
    exchange.place(ticket(3, "SELL", 1, LATER_CALL))
    until_close(exchange)
    assert held(exchange) == {KO: 200, CALL: -1, LATER_CALL: -1}
    while exchange.session == THURSDAY:
        exchange.advance()
    until_close(exchange)
    assert held(exchange) == {KO: 100, LATER_CALL: -1}


def test_orders_on_what_expired_end_with_it():
    exchange = venue(session=EXPIRY)
    exchange.place(ticket(1, "SELL", 1, PUT, limit="9.00", tif="GTC"))
    exchange.place(ticket(2, "SELL", 1, option("KO", date(2023, 1, 20), 60, "P"), limit="9.00", tif="GTC"))
    ended = [e for e in close_events(exchange.state, lambda symbol: D(60), exchange.now)]
    assert [(e.ticket.order_id, "contract expired" in e.message) for e in ended] == [(1, True)]


# ---------------------------------------------------------------- what is listed, and under which number

def test_trading_classes_are_kept_apart():
    "2 SPX and 3 SPXW calls of one day and strike are two positions."
    exchange = venue(cash="1000000")
    am, pm = option("SPX", EXPIRY, 3800, "C"), option("SPX", EXPIRY, 3800, "C", trading_class="SPXW")
    assert exchange.place(ticket(1, "BUY", 2, am, order_ref="am")).status == exchange.place(ticket(2, "BUY", 3, pm, order_ref="pm")).status == "Filled"
    assert held(exchange) == {am: 2, pm: 3} and len({exchange.con_id(am), exchange.con_id(pm)}) == 2
    assert {h.contract.key for h in exchange.holdings("DU1")} == {"SPX 20221216 C 3800", "SPX 20221216 C 3800 class:SPXW"}
    for contract in (am, pm):
        assert exchange.details(con_id=exchange.con_id(contract)) == [contract]
    assert exchange.place(ticket(3, "SELL", 3, am, order_ref="over")).status == "Inactive"  # two are held


def test_every_contract_has_one_number():
    exchange = venue()
    every = exchange.details()
    numbers = {c.con_id for c in every}
    assert len(every) == len(numbers) == 3 + 2 * (2 * 3 * 2) + 2 * (2 * 2 * 2)
    assert all(exchange.details(con_id=c.con_id) == [c] and exchange.con_id(c) == c.con_id for c in every)


def test_numbers_of_ordinary_contracts_never_change():
    "By hand: place 2 of the symbols, month 395 since 1990, strike 60 in halves is 120, call 0 and put 1."
    assert contract_number(KO, ("AAPL", "KO")) == 2
    assert contract_number(CALL, ("AAPL", "KO")) == (2 << 23) + (395 << 13) + (120 << 1)
    assert contract_number(PUT, ("AAPL", "KO")) == (2 << 23) + (395 << 13) + (120 << 1) + 1
    assert [symbol_of(n, ("AAPL", "KO")) for n in (1, 2, 2 << 23, 3, 0)] == ["AAPL", "KO", "KO", "", ""]


@pytest.mark.parametrize("special", [
    option("KO", "2022-12-23", 60, "C"), option("KO", EXPIRY, 60, "C", trading_class="KO1"), option("KO", EXPIRY, 60, "C", deliverable=150), option("KO", EXPIRY, 60, "C", multiplier=10),
    option("KO", EXPIRY, "60.25", "C"), option("KO", EXPIRY, 4800, "C"),
])  # fmt: skip
def test_other_contracts_have_numbers_above(special):
    assert HASHED <= contract_number(special, ("KO",)) < 2**31


@pytest.mark.parametrize("day, monthly", [("2022-12-16", True), ("2022-12-15", False), ("2022-12-23", False), ("2022-12-09", False), ("2022-04-14", True), ("2022-04-15", True)])
def test_monthly_expiries(day, monthly):
    "Good Friday of 2022 was the third Friday of April: the options ended on Thursday."
    assert is_monthly(date.fromisoformat(day)) is monthly


def test_meeting_numbers_are_told_apart(monkeypatch):
    exchange = venue()
    monkeypatch.setattr("otsport.gateway.exchange.contract_number", lambda contract, symbols: HASHED + 7)
    assert [exchange.con_id(c) for c in (CALL, PUT, CALL, PUT)] == [HASHED + 7, HASHED + 8, HASHED + 7, HASHED + 8]


@pytest.mark.parametrize("stranger", [
    option("KO", EXPIRY, 61, "C"), option("KO", "2022-12-23", 60, "C"), option("KO", EXPIRY, 60, "C", trading_class="KO1"), option("KO", EXPIRY, 60, "C", multiplier=10),
    option("KO", EXPIRY, 60, "C", deliverable=150), option("XYZ", EXPIRY, 60, "C"), replace(KO, currency="EUR"), replace(CALL, currency="EUR"), stock("XYZ"),
])  # fmt: skip
def test_what_is_not_in_a_chain_is_not_listed(stranger):
    assert not venue().listed(stranger)


def test_what_is_listed_is_found():
    exchange = venue()
    assert exchange.listed(KO) and exchange.listed(CALL) and exchange.listed(stock("BRK B")) and exchange.listed(option("BRK B", EXPIRY, 60, "P"))
    assert in_chain(exchange.chain("KO"), CALL) and not in_chain(exchange.chain("BRK B"), CALL)
    assert [c.key for c in exchange.details("KO", "OPT", EXPIRY, right=Right.PUT)] == ["KO 20221216 P 55", "KO 20221216 P 60", "KO 20221216 P 65"]
    assert exchange.details("XYZ") == [] == exchange.details(con_id=HASHED - 1)


# ---------------------------------------------------------------- margin figures, modelled

def test_requirements_by_hand():
    "Dollars of net liquidation to open and to keep; the option's own value is in net liquidation already."
    prices = {KO: D(60), CALL: D("1.50"), DEEP: D("5.20"), PUT: D("1.40")}
    of = lambda **held: requirements({{"ko": KO, "call": CALL, "deep": DEEP, "put": PUT}[k]: D(v) for k, v in held.items()}, prices.get)
    assert of(ko=100) == (3000, 1500) and of(ko=-100) == (3000, 1800) and requirements({}, prices.get) == (0, 0)
    assert of(call=1) == (150, 150)  # paid in full
    assert of(call=-1) == of(put=-1) == (1200, 1200)  # 20% of 6,000 at the money
    assert of(deep=-1) == (1200, 1200)  # in the money: nothing taken off
    assert of(ko=100, call=-1) == (3000 - 150, 1500 - 150)  # covered
    assert of(call=-1, deep=1) == (520 - 150, 520 - 150)  # the lower call covers the higher: what the spread is worth
    assert of(call=1, deep=-1) == (500 - 520 + 150, 500 - 520 + 150)  # the width of 500 less what it was sold for


def test_the_figures_are_those_of_the_margin_of_the_kit():
    """One rule in one place: whatever `analytics.margin` asks for, the simulated broker shows."""
    rng, prices = random.Random(5), {KO: D(60), CALL: D("1.50"), LATER_CALL: D("2.00"), PUT: D("1.00"), DEEP: D("5.00")}
    for _ in range(20):
        held = {c: D(rng.choice([-3, -1, 1, 2])) * (100 if c == KO else 1) for c in rng.sample(list(prices), 4)}
        found = [margin_of(held, {c.key: float(x) for c, x in prices.items()}, stage).total for stage in STAGES]
        assert [float(x) for x in requirements(held, prices.get)] == pytest.approx(found, abs=0.005)


# ---------------------------------------------------------------- accounts that cannot be

@pytest.mark.parametrize("name", ["DU1,DU2", "../../x", "", " ", "DU 1", "DU1\n", "DU1\0", "D" * 17, "DÜ1"])
def test_name_that_is_no_account_is_refused(name):
    with pytest.raises(InputError, match="no account name"):
        Exchange(StillMarket(), {name: D(1)}, THURSDAY)


@pytest.mark.parametrize("amount, words", [("-0.01", "0 or more"), ("NaN", "finite"), ("Infinity", "finite")])
def test_cash_that_cannot_be_is_refused(amount, words):
    with pytest.raises(InputError, match=words):
        Exchange(StillMarket(), {"DU1": D(amount)}, THURSDAY)


def test_account_may_begin_with_nothing():
    assert Exchange(StillMarket(), {"DU1": D(0)}, THURSDAY).place(ticket(1, "BUY", 1)).code == 201


def test_balances_of_an_account_that_is_not_served():
    with pytest.raises(BrokerError, match="'DU9' is not served"):
        venue().values("DU9")


def test_clock_stops_where_prices_end():
    exchange = venue(session=LAST)
    for _ in range(10):
        exchange.advance()
    assert (exchange.session, exchange.step) == (LAST, 4)


def test_executions_of_an_account_and_since_an_instant():
    exchange = venue(more={"DU2": D(100_000)})
    exchange.place(ticket(1, "BUY", 1))
    exchange.advance()
    exchange.place(ticket(2, "BUY", 2, account="DU2"))
    later = exchange.now
    assert [e.order_id for e in exchange.executions()] == [1, 2] and [e.order_id for e in exchange.executions("DU2")] == [2]
    assert [e.order_id for e in exchange.executions(since=later)] == [2]
    assert isinstance(exchange.executions()[0], Execution)


# ---------------------------------------------------------------- edges that a careless change moves

def test_ticks_at_their_edges():
    "SEC rule 612: a cent from one dollar on. Penny program: five cents from three dollars on."
    assert [stock_tick(D(p)) for p in ("0.9999", "1", "1.01")] == [D("0.0001"), D("0.01"), D("0.01")]
    assert [tick_of(CALL, D(p)) for p in ("2.99", "3", "3.01")] == [D("0.01"), D("0.05"), D("0.05")]


def test_first_hashed_number_is_told_apart_too(monkeypatch):
    exchange = venue()
    monkeypatch.setattr("otsport.gateway.exchange.contract_number", lambda contract, symbols: HASHED)
    assert [exchange.con_id(c) for c in (CALL, PUT)] == [HASHED, HASHED + 1]


def test_every_arrival_stands_in_the_journal():
    exchange = venue()
    for qty in (1, 2):
        exchange.place(ticket(1, "BUY", qty, limit="50.00"))
    exchange.cancel(1, 1)
    exchange.place(ticket(1, "BUY", 3))
    assert [(e.kind, e.ticket.qty) for e in exchange.recorder.journal.read() if isinstance(e, Received)] == [("new", 1), ("modify", 2), ("duplicate", 3)]


def test_rolling_forward_closes_each_session_at_its_close(tmp_path):
    path = tmp_path / "j"
    exchange = Exchange(StillMarket(), {"DU1": D(100_000)}, THURSDAY, path)
    exchange.place(ticket(1, "BUY", 1, limit="10.00"))
    exchange.close()
    later = Exchange(StillMarket(), {"DU1": D(100_000)}, LAST, path)
    clocks = [(e.session, e.step) for e in later.recorder.journal.read() if isinstance(e, Clock)]
    assert clocks == [(THURSDAY, 0), (THURSDAY, 3), (EXPIRY, 0), (EXPIRY, 3), (date(2022, 12, 19), 0), (date(2022, 12, 19), 3), (LAST, 0)]
    assert later.state.orders[100001].ts == session_close(THURSDAY)
    later.close()


@pytest.mark.parametrize("cash_, seed, words", [("1", 0, "began with 100000"), ("100000", 5, "market seed 0, not 5")])
def test_journal_of_another_beginning_is_refused(tmp_path, cash_, seed, words):
    Exchange(StillMarket(), {"DU1": D(100_000)}, THURSDAY, tmp_path / "j").close()
    market = StillMarket()
    market.seed = seed
    with pytest.raises(BrokerError, match=words):
        Exchange(market, {"DU1": D(cash_)}, THURSDAY, tmp_path / "j")


def test_number_of_the_128th_symbol_s_options_is_hashed():
    symbols = tuple(f"S{n}" for n in range(128))
    numbers = [contract_number(option(symbol, EXPIRY, 60, "C"), symbols) for symbol in symbols[126:]]
    assert numbers[0] < HASHED <= numbers[1] < 2**31 and symbol_of(numbers[0], symbols) == "S126"
    assert numbers[1] - numbers[0] != 1 << 23  # where the next place would be


def test_mark_of_nothing_is_a_mark_and_a_missing_one_is_none():
    assert exact_mark(Quote(KO, NOW, 0.0, 0.0, last=0.0)) == 0
    with pytest.raises(NoPrices, match="no price to value"):
        exact_mark(Quote(CALL, NOW, float("nan"), float("nan")))


def test_calls_that_cash_pays_for_count_their_multiplier():
    for cash_, bought in (("1000.00", 3), ("331.00", 1), ("330.99", 0)):  # a call at 3.30 costs 330 dollars and one of commission, three 990 and 1.95
        state = at(cash_, order("BUY", 5, "3.30", CALL))
        assert affordable(state, state.orders[100001], D(5), D("3.30")) == bought
