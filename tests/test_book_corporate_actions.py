"""Life of positions: random sequences of trades and corporate actions against a model of single units, and against what real companies did."""
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from book_support import ACCOUNT, OPEN, PORTFOLIO
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.book.corporate_actions import adjust_option, adjusted, exchange, scaled_lots, spin_off, split
from otsport.book.ledger import (
    LotOrder, balances_after, book_again, book_correction, book_income, book_reversal, book_move, deposit, flow_of, positions_from, transfer_in, transfer_out, trial_balance,
)
from otsport.book.lifecycle import exercise, premium_in_basis, settle_in_cash
from otsport.book.snapshots import check_books, check_ledger, take_snapshot
from otsport.core.books import AccountValues, Holding, Lot, Position, TransactionKind
from otsport.core.contracts import option, stock
from otsport.core.errors import CheckFailed, InputError
from otsport.core.orders import Fill, Side

ZERO, PUT = Decimal(0), option("KO", date(2023, 1, 20), 60, "P")
events = st.one_of(
    st.tuples(st.just("trade"), st.integers(-9, 9).filter(bool), st.integers(100, 20_000), st.sampled_from(list(LotOrder))),
    st.tuples(st.just("split"), st.integers(2, 7)),
    st.tuples(st.just("dividend"), st.integers(1, 300)),
    st.tuples(st.just("rename")),
    st.tuples(st.just("spin off"), st.integers(1, 60)),
    st.tuples(st.just("transfer"), st.integers(1, 5), st.integers(100, 9_000)),
    st.tuples(st.just("leave"), st.integers(1, 5)),
    st.tuples(st.just("assigned"), st.integers(1, 3)),
)


class Book:
    "A ledger with its history, and beside it every single share as (what it cost, when it came)."

    def __init__(self):
        self.symbol, self.n, self.units, self.realized = "A", 0, [], Fraction(0)
        self.history = [deposit(ACCOUNT, PORTFOLIO, Decimal(10**9), OPEN, "opening").transaction]
        self.positions = {}

    @property
    def now(self):
        return OPEN + timedelta(minutes=self.n)

    def at(self, contract=None):
        contract = contract or stock(self.symbol)
        return self.positions.get(contract.key, Position(ACCOUNT, PORTFOLIO, contract))

    def book(self, *bookings):
        for booking in bookings:
            assert booking.before in (None, self.at(booking.after.contract) if booking.after else None)
            self.history.append(booking.transaction)
            if booking.after is not None:
                self.positions[booking.after.contract.key] = booking.after

    def trade(self, qty, cents, order):
        price = Decimal(cents) / 100
        kind = TransactionKind.BUY if qty > 0 else TransactionKind.SELL
        self.book(book_move(kind, f"t{self.n}", self.at(), Decimal(qty), price, self.now, order=order))
        self._units(qty, Fraction(price), order)

    def _units(self, qty, price, order=LotOrder.FIFO):
        sign = 1 if qty > 0 else -1
        for _ in range(abs(qty)):
            if self.units and (self.units[0][0] > 0) == (qty > 0) or not self.units:
                self.units.append((sign, price, self.n))
                continue
            pick = {LotOrder.FIFO: lambda u: u[2], LotOrder.LIFO: lambda u: -u[2],
                    LotOrder.HIGHEST_COST: lambda u: (round(-u[0] * u[1], 6), u[2])}[order]
            unit = min(self.units, key=pick)
            self.units.remove(unit)
            self.realized += unit[0] * (price - unit[1])

    def split(self, n):
        if self.units:
            self.book(split(self.at(), n, 1, self.now, f"s{self.n}"))
            self.units = [(sign, cost / n, day) for sign, cost, day in self.units for _ in range(n)]

    def dividend(self, cents):
        if qty := self.at().qty:
            amount = qty * Decimal(cents) / 100
            self.book(book_income(TransactionKind.DIVIDEND, f"d{self.n}", ACCOUNT, PORTFOLIO, amount, self.now, position=self.at()))

    def rename(self):
        if self.units:
            into = f"{self.symbol}{self.n}"
            self.book(*exchange(self.at(), self.at(stock(into)), self.at().qty, self.now, f"r{self.n}"))
            self.realized, self.symbol = Fraction(0), into

    def spin_off(self, percent):
        if self.units:
            self.book(*spin_off(self.at(), self.at(stock(f"KID{self.n}")), 1, 1, Decimal(percent) / 100, self.now, f"k{self.n}"))
            self.units = [(sign, cost * (100 - percent) / 100, day) for sign, cost, day in self.units]

    def transfer(self, qty, cents):
        if not self.units or self.units[0][0] > 0:
            lot = Lot(Decimal(qty), Decimal(cents) / 100, self.now)
            self.book(transfer_in(f"i{self.n}", self.at(), [lot], Decimal(50), self.now))
            self.units += [(1, Fraction(cents, 100), self.n)] * qty

    def leave(self, qty):
        if qty <= len(self.units) and self.units[0][0] > 0:
            self.book(transfer_out(f"o{self.n}", self.at(), Decimal(-qty), Decimal(50), self.now))
            self.units = sorted(self.units, key=lambda u: u[2])[qty:]

    def assigned(self, contracts):
        short = book_move(TransactionKind.SELL, f"p{self.n}", self.at(PUT), Decimal(-contracts), Decimal(2), self.now)
        self.book(short)
        self.book(*exercise(self.at(PUT), Decimal(contracts), self.at(stock("KO")), self.now, f"a{self.n}"))


def played(drawn):
    book = Book()
    for name, *values in drawn:
        book.n += 1
        getattr(book, name.replace(" ", "_"))(*values)
    return book


@settings(max_examples=60, deadline=None)
@given(st.lists(events, max_size=25))
def test_ledger_equals_the_model_of_single_units(drawn):
    book = played(drawn)
    held = book.at()
    assert held.qty == sum(unit[0] for unit in book.units)
    assert float(held.cost) == pytest.approx(float(sum(unit[0] * unit[1] for unit in book.units)), abs=2e-5)
    assert float(held.realized) == pytest.approx(float(book.realized), abs=2e-5)
    days = [lot.opened for lot in held.lots]
    assert days == sorted(days) and all(lot.qty for lot in held.lots)


@settings(max_examples=60, deadline=None)
@given(st.lists(events, max_size=25))
def test_books_balance_and_come_out_again_from_their_transactions(drawn):
    book = played(drawn)
    assert sum(trial_balance(book.history).values()) == 0
    balances = balances_after({}, book.history)
    assert balances.get("exchanged", ZERO) == 0
    check_ledger(ACCOUNT, PORTFOLIO, book.positions, book.history, balances)
    assert positions_from(book.history) == {key: p for key, p in sorted(book.positions.items())}


@settings(max_examples=40, deadline=None)
@given(st.lists(events, max_size=10), st.lists(events, max_size=10), st.integers(100, 20_000))
def test_snapshot_of_the_day_closes_and_agrees_with_the_broker(before, today, cents):
    first = played(before)
    marks = dict.fromkeys(first.positions, Decimal(50))
    cash = sum(t.cash for t in first.history)
    one = take_snapshot(ACCOUNT, PORTFOLIO, date(2022, 12, 28), first.now, cash, first.positions, marks, None, first.history, {})
    seen = len(first.history)
    for name, *values in today:
        first.n += 1
        getattr(first, name.replace(" ", "_"))(*values)
    moved = first.history[seen:]
    marks = dict.fromkeys(first.positions, Decimal(cents) / 100)
    cash += sum(t.cash for t in moved)
    two = take_snapshot(ACCOUNT, PORTFOLIO, date(2022, 12, 29), first.now, cash, first.positions, marks, one, moved, {})
    holdings = [Holding(ACCOUNT, p.contract, p.qty) for p in first.positions.values()]
    check_books(two, one, first.positions, moved, balances_after({}, first.history), holdings, AccountValues(ACCOUNT, two.nav, cash, cash))
    assert two.day_pnl == two.nav - one.nav - sum(map(flow_of, moved))
    assert two.income == sum(p.income for p in first.positions.values())


def test_a_lot_that_lost_a_cent_of_its_cost_is_found():
    "Negative control: the recomputation notices a split that kept too little."
    book = played([("trade", 3, 10_001, LotOrder.FIFO), ("split", 7)])
    held = book.at()
    lot = replace(held.lots[0], basis=(held.lots[0].basis or held.cost) - Decimal("0.01"))
    wrong = book.positions | {held.contract.key: replace(held, lots=(lot, *held.lots[1:]))}
    with pytest.raises(CheckFailed, match="cost stored"):
        check_ledger(ACCOUNT, PORTFOLIO, wrong, book.history, balances_after({}, book.history))


@pytest.mark.parametrize("qty, new, old, cash, kept, cost", [
    ("105", 1, 10, "12.40", "10", "1000.00"), ("-105", 1, 10, "-12.40", "-10", "-1000.00"),
    ("100", 3, 2, "0", "150", "1000.00"), ("7", 105, 100, "3.10", "7", "66.67"), ("1", 1, 3, "4", "0", "0.00"),
])
def test_splits_keep_the_cost_but_for_the_fraction(qty, new, old, cash, kept, cost):
    at = Position(ACCOUNT, PORTFOLIO, stock("XYZ"), (Lot(Decimal(qty), Decimal(10) if abs(Decimal(qty)) != 100 else Decimal(10), OPEN),))
    booked = split(at, new, old, OPEN, "s", Decimal(cash))
    assert booked.after.qty == Decimal(kept)
    assert booked.after.cost == Decimal(cost)
    assert booked.after.realized == Decimal(cash) - (at.cost - booked.after.cost)


def test_a_hundred_shares_become_seven_hundred_whatever_the_feed_calls_the_ratio():
    at = Position(ACCOUNT, PORTFOLIO, stock("AAPL"), (Lot(Decimal(100), Decimal("645.57"), OPEN),))
    assert split(at, 7, 1, OPEN, "s").after.qty == 700
    with pytest.raises(InputError, match="two whole numbers"):
        split(at, 7.000021, 1, OPEN, "s")


@pytest.mark.parametrize("lots", [[Lot(Decimal(-1), Decimal(5), OPEN)], [], [Lot(ZERO, Decimal(5), OPEN)]])
def test_transfers_of_nothing_or_the_other_side_are_refused(lots):
    with pytest.raises(InputError, match="transfer t of KO"):
        transfer_in("t", Position(ACCOUNT, PORTFOLIO, stock("KO"), (Lot(Decimal(1), Decimal(5), OPEN),)), lots, Decimal(5), OPEN)


# what real companies did

def actions(shared_data, symbol):
    "Days with a dividend (dollars a share) or a split (new, old), by the last day before."
    rows = pd.read_parquet(shared_data / "equity_factors.parquet").query("symbol == @symbol").reset_index(drop=True)
    for now, then in zip(rows.itertuples(), rows.iloc[1:].itertuples()):
        if (ratio := then.split_factor / now.split_factor) > 1.01:
            yield now.date, None, (round(ratio), 1)
        if (share := 1 - now.price_factor / then.price_factor) > 1e-9:
            yield now.date, now.reference_price * share, None


@pytest.mark.parametrize("symbol", ["AAPL", "IBM"])
def test_twenty_years_of_dividends_and_splits_reproduce_the_total_return(shared_data, symbol):
    closes = pd.read_parquet(shared_data / "equity_daily.parquet").query("symbol == @symbol").set_index("date").close
    rows = pd.read_parquet(shared_data / "equity_factors.parquet").query("symbol == @symbol")
    first, last = closes.index[0], closes.index[-1]
    start = datetime(1998, 1, 2, 21, tzinfo=timezone.utc)
    at = book_move(TransactionKind.BUY, "b", Position(ACCOUNT, PORTFOLIO, stock(symbol)), Decimal(1000), Decimal(str(closes[first])), start).after
    cash = ZERO
    for n, (day, dividend, ratio) in enumerate(actions(shared_data, symbol)):
        if not first < day < last:
            continue
        ts = day.tz_localize("UTC").to_pydatetime()
        if ratio:
            at = split(at, *ratio, ts, f"s{n}", keep_fractions=True).after
            continue
        paid = book_income(TransactionKind.DIVIDEND, f"d{n}", ACCOUNT, PORTFOLIO, (at.qty * Decimal(f"{dividend:.6f}")).quantize(Decimal("0.01")), ts, position=at)
        price = Decimal(f"{closes[:day].iloc[-1] - dividend:.4f}")
        more = (paid.transaction.cash / price).quantize(Decimal("1e-6"))
        again = book_move(TransactionKind.BUY, f"b{n}", paid.after, more, price, ts)
        at, cash = again.after, cash + paid.transaction.cash + again.transaction.cash
    factor = rows.price_factor * rows.split_factor
    earned = closes[last] / closes[first] * factor.iloc[-1] / factor.iloc[np.searchsorted(rows.date, first)]
    assert float(at.qty) * closes[last] / (1000 * closes[first]) == pytest.approx(earned, rel=2e-3)
    assert abs(cash) < 1
    assert at.income > 0


@pytest.fixture(scope="module")
def aapl_chain(shared_data):
    quotes = pd.read_parquet(shared_data / "aapl_option_hour_quotes.parquet")
    quotes["mid"] = (quotes.bid_close + quotes.ask_close) / 2
    return quotes.dropna(subset="mid")


def last_mid(quotes, day, contract, hour=None):
    one = quotes[(quotes.time.dt.date == day) & (quotes.expiry == pd.Timestamp(contract.expiry)) & (quotes.right == contract.right)
                 & np.isclose(quotes.strike, float(contract.strike), atol=0.006)]
    assert len(one), f"no quote of {contract} on {day}"
    return Decimal(f"{one.mid.iloc[-1 if hour is None else 0]:.4f}")


def test_aapl_book_goes_over_its_split_at_real_quotes(aapl_chain):
    "Stock, long calls, a vertical and a short put from 2014-06-06 to 2014-06-09: terms as the clearing house changed them, NAV unbroken to the cent."
    friday, monday, july = date(2014, 6, 6), date(2014, 6, 9), date(2014, 7, 19)
    legs = [(stock("AAPL"), 100), (option("AAPL", july, 650, "C"), 2), (option("AAPL", july, 640, "C"), 1),
            (option("AAPL", july, 670, "C"), -1), (option("AAPL", july, 600, "P"), -3)]
    marks = {c.key: Decimal("645.57") if not c.is_option else last_mid(aapl_chain, friday, c) for c, _ in legs}
    ts, positions, history = datetime(2014, 6, 6, 20, tzinfo=timezone.utc), {}, []
    for n, (c, q) in enumerate(legs):
        booked = book_move(TransactionKind.BUY if q > 0 else TransactionKind.SELL, f"e{n}", Position(ACCOUNT, PORTFOLIO, c), Decimal(q), marks[c.key], ts)
        history.append(booked.transaction)
        positions[c.key] = booked.after
    cash = sum(t.cash for t in history)
    evening = take_snapshot(ACCOUNT, PORTFOLIO, friday, ts, cash, positions, marks, None, history, {})

    morning, split_marks, moved = datetime(2014, 6, 9, 13, tzinfo=timezone.utc), {}, []
    for key, at in list(positions.items()):
        if not at.contract.is_option:
            bookings, ratio = (split(at, 7, 1, morning, "AAPL 7 for 1"),), Decimal(7)
        else:
            contract, units = adjusted(at.contract, 7, 1)
            bookings, ratio = adjust_option(at, Position(ACCOUNT, PORTFOLIO, contract), units, morning, f"{key} 7 for 1"), Decimal(units)
        moved += [b.transaction for b in bookings]
        positions |= {b.after.contract.key: b.after for b in bookings}
        split_marks[bookings[-1].after.contract.key] = marks[key] / ratio
    over_night = take_snapshot(ACCOUNT, PORTFOLIO, monday, morning, cash, positions, split_marks, evening, moved, {})
    assert round(over_night.nav, 6) == round(evening.nav, 6) and round(over_night.day_pnl, 6) == 0
    assert sum(p.cost for p in positions.values()) == -cash
    assert {p.contract.key: p.qty for p in positions.values() if p.qty} == {
        "AAPL": 700, "AAPL 20140719 C 92.86": 14, "AAPL 20140719 C 91.43": 7, "AAPL 20140719 C 95.71": -7, "AAPL 20140719 P 85.71": -21}

    real = {key: Decimal("93.70") if not p.contract.is_option else last_mid(aapl_chain, monday, p.contract) for key, p in positions.items() if p.qty}
    closing = take_snapshot(ACCOUNT, PORTFOLIO, monday, datetime(2014, 6, 9, 20, tzinfo=timezone.utc), cash, positions, real, evening, moved, {})
    explained = sum(positions[key].qty * positions[key].contract.multiplier * (mark - split_marks[key]) for key, mark in real.items())
    assert closing.day_pnl == closing.nav - evening.nav == pytest.approx(explained)
    assert {m.contract.key: m.day_pnl for m in closing.positions if not m.qty} == {c.key: 0 for c, _ in legs if c.is_option}


def test_lots_of_a_third_keep_units_and_costs():
    lots = tuple(Lot(Decimal(1), Decimal(10), OPEN) for _ in range(3))
    assert sum(lot.qty for lot in scaled_lots(lots, Decimal(1), [Decimal("3.33"), Decimal("3.33"), Decimal("3.34")], 1)) == 1


def holding(symbol, qty, price, **elsewhere):
    lots = (Lot(Decimal(qty), Decimal(price), OPEN),) if qty else ()
    return replace(Position(ACCOUNT, PORTFOLIO, stock(symbol), lots), **elsewhere)


def test_shares_that_come_to_others_of_their_kind_add_their_cost_alone():
    """50 held at 30; 100 at 20 become 40 more."""
    out, into = exchange(holding("OLD", 100, 20), holding("NEW", 50, 30), Decimal(40), OPEN, "e1")
    assert {leg.account: leg.amount for leg in into.transaction.legs} == {"position:NEW": 2000, "exchanged": -2000}
    assert (into.after.qty, into.after.cost, out.after.qty, out.after.realized) == (90, 3500, 0, 0)
    assert not sum(leg.amount for b in (out, into) for leg in b.transaction.legs)


@pytest.mark.parametrize("elsewhere", [{"account": "DU9"}, {"portfolio": "other"}, {"contract": replace(stock("NEW"), currency="EUR")}])
def test_an_exchange_stays_in_its_account_its_book_and_its_currency(elsewhere):
    with pytest.raises(InputError, match="cannot become"):
        exchange(holding("OLD", 100, 20), holding("NEW", 0, 0, **elsewhere), Decimal(40), OPEN, "e1")


@pytest.mark.parametrize("held, into, qty", [(0, 0, 40), (100, 0, -40), (100, 0, 0), (100, -5, 40), (-100, 0, 40)])
def test_an_exchange_of_nothing_or_of_two_signs_is_refused(held, into, qty):
    with pytest.raises(InputError, match="all must be of one sign"):
        exchange(holding("OLD", held, 20), holding("NEW", into, 30), Decimal(qty), OPEN, "e1")


def test_a_corrected_execution_that_cannot_be_booked_exactly_is_refused():
    fill = Fill("x.01", "", ACCOUNT, stock("A"), Side.BUY, Decimal(3), Decimal("1." + "3" * 60), OPEN)
    with pytest.raises(InputError, match="cannot be booked without rounding"):
        book_again(fill, holding("A", 0, 0), [])
    assert book_again(replace(fill, price=Decimal("1.3")), holding("A", 0, 0), []).after.cost == Decimal("3.9")


def test_only_what_comes_from_outside_or_goes_there_is_a_flow():
    traded = book_move(TransactionKind.BUY, "b1", holding("A", 0, 0), Decimal(10), Decimal(5), OPEN)
    earned = book_income(TransactionKind.DIVIDEND, "d1", ACCOUNT, PORTFOLIO, Decimal(7), OPEN, position=traded.after)
    came = transfer_in("i1", holding("A", 0, 0), [Lot(Decimal(2), Decimal(4), OPEN)], Decimal(5), OPEN)
    assert [flow_of(b.transaction) for b in (traded, earned, came, deposit(ACCOUNT, PORTFOLIO, Decimal(9), OPEN, "x"))] == [0, 0, 10, 9]


def test_an_execution_is_taken_out_unless_a_split_came_after_it():
    first = book_move(TransactionKind.BUY, "t1", holding("A", 0, 0), Decimal(10), Decimal(6), OPEN)
    doubled = split(first.after, 2, 1, OPEN + timedelta(days=1), "s1")
    second = book_move(TransactionKind.BUY, "t2", doubled.after, Decimal(4), Decimal(3), OPEN + timedelta(days=2))
    entries = [b.transaction for b in (first, doubled, second)]
    out = book_reversal(second.transaction, second.after, entries, OPEN + timedelta(days=3))
    assert (out.after.qty, out.after.cost, out.transaction.qty) == (20, 60, -4)
    with pytest.raises(InputError, match="s1 was booked since"):
        book_reversal(first.transaction, second.after, entries, OPEN + timedelta(days=3))


def test_premium_that_moves_into_the_shares_is_that_of_the_contracts_that_ended():
    """What the contract had earned before stays with it."""
    at = replace(holding("KO", 0, 0), contract=PUT)
    for n, (qty, price) in enumerate([(-1, "2"), (1, "1.50"), (-2, "2")]):
        at = book_move(TransactionKind.BUY if qty > 0 else TransactionKind.SELL, f"p{n}", at, Decimal(qty), Decimal(price), OPEN).after
    ended, bought = exercise(at, Decimal(2), holding("KO", 0, 0), OPEN, "a1")
    assert at.realized == 50 and premium_in_basis(ended, bought) == (0, 58)


def test_a_spin_off_does_not_come_to_shares_of_the_other_side():
    with pytest.raises(InputError, match="held on the other side: close them first"):
        spin_off(holding("OLD", 100, 20), holding("NEW", -5, 30), 1, 10, Decimal("0.1"), OPEN, "k1")
    kept, came = spin_off(holding("OLD", 100, 20), holding("NEW", 5, 30), 1, 10, Decimal("0.1"), OPEN, "k1")
    assert (kept.after.qty, kept.after.cost, came.after.qty, came.after.cost) == (100, 1800, 15, 350)


@pytest.mark.parametrize("position", [holding("KO", 100, 20), replace(holding("KO", 0, 0), contract=PUT)])
def test_only_an_open_option_is_settled_in_cash(position):
    with pytest.raises(InputError, match="give an open option position"):
        settle_in_cash(position, Decimal(50), OPEN, "c1")


@pytest.mark.parametrize("other", [{"exec_id": "y.01.02"}, {"contract": stock("B")}, {"account": "DU9"}])
def test_a_correction_of_another_execution_contract_or_account_is_refused(other):
    wrong = Fill("x.01.01", "", ACCOUNT, stock("A"), Side.BUY, Decimal(3), Decimal(5), OPEN)
    booked = book_again(wrong, holding("A", 0, 0), [])
    with pytest.raises(InputError, match="they differ in more than price, quantity and time"):
        book_correction(replace(wrong, **{"exec_id": "x.01.02", **other}), wrong, booked.after, [booked.transaction], OPEN)
    reversal, again = book_correction(replace(wrong, exec_id="x.01.02", qty=Decimal(2)), wrong, booked.after, [booked.transaction], OPEN)
    assert (reversal.after.qty, again.after.qty, again.after.cost) == (0, 2, 10)


@pytest.mark.parametrize("contract, new, old", [(stock("KO"), 2, 1), (PUT, 0, 1), (PUT, 2, 0), (PUT, -2, 1), (PUT, Decimal(2), 1)])
def test_only_an_option_is_adjusted_and_by_whole_numbers_above_zero(contract, new, old):
    with pytest.raises(InputError, match="give an option, and two whole numbers above 0"):
        adjusted(contract, new, old)


def test_an_adjusted_option_delivers_whole_shares():
    contract, count = adjusted(PUT, 3, 2, "KO1")
    assert (count, contract.shares, contract.strike) == (1, 150, 40) and type(contract.shares) is int
