"""The simulated exchange: cents and shares are never lost, refusals, expiry, and a journal that survives anything but tampering."""
import json
import os
import resource
import signal
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from exchange_support import CALL, CASH, EXPIRY, KO, LAST, LATER_CALL, PEP, PUT, THURSDAY, TapeMarket, ticket
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.calendars import session_close, session_open
from otsport.core.errors import BrokerError, DiskFull, InputError, NoPrices, NotASession, StoreError
from otsport.core.contracts import Right, option, stock
from otsport.core.orders import OrderType, Side
from otsport.gateway.exchange import Exchange
from otsport.gateway.journal import (
    Clock, CommissionNote, Execution, Journal, Opened, OptionExpiry, OrderUpdate, Received, Refusal, executions, read_journal, received_orders,
)


def started(market=None, journal=None, session=THURSDAY, cash=CASH) -> Exchange:
    return Exchange(market or TapeMarket(), cash, session, journal)


def to_open(exchange: Exchange) -> Exchange:
    while exchange.now < session_open(exchange.session):
        exchange.advance()
    return exchange


def to_close(exchange: Exchange) -> Exchange:
    while exchange.now < session_close(exchange.session):
        exchange.advance()
    return exchange


def to_next_session(exchange: Exchange) -> Exchange:
    session = exchange.session
    while exchange.session == session:
        exchange.advance()
    return exchange


# ---------------------------------------------------------------- arithmetic

def check_books(exchange: Exchange, events: list) -> None:
    "Cash, positions and orders must follow from the journal's own executions, commissions and expiries."
    trades = [e for e in events if isinstance(e, Execution)]
    notes = [e for e in events if isinstance(e, CommissionNote)]
    ends = [e for e in events if isinstance(e, OptionExpiry)]
    for account, opening in CASH.items():
        cash = opening + sum(e.cash for e in trades if e.account == account) - sum(e.amount for e in notes if e.account == account) + sum(e.cash for e in ends if e.account == account)
        assert exchange.values(account).cash == cash
        assert cash == cash.quantize(Decimal("0.01"))
        held: dict = {}
        for e in (e for e in trades if e.account == account):
            held[e.contract] = held.get(e.contract, Decimal(0)) + e.side.sign * e.qty
        for e in (e for e in ends if e.account == account):
            held[e.contract] = held.get(e.contract, Decimal(0)) - e.qty
            held[stock(e.contract.symbol)] = held.get(stock(e.contract.symbol), Decimal(0)) + e.shares
        assert {h.contract: h.qty for h in exchange.holdings(account)} == {c: q for c, q in held.items() if q}
    assert [n.exec_id for n in notes] == [t.exec_id for t in trades] and len({t.exec_id for t in trades}) == len(trades)


def cents_due(is_option: bool, units: int, value_cents: int) -> int:
    "The fixed plan in whole numbers: half a cent a share, 65 cents a contract, at least a dollar; for stocks at most 1%; half a cent goes up."
    if is_option:
        return max(100, 65 * units)
    tenths = min(max(1_000, 5 * units), value_cents // 10)  # tenths of a cent
    return (tenths + 5) // 10


def test_fee_plan_in_whole_numbers():
    "100 shares 1.00, 333 shares 1.665, one share of 60 dollars 0.60; 10 contracts 6.50."
    assert [cents_due(False, n, v) for n, v in ((100, 600_200), (333, 1_998_000), (1, 6_000))] == [100, 167, 60] and cents_due(True, 10, 120_000) == 650


def check_orders(exchange: Exchange, events: list) -> None:
    "Each order: fills add up, stay inside its limit, and its commission is that of the whole."
    trades = [e for e in events if isinstance(e, Execution)]
    paid = {e.exec_id: e.amount for e in events if isinstance(e, CommissionNote)}
    for update in exchange.state.orders.values():
        own = [t for t in trades if t.perm_id == update.perm_id]
        assert sum(t.qty for t in own) == update.filled and update.filled + update.remaining == update.ticket.qty
        assert (update.status == "Filled") == (update.remaining == 0)
        if own:
            value = sum(abs(t.cash) for t in own)
            assert sum(paid[t.exec_id] for t in own) * 100 == cents_due(update.ticket.contract.is_option, int(update.filled), int(value * 100))
            assert own[-1].cum_qty == update.filled


def check_cover(exchange: Exchange) -> None:
    "Never a debit, never a naked call, never stock short (no long option is exercised in these flows)."
    for account in CASH:
        held = {h.contract: h.qty for h in exchange.holdings(account)}
        shorts = {c: -q for c, q in held.items() if q < 0}
        assert all(c.is_option for c in shorts)
        puts = sum(100 * c.strike * q for c, q in shorts.items() if c.right is Right.PUT)
        assert exchange.values(account).cash >= puts
        assert held.get(KO, Decimal(0)) >= sum(100 * q for c, q in shorts.items() if c.right is Right.CALL)


order = st.tuples(
    st.sampled_from(["DU1", "DU2"]), st.sampled_from(["BUY", "SELL"]), st.sampled_from([KO, KO, PEP, CALL, PUT, LATER_CALL]),
    st.integers(1, 900), st.sampled_from([None, None, -5, 0, 3]), st.sampled_from(["DAY", "GTC"]),
)  # fmt: skip
action = st.one_of(st.tuples(st.just("place"), order), st.tuples(st.just("advance"), st.integers(1, 3)), st.tuples(st.just("cancel"), st.integers(1, 30)), st.tuples(st.just("modify"), st.integers(1, 30)))


def act(exchange: Exchange, what: str, how, number: int) -> None:
    "One random thing that a client or the clock does."
    if what == "advance":
        for _ in range(how):
            exchange.advance()
    elif what == "cancel":
        exchange.cancel(1, how)
    elif what == "modify":
        open_orders = exchange.open_orders()
        if open_orders:
            old = open_orders[how % len(open_orders)].ticket
            exchange.place(replace(old, qty=old.qty + how - 15))
    else:
        account, side, contract, qty, offset, tif = how
        qty = max(1, qty // 100) if contract.is_option else qty
        if contract.is_option and side == "BUY" and exchange.state.books[account].qty.get(contract, 0) >= 0:
            side = "SELL"  # no long options: their exercise may leave a debit, which is tested apart
        price = None if offset is None else Decimal(TapeMarket().cents(contract, exchange.session, exchange.step) + offset) / 100
        exchange.place(ticket(number, side, qty, contract, price, account=account, tif=tif, order_ref=f"r{number}"))


@settings(max_examples=60, deadline=None)
@given(st.lists(action, max_size=40), st.integers(0, 8))
def test_cash_and_positions_follow_from_executions(actions, seed):
    exchange = started(TapeMarket(seed))
    for number, (what, how) in enumerate(actions, 1):
        act(exchange, what, how, number)
        if not any(e.outcome == "exercised" for e in exchange.recorder.journal.read() if isinstance(e, OptionExpiry)):
            check_cover(exchange)
    events = exchange.recorder.journal.read()
    check_books(exchange, events)
    check_orders(exchange, events)
    received = [e for e in events if isinstance(e, Received)]
    assert len([e for e in received if e.kind == "new"]) == len(exchange.state.orders)


@pytest.mark.parametrize("lost", [Execution, CommissionNote])
def test_cash_check_notices_a_lost_event(lost):
    exchange = to_open(started())
    exchange.place(ticket(1, "BUY", 100))
    events = exchange.recorder.journal.read()
    check_books(exchange, events)
    with pytest.raises(AssertionError):
        check_books(exchange, [e for e in events if not isinstance(e, lost)])


def test_fills_stay_within_displayed_size_and_limit():
    exchange = started()
    for i in range(1, 6):
        exchange.place(ticket(i, "BUY", 300, limit="60.03"))
    to_next_session(exchange)
    taken: dict = {}
    for trade in (e for e in exchange.recorder.journal.read() if isinstance(e, Execution)):
        assert trade.price <= Decimal("60.03")
        taken[trade.ts] = taken.get(trade.ts, Decimal(0)) + trade.qty
    steps = exchange.market.session_steps(THURSDAY)
    assert taken and all(qty <= exchange.market.quote(KO, THURSDAY, steps.index(ts)).ask_size for ts, qty in taken.items())


def test_large_order_takes_the_displayed_size_of_each_step():
    exchange = started(cash={"DU1": Decimal(1_000_000)})
    exchange.place(ticket(1, "BUY", 5_000))
    exchange.place(ticket(2, "BUY", 5_000))
    to_close(exchange)
    sizes = [int(exchange.market.quote(KO, THURSDAY, step).ask_size) for step in range(1, 5)]
    assert [(e.order_id, int(e.qty)) for e in exchange.executions()] == [(1, size) for size in sizes]


def test_same_arrivals_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        exchange = started(journal=tmp_path / name)
        random_day(exchange)
        exchange.close()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    exchange = started(TapeMarket(seed=1), journal=tmp_path / "c")
    random_day(exchange)
    exchange.close()
    assert (tmp_path / "c").read_bytes() != (tmp_path / "a").read_bytes()


# ---------------------------------------------------------------- life of an order

def test_order_before_the_open_is_held_and_fills_at_the_open():
    exchange = started()
    assert exchange.place(ticket(1, "BUY", 100)).status == "PreSubmitted" and not exchange.executions()
    exchange.advance()
    assert exchange.now == session_open(THURSDAY)
    assert exchange.completed_orders()[0].status == "Filled" and exchange.executions()[0].ts == exchange.now


def test_day_order_expires_at_the_close_and_gtc_stays():
    exchange = started()
    exchange.place(ticket(1, "BUY", 100, limit="10.00"))
    exchange.place(ticket(2, "BUY", 100, limit="10.00", tif="GTC"))
    to_close(exchange)
    assert [(u.status, u.code, u.ts) for u in exchange.completed_orders()] == [("Cancelled", 202, session_close(THURSDAY))]
    assert "expired" in exchange.completed_orders()[0].message  # the adapter tells an expiry from a cancel by this word
    assert [u.ticket.order_id for u in to_next_session(exchange).open_orders()] == [2]


def test_order_after_the_close_waits_for_the_next_open():
    exchange = to_close(started())
    assert exchange.place(ticket(1, "BUY", 100)).status == "PreSubmitted"
    to_next_session(exchange)
    assert exchange.open_orders()
    exchange.advance()
    assert [e.ts for e in exchange.executions()] == [session_open(EXPIRY)]


def test_modify_changes_the_order_and_a_refused_modify_leaves_it():
    exchange = to_open(started())
    exchange.place(ticket(1, "BUY", 100, limit="50.00"))
    wrong = exchange.place(ticket(1, "BUY", 10_000, limit="50.00"))
    assert isinstance(wrong, Refusal) and wrong.code == 201
    assert exchange.place(ticket(1, "SELL", 100, limit="50.00")).code == 105
    assert exchange.open_orders()[0].ticket.qty == 100
    assert exchange.place(ticket(1, "BUY", 50, limit="61.00")).status == "Filled"
    assert exchange.place(ticket(1, "BUY", 60)).code == 104
    exchange.place(ticket(2, "BUY", 1, limit="50.00"))
    exchange.cancel(1, 2)
    assert exchange.place(ticket(2, "BUY", 1)).code == 103


def test_cancel_of_unknown_and_finished_orders_changes_nothing():
    exchange = to_open(started())
    exchange.place(ticket(1, "BUY", 1))
    before = deepcopy(exchange.state)
    assert (exchange.cancel(1, 2).code, exchange.cancel(2, 1).code, exchange.cancel(1, 1).code) == (10147, 10147, 10148)
    assert exchange.state == before


@pytest.mark.parametrize(("wrong", "code"), [
    (ticket(1, "BUY", 1, account="DU9"), 321), (ticket(1, "BUY", 1, account=""), 321), (ticket(1, "BUY", 1, stock("XYZ")), 200),
    (ticket(1, "BUY", 1, option("KO", date(2022, 12, 23), Decimal(60), "C")), 200), (ticket(1, "BUY", 0), 434), (ticket(1, "BUY", "NaN"), 434), (ticket(1, "BUY", "1.5"), 10318),
    (ticket(1, "BUY", 1, limit="60.005"), 110), (ticket(1, "BUY", 1, CALL, limit="3.02"), 110), (ticket(1, "BUY", 1, limit="-1"), 110), (ticket(1, "BUY", 1, tif="IOC"), 321),
    (ticket(1, "BUY", 10_000), 201), (ticket(1, "SELL", 1), 201), (ticket(1, "SELL", 1, CALL), 201), (ticket(1, "SELL", 17, PUT), 201),
    (replace(ticket(1, "BUY", 1), order_type=OrderType.LIMIT), 321),
])  # fmt: skip
def test_refused_order_is_inactive_with_its_code(wrong, code):
    exchange = to_open(started())
    update = exchange.place(wrong)
    assert (update.status, update.code) == ("Inactive", code) and update.message
    assert exchange.values("DU1").cash == CASH["DU1"] and not exchange.open_orders()
    assert exchange.place(ticket(2, "BUY", 1)).status == "Filled"  # the way is not blocked


def test_working_buys_reserve_their_cash():
    exchange = started()
    assert exchange.place(ticket(1, "BUY", 1600, limit="50.00")).code == 0  # 80,008 with commission
    assert exchange.place(ticket(2, "BUY", 500, limit="40.00")).code == 201  # 20,002.50: more than is left
    assert exchange.place(ticket(3, "BUY", 499, limit="40.00")).code == 0
    exchange.cancel(1, 1)
    assert exchange.place(ticket(4, "BUY", 500, limit="40.00")).code == 0


def test_calls_are_sold_only_against_free_shares():
    exchange = to_open(started())
    exchange.place(ticket(1, "BUY", 200, limit="60.10"))
    assert exchange.state.books["DU1"].qty[KO] == 200
    assert exchange.place(ticket(2, "SELL", 1, CALL, limit="2.00")).code == 0  # working: 100 pledged
    assert exchange.place(ticket(3, "SELL", 101)).status == "Inactive"
    assert exchange.place(ticket(4, "SELL", 1, LATER_CALL)).filled == 1
    assert exchange.place(ticket(5, "SELL", 1, CALL)).status == "Inactive"  # all pledged
    exchange.cancel(1, 2)
    assert exchange.place(ticket(6, "SELL", 101, limit="70.00")).status == "Inactive"
    assert exchange.place(ticket(7, "SELL", 100, limit="70.00")).code == 0  # the other hundred covers the short call
    assert exchange.place(ticket(8, "SELL", 1, CALL)).status == "Inactive"
    assert exchange.place(ticket(9, "BUY", 1, LATER_CALL)).filled == 1  # closing is always allowed
    assert exchange.place(ticket(10, "SELL", 1, CALL, limit="9.00")).code == 0


def test_buying_back_a_short_put_uses_the_cash_that_secured_it():
    exchange = to_open(started(cash={"DU1": Decimal(6_100)}))
    assert exchange.place(ticket(1, "SELL", 1, PUT)).filled == 1
    assert exchange.place(ticket(2, "BUY", 100, limit="1.00")).code == 0  # 101 dollars are free
    assert exchange.place(ticket(3, "BUY", 100, limit="2.00")).code == 201
    assert exchange.place(ticket(4, "BUY", 1, PUT)).filled == 1


def test_market_buy_that_the_cash_no_longer_covers_is_cut_and_cancelled():
    class Jump(TapeMarket):
        def cents(self, contract, day, step):
            return 6000 if step == 0 else 7000

    exchange = started(Jump(size=2000), cash={"DU1": Decimal("6372.50")})  # 91 shares cost 6,371.82 and 1.00
    exchange.place(ticket(1, "BUY", 100))  # 6,002 plus 5% is covered, 7,002 is not
    to_close(exchange)
    done = exchange.completed_orders()[0]
    assert (done.status, done.filled, done.code) == ("Cancelled", Decimal(90), 201)
    assert 0 <= exchange.values("DU1").cash < Decimal("70.02")


def test_net_liquidation_is_cash_plus_marks():
    exchange = to_close(random_day(started(), sessions=0))
    for account in CASH:
        values, lines = exchange.values(account), exchange.portfolio(account)
        assert values.net_liquidation == values.cash + sum(line.value for line in lines)
        assert all(line.mark == exchange.market.official_close(line.contract.symbol, THURSDAY) for line in lines if not line.contract.is_option)


# ---------------------------------------------------------------- option expiry

@pytest.mark.parametrize(("contract", "side", "shares_before", "shares_after", "cash_moves"), [
    (CALL, "SELL", 100, 0, Decimal(6000)), (CALL, "BUY", 0, 100, Decimal(-6000)), (PUT, "SELL", 0, 0, Decimal(0)), (PUT, "BUY", 100, 100, Decimal(0)),
])  # fmt: skip
def test_expiry_above_the_strike(contract, side, shares_before, shares_after, cash_moves):
    exchange = to_open(started(TapeMarket(drift=30), session=EXPIRY))
    if shares_before:
        exchange.place(ticket(1, "BUY", shares_before))
    assert exchange.place(ticket(2, side, 1, contract)).filled == 1
    cash, count = exchange.values("DU1").cash, len(exchange.executions())
    to_close(exchange)
    assert exchange.market.official_close("KO", EXPIRY) > 60
    assert {h.contract: h.qty for h in exchange.holdings("DU1")} == ({KO: Decimal(shares_after)} if shares_after else {})
    assert exchange.values("DU1").cash - cash == cash_moves and len(exchange.executions()) == count


def test_expiry_below_the_strike_assigns_the_put():
    exchange = to_open(started(TapeMarket(drift=-30), session=EXPIRY))
    exchange.place(ticket(1, "SELL", 2, PUT))
    cash = exchange.values("DU1").cash
    to_close(exchange)
    assert exchange.market.official_close("KO", EXPIRY) < 60
    assert [(h.contract, h.qty) for h in exchange.holdings("DU1")] == [(KO, Decimal(200))]
    assert exchange.values("DU1").cash == cash - 12_000


def test_expired_contract_is_no_longer_listed_and_its_gtc_order_ends():
    exchange = to_open(started(session=EXPIRY))
    exchange.place(ticket(1, "SELL", 1, PUT, limit="9.00", tif="GTC"))
    to_close(exchange)
    assert exchange.completed_orders()[0].status == "Cancelled"
    to_next_session(exchange)
    assert exchange.place(ticket(2, "SELL", 1, PUT)).code == 200


def test_held_strike_stays_listed_when_the_grid_moves():
    class Moved(TapeMarket):
        def chains(self, symbol, day):
            [chain] = super().chains(symbol, day)
            return (chain if day == THURSDAY else replace(chain, strikes=(Decimal(80),)),)

    exchange = to_open(started(Moved()))
    exchange.place(ticket(1, "SELL", 1, PUT))
    to_open(to_next_session(exchange))
    assert exchange.listed(PUT) and not exchange.listed(option("KO", EXPIRY, Decimal(55), "P"))
    assert exchange.place(ticket(2, "BUY", 1, PUT)).filled == 1
    assert not exchange.listed(PUT)


# ---------------------------------------------------------------- contracts

def test_details_and_contract_numbers_round_trip():
    exchange = started()
    every = exchange.details()
    assert len({c.con_id for c in every}) == len(every) == 2 * (1 + 2 * 3 * 2)
    for contract in every:
        assert exchange.details(con_id=contract.con_id) == [contract] and exchange.con_id(contract) == contract.con_id
    assert len(exchange.details("KO", "OPT", EXPIRY, right=Right.CALL)) == 3
    assert exchange.details("XYZ") == [] and exchange.details(con_id=99) == []


# ---------------------------------------------------------------- journal

def random_day(exchange: Exchange, sessions: int = 1, after: list | None = None) -> Exchange:
    "A day with everything in it; `after` receives (journal size, copy of the state) after each request and step."
    contracts = [KO, PEP, CALL, PUT]
    for number in range(1, 17):
        exchange.place(ticket(number, "SELL" if number % 5 in (3, 4) else "BUY", 40 * number, contracts[number % 2], order_ref=f"r{number}", account=("DU1", "DU2")[number % 2]))
        note(exchange, after)
        if number % 3 == 0:
            exchange.place(ticket(100 + number, "SELL", 1, contracts[2 + number % 2], limit="1.21", tif="GTC"))
            note(exchange, after)
        if number % 4 == 0:
            exchange.place(ticket(number, "BUY", 41 * number, PEP, account="DU1"))
            exchange.cancel(1, number - 1)
            note(exchange, after)
            exchange.advance()
            note(exchange, after)
    for _ in range(sessions):
        to_next_session(exchange)
        note(exchange, after)
    return exchange


def note(exchange: Exchange, after: list | None) -> None:
    if after is not None:
        after.append((exchange.recorder.journal.size, deepcopy(exchange.state)))


def test_journal_cut_after_every_line_gives_the_state_of_that_moment(tmp_path):
    after, path, cut = [], tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    exchange = started(journal=path)
    note(exchange, after)
    random_day(exchange, sessions=2, after=after)
    exchange.close()
    data = path.read_bytes()
    states, ends = dict(after), [i + 1 for i, b in enumerate(data) if b == 10]
    assert len(states) > 20 and any(s.fills for s in states.values())
    for end in ends:
        cut.write_bytes(data[:end])
        clocks = [e.session for events, _, _ in read_journal(data[:end]) for e in events if isinstance(e, Clock)]
        again = started(journal=cut, session=clocks[-1] if clocks else THURSDAY)
        again.close()
        if end in states:
            assert again.state == states[end]
            assert cut.read_bytes() == data[:end]
    assert states.keys() <= set(ends)


def test_journal_cut_inside_a_line_drops_that_line(tmp_path):
    path, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    exchange = to_close(random_day(started(journal=path), sessions=0))
    exchange.close()
    data = path.read_bytes()
    ends = [0] + [i + 1 for i, b in enumerate(data) if b == 10]
    for start, end in list(zip(ends, ends[1:]))[2:]:
        for inside in (start + 1, (start + end) // 2, end - 1):
            cut.write_bytes(data[:inside])
            again = started(journal=cut)
            again.close()
            assert cut.read_bytes() == data[:start]


def test_restarted_exchange_goes_on_as_the_one_that_was_not_killed(tmp_path):
    straight = random_day(started(journal=tmp_path / "a"), sessions=0)
    broken = random_day(started(journal=tmp_path / "b"), sessions=0)
    for _ in range(8):
        straight.advance()
        broken.close()
        broken = started(journal=tmp_path / "b", session=broken.session)
        broken.advance()
    assert (broken.session, broken.step) == (straight.session, straight.step) and broken.state == straight.state
    assert broken.next_order_id() == straight.next_order_id() == 116


@pytest.mark.parametrize("harm", ["digit", "line lost", "lines swapped", "line doubled", "head lost", "not json"])
def test_journal_damage_is_an_error_that_names_the_line(tmp_path, harm):
    path = tmp_path / "j.jsonl"
    exchange = random_day(started(journal=path))
    exchange.close()
    lines = path.read_bytes().splitlines(keepends=True)
    if harm == "digit":
        lines[5] = lines[5].replace(b'"qty":"', b'"qty":"1', 1)
    if harm == "line lost":
        del lines[5]
    if harm == "lines swapped":
        lines[5], lines[6] = lines[6], lines[5]
    if harm == "line doubled":
        lines.insert(5, lines[5])
    if harm == "head lost":
        del lines[0]
    if harm == "not json":
        lines[5] = b"hello\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(StoreError, match=r"line \d+ was changed, lost or swapped"):
        started(journal=path)
    path.unlink()
    started(journal=path).close()  # and the lock is free again


def test_journal_is_used_by_one_gateway_at_a_time(tmp_path):
    exchange = started(journal=tmp_path / "j")
    with pytest.raises(StoreError, match="in use by another gateway"):
        started(journal=tmp_path / "j")
    exchange.close()
    started(journal=tmp_path / "j").close()


@pytest.mark.skipif(os.name == "nt", reason="file size limits are POSIX")
def test_journal_is_as_before_when_a_line_does_not_fit(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append([Opened("DU1", Decimal(1), 0)])
    data, old = (tmp_path / "j").read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) + 9, old[1]))
    try:
        with pytest.raises(DiskFull, match="free space"):
            journal.append([Opened("DU2", Decimal(1), 0)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert (tmp_path / "j").read_bytes() == data
    journal.append([Opened("DU2", Decimal(1), 0)])
    assert len(list(read_journal((tmp_path / "j").read_bytes()))) == 2


@pytest.mark.skipif(os.name == "nt", reason="file size limits are POSIX")
@pytest.mark.parametrize("room", [0, 1, 200])
def test_journal_without_room_refuses_and_leaves_nothing_half_done(tmp_path, room):
    path = tmp_path / "j"
    exchange = to_open(started(journal=path))
    heard: list = []
    exchange.listen(heard.append)
    before, data = deepcopy(exchange.state), path.read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) + room, old[1]))
    try:
        for request in (lambda: exchange.place(ticket(1, "BUY", 100)), exchange.advance) if room < 100 else (lambda: exchange.place(ticket(1, "BUY", 100)),):
            with pytest.raises(DiskFull, match="nothing was done"):
                request()
            assert exchange.state == before and path.read_bytes() == data and not heard
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert exchange.place(ticket(1, "BUY", 100)).status == "Filled" and heard
    exchange.close()
    assert started(journal=path).state == exchange.state


_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from exchange_support import CASH, THURSDAY, TapeMarket, ticket
from otsport.gateway.exchange import Exchange
exchange = Exchange(TapeMarket(), CASH, THURSDAY, Path({path!r}))
exchange.listen(lambda message: print(type(message).__name__, getattr(message, "exec_id", ""), flush=True))
exchange.advance()
for number in range(1, 100_000):
    update = exchange.place(ticket(number, "BUY" if number % 2 else "SELL", 3, order_ref=f"r{{number}}"))
    print("placed", update.ticket.order_ref, flush=True)
    if number % 40 == 0 and exchange.step < 3: exchange.advance()
"""


@pytest.mark.parametrize("lines_before_kill", [3, 100, 341])
def test_killed_gateway_loses_nothing_that_it_told(tmp_path, lines_before_kill):
    path = tmp_path / "j.jsonl"
    child = subprocess.Popen([sys.executable, "-c", _CHILD.format(here=str(Path(__file__).parent), path=str(path))], stdout=subprocess.PIPE, text=True)
    told = [child.stdout.readline().split() for _ in range(lines_before_kill)]
    child.send_signal(signal.SIGKILL)
    told += [line.split() for line in child.communicate()[0].splitlines() if line.endswith(tuple("0123456789"))]
    exchange = started(journal=path)
    placed = {words[1] for words in told if words[0] == "placed"}
    done = {words[1] for words in told if words[0] == "Execution" and len(words) == 2 and len(words[1]) >= 25}
    assert placed <= {r.ticket.order_ref for r in received_orders(path)}
    assert done and done <= {e.exec_id for e in executions(path)}
    check_books(exchange, exchange.recorder.journal.read())


# ---------------------------------------------------------------- sessions

def test_roll_forward_expires_orders_and_options_of_the_sessions_between(tmp_path):
    path = tmp_path / "j"
    exchange = to_open(started(TapeMarket(drift=30), journal=path))
    exchange.place(ticket(1, "BUY", 200, limit="61.00"))
    exchange.place(ticket(2, "SELL", 1, CALL))
    exchange.place(ticket(3, "BUY", 10, limit="10.00"))
    exchange.place(ticket(4, "BUY", 10, limit="10.00", tif="GTC"))
    cash = exchange.values("DU1").cash
    exchange.close()
    later = started(TapeMarket(drift=30), journal=path, session=LAST)
    assert (later.session, later.step) == (LAST, 0)
    assert [u.ticket.order_id for u in later.open_orders()] == [4]
    assert [(h.contract, h.qty) for h in later.holdings("DU1")] == [(KO, Decimal(100))]
    assert later.values("DU1").cash == cash + 6000
    assert later.state.orders[100003].ts == session_close(THURSDAY)


def test_clock_stays_where_the_prices_end():
    exchange = started(session=LAST)
    for _ in range(20):
        exchange.advance()
    assert (exchange.session, exchange.now) == (LAST, exchange.market.session_steps(LAST)[-1])
    size = exchange.recorder.journal.size
    exchange.advance()
    assert exchange.recorder.journal.size == size


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"session": date(2022, 12, 14)}, BrokerError, "cannot go back"), ({"session": date(2022, 12, 17)}, NotASession, "Saturday"), ({"session": date(2022, 12, 21)}, NoPrices, "no prices"),
    ({"cash": {"DU1": Decimal(1)}}, BrokerError, "began with 100000"), ({"market": TapeMarket(seed=5)}, BrokerError, "market seed 0, not 5"), ({"cash": {}}, InputError, "no account"),
    ({"cash": {"DU3": 5.0}}, InputError, "float"),
])  # fmt: skip
def test_start_that_contradicts_the_journal_is_refused(tmp_path, change, error, words):
    started(journal=tmp_path / "j").close()
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(error, match=words):
        started(journal=tmp_path / "j", **change)
    assert (tmp_path / "j").read_bytes() == before
    started(journal=tmp_path / "j").close()


def test_account_that_is_not_named_is_not_served(tmp_path):
    started(journal=tmp_path / "j").close()
    exchange = started(journal=tmp_path / "j", cash={"DU2": CASH["DU2"]})
    assert exchange.accounts == ("DU2",)
    assert exchange.place(ticket(1, "BUY", 1)).code == 321
    with pytest.raises(BrokerError, match="is not served"):
        exchange.values("DU1")


# ---------------------------------------------------------------- audit view

def test_audit_view_shows_every_arrival_also_duplicates(tmp_path):
    exchange = to_open(started(journal=tmp_path / "j"))
    exchange.place(ticket(1, "BUY", 1, order_ref="a"))
    exchange.place(ticket(1, "BUY", 1, order_ref="a"))
    exchange.place(ticket(2, "SELL", 999, order_ref="b", client_id=7))
    assert [(r.ticket.order_ref, r.kind, r.ticket.client_id, r.ticket.account) for r in received_orders(tmp_path / "j")] == [("a", "new", 1, "DU1"), ("a", "duplicate", 1, "DU1"), ("b", "new", 7, "DU1")]
    assert [e.order_ref for e in executions(tmp_path / "j")] == ["a"]
    first = json.loads((tmp_path / "j").read_bytes().splitlines()[0])
    assert first["n"] == 0 and first["events"][0]["type"] == "Opened"
    assert sum(len(events) for events, _, _ in read_journal((tmp_path / "j").read_bytes())) > 5


def test_listeners_hear_fills_in_order_and_only_what_is_durable(tmp_path):
    path, heard = tmp_path / "j", []
    exchange = to_open(started(journal=path))
    exchange.listen(lambda message: heard.append((type(message), path.stat().st_size)))
    size = path.stat().st_size
    exchange.place(ticket(1, "BUY", 10))
    assert [kind for kind, _ in heard] == [OrderUpdate, Execution, OrderUpdate, CommissionNote]
    assert {at for _, at in heard} == {path.stat().st_size} and path.stat().st_size > size


def test_journal_that_cannot_be_opened_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "j"):
        with pytest.raises(StoreError, match="cannot be opened"):
            started(journal=path)
