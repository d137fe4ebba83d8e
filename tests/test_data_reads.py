"""Reads that cost what is open: balances, open positions and orders, a day's transactions, a light NAV series; rows are counted."""
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import pytest
from store_support import D, DATABASES, DAY, TS, Place, a_day, bought, charged, deposit, fill_of, fresh_place, order, place_on, snapshot

from otsport.core.books import Booking, Leg, NavPoint, Transaction, TransactionKind
from otsport.core.contracts import stock
from otsport.core.errors import StoreError
from otsport.core.intent import Decision, Verdict
from otsport.core.orders import Commission, OrderState, Side


@pytest.fixture(params=DATABASES)
def place(request, tmp_path):
    with place_on(request.param, tmp_path / "store") as made:
        yield made


def test_balances_run_with_every_booking(place):
    with place.open() as store:
        assert store.balances("main") == {} and store.cash("main") == 0
        a_day(store)
        assert store.balances("main") == {"capital": D(-1000000), "cash": D("993738.00"), "commissions": D("1.00"), "position": D("6261.00")}
        euro = Transaction(TransactionKind.DEPOSIT, "euro", TS, "DU1", "main", (Leg("cash", D(5), "EUR"), Leg("capital", D(-5), "EUR")))
        with store.unit(TS) as unit:
            unit.book(Booking(euro))
            unit.book(deposit("d2", "0.005"))
        assert (store.cash("main"), store.cash("main", "EUR"), store.cash("other")) == (D("993738.005"), D(5), 0)
        store.verify()


def test_an_undone_unit_leaves_the_balances(place):
    with place.open() as store:
        a_day(store)
        with pytest.raises(ZeroDivisionError), store.unit(TS) as unit:
            unit.book(deposit("d2"))
            1 / 0
        assert store.cash("main") == D("993738.00")


def test_open_positions_apart_from_closed_ones(place):
    "Long, short and fractional are open; what is flat is read when it is asked for by its key."
    with place.open() as store:
        a_day(store)
        kept = store.positions("main")
        books = {"FLAT": D(0), "SHORT": D(-3), "PART": D("0.5"), "MINUS": D("-0.5")}
        with store.unit(TS) as unit:
            for name, qty in books.items():
                made = replace(kept["KO"], contract=stock(name), lots=(replace(kept["KO"].lots[0], qty=qty),) if qty else (), realized=D(1))
                legs = (Leg("cash", D(1)), Leg(f"position:{name}", D(-1)))
                unit.book(Booking(Transaction(TransactionKind.BUY, name, TS, "DU1", "main", legs, stock(name), D(1), D(1)), None, made))
        assert set(store.positions("main")) == {"KO", *books}
        assert set(store.positions("main", open_only=True)) == {"KO", "SHORT", "PART", "MINUS"}
        assert set(store.positions("main", open_only=True, also=["FLAT", "NEVER"])) == {"KO", *books}
        assert store.positions("main", open_only=True, also=["FLAT"])["FLAT"].realized == 1


def test_open_orders_are_those_that_are_not_done(place):
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            for n, state in enumerate(OrderState, 1):
                added = unit.add_order(order(n), DAY if n % 2 else date(2022, 12, 27))
                if state is not OrderState.CREATED:
                    unit.set_order_state(replace(added, state=state))
        found = store.open_orders("main")
        assert {r.state for r in found} == {s for s in OrderState if not s.done} and [r.order.order_ref for r in found] == sorted(r.order.order_ref for r in found)
        assert store.open_orders("other") == [] and all(r == store.order(r.order.order_ref) and r.version == store.order(r.order.order_ref).version for r in found)


def test_transactions_since_a_snapshot_are_those_that_were_booked_after_it(place):
    "Whatever instant they carry: one of the very instant, one that a broker told late, one of the day after."
    with place.open() as store:
        a_day(store)
        first = store.last_snapshot("main")
        before = store.transactions("main")
        late = [deposit(name, "1.00") for name in ("instant", "earlier", "later")]
        stamps = (first.ts, first.ts - timedelta(hours=3), first.ts + timedelta(hours=20))
        late = [replace(b, transaction=replace(b.transaction, ts=ts)) for b, ts in zip(late, stamps)]
        with store.unit(TS) as unit:
            for booking in late:
                unit.book(booking)
            unit.add_snapshot(snapshot(date(2022, 12, 29)))
            unit.book(deposit("after", "1.00"))
        second = store.last_snapshot("main")
        assert store.transactions("main", since=first, until=second) == [b.transaction for b in late]
        assert [t.ref for t in store.transactions("main", since=first)] == ["instant", "earlier", "later", "after"]
        assert [t.ref for t in store.transactions("main", since=second)] == ["after"]
        assert store.transactions("main", until=first) == before and len(store.transactions("main")) == len(before) + 4
        assert all(t.legs for t in store.transactions("main", since=first))
        with pytest.raises(StoreError, match="no snapshot of portfolio main at .* is in the store"):
            store.transactions("main", since=replace(first, ts=TS))


def test_fills_and_commissions_of_one_session(place):
    with place.open() as store:
        a_day(store)
        later = replace(fill_of(order(2)), exec_id="e2", ts=TS + timedelta(days=1))
        held = store.positions("main")["KO"]
        with store.unit(TS) as unit:
            unit.book(bought(later, held), fill=later)
            unit.book(charged(later, store_after(held, later)), commission=Commission("e2", D("2.00")))
        assert set(store.commissions("main")) == {"e1", "e2"} and set(store.commissions("main", DAY)) == {"e1"}
        assert set(store.commissions("main", DAY + timedelta(days=1))) == {"e2"} and store.commissions("other", DAY) == {}


def store_after(held, fill):
    return bought(fill, held).after


def test_nav_series_is_the_snapshots_without_their_positions(place):
    "NAV 100, 110, 115.50 with day P&L 10 and 3.50: 0 and 2 dollars came from outside, and 90 on the first day."
    days = [date(2022, 12, d) for d in (23, 27, 28)]
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            for day, nav, pnl in zip(days, ("100", "110", "115.50"), ("10", "10", "3.50")):
                unit.add_snapshot(replace(snapshot(day, nav), day_pnl=D(pnl)))
        closes = [datetime(d.year, d.month, d.day, 21, tzinfo=timezone.utc) for d in days]
        flows = [D(90), D(0), D("2.00")]
        assert store.nav_series("main") == [NavPoint(*row) for row in zip(days, closes, map(D, ("100", "110", "115.50")), map(D, ("10", "10", "3.50")), flows)]
        assert store.nav_series("other") == []
        assert [s and s.session for s in (store.snapshot("main", days[1]), store.snapshot("main", date(2022, 12, 24)))] == [days[1], None]


def test_nav_series_takes_the_last_snapshot_of_a_session(place):
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            for hour, nav in ((20, "100"), (21, "101")):
                unit.add_snapshot(replace(snapshot(DAY, nav), ts=TS.replace(hour=hour)))
        assert [p.nav for p in store.nav_series("main")] == [D(101)] and store.snapshot("main", DAY).nav == 101 and store.counts("main")["sessions"] == 1


def test_unfinished_sessions_have_orders_and_no_snapshot(place):
    days = [date(2022, 12, d) for d in (21, 22, 23, 27)]
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            for n, day in enumerate(days, 1):
                unit.add_order(order(n), day)
                unit.add_order(order(n + 10), day)
            unit.add_snapshot(snapshot(days[1]))
        assert store.unfinished_sessions("main", days[3]) == [days[0], days[2]]
        assert store.unfinished_sessions("main", days[0]) == store.unfinished_sessions("other", days[3]) == []


def test_finished_sessions_are_those_of_two_dates_and_between(place):
    days = [date(2022, 12, d) for d in (21, 22, 23, 27)]
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            for day in days:
                unit.add_snapshot(snapshot(day))
        assert store.finished_sessions("main", days[1], days[2]) == {days[1], days[2]} and store.finished_sessions("other", days[0], days[3]) == set()
        assert store.finished_sessions("main", date(2022, 12, 24), date(2022, 12, 26)) == set()


def test_transactions_of_fills_are_the_trade_and_its_charge(place):
    with place.open() as store:
        a_day(store)
        fill, = store.fills("main")
        assert [(str(t.kind), t.ref) for t in store.transactions_of([fill])] == [("buy", fill.exec_id), ("commission", fill.exec_id)]
        assert store.transactions_of([]) == store.transactions_of([replace(fill, exec_id="other")]) == store.transactions_of([replace(fill, account="DU2")]) == []


def test_last_snapshot_before_a_session_is_the_last_of_the_one_before(place):
    days = [date(2022, 12, d) for d in (21, 22, 23)]
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            for day in days:
                for hour, nav in ((20, "100"), (21, "101")):
                    unit.add_snapshot(replace(snapshot(day, nav), ts=datetime(day.year, day.month, day.day, hour, tzinfo=timezone.utc)))
        found = [store.last_snapshot("main"), *(store.last_snapshot("main", before=day) for day in days)]
        assert [(s.session, s.nav) if s else None for s in found] == [(days[2], 101), None, (days[0], 101), (days[1], 101)]


def test_counts(place):
    with place.open() as store:
        a_day(store)
        assert store.counts("main") == {"sessions": 1, "orders": 2, "fills": 1} and store.counts("other") == {"sessions": 0, "orders": 0, "fills": 0}


# --- what a session reads


def old_session(store, n, day):
    "A session that is over: a stock bought and sold, its commissions, its snapshot."
    name, buy, sell = stock(f"S{n}"), order(2 * n), order(2 * n + 1, side=Side.SELL)
    buy, sell = (replace(o, contract=name, order_ref=f"{day:%Y%m%d}-main-{i}") for i, o in enumerate((buy, sell)))
    ts = datetime(day.year, day.month, day.day, 16, tzinfo=timezone.utc)
    with store.unit(ts) as unit:
        held = None
        for o in (buy, sell):
            added = unit.add_order(o, day)
            fill = replace(fill_of(o, f"{o.order_ref}.01"), ts=ts)
            unit.set_order_state(replace(added, state=OrderState.FILLED, filled_qty=fill.qty))
            booking = bought(fill, held)
            if held is not None:
                booking = replace(booking, after=replace(booking.after, lots=()))
            unit.book(booking, fill=fill)
            paid = charged(fill, booking.after)
            unit.book(paid, commission=Commission(fill.exec_id, D("1.00")))
            held = paid.after
        unit.add_plan("main", day, {"session": str(day)})
        unit.add_snapshot(replace(snapshot(day), ts=ts + timedelta(hours=5)))


def read_a_session(store, day):
    "What a desk and a report ask for, a session long."
    previous = store.last_snapshot("main", before=day)
    today = store.transactions("main", since=previous)
    records = store.open_orders("main") + store.orders("main", day)
    store.positions("main", open_only=True, also={t.contract.key for t in today if t.contract} | {r.order.contract.key for r in records})
    store.fills("main", day), store.commissions("main", day), store.balances("main"), store.plan("main", day), store.portfolios()
    store.unfinished_sessions("main", day), store.counts("main"), store.holder("main")


def test_a_session_after_many_reads_as_many_rows_as_the_first(place):
    "60 earlier sessions here, 1,000 in the bench: the rows that a session reads do not grow with them."
    day, counted = date(2022, 1, 3), []
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            unit.book(deposit())
        for n in range(60):
            old_session(store, n, day)
            day += timedelta(days=1)
            before = store.rows_read
            read_a_session(store, day)
            counted.append(store.rows_read - before)
        assert len(set(counted)) == 1 and 0 < counted[0] < 15, counted
        before = store.rows_read
        assert len(store.nav_series("main")) == 60 and store.rows_read - before == 60  # a row a session, without its positions
        before = store.rows_read
        assert len(store.orders("main")) == 120 and store.rows_read - before == 120  # what grows is counted as growing
        store.verify()


def test_first_deposit_is_that_of_the_portfolio(place):
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("other", "DU2")
            unit.book(deposit("o", "7.00", "other", "DU2"))
            unit.add_portfolio("main", "DU1")
            for ref, amount in (("a", "5.00"), ("b", "3.00")):
                unit.book(deposit(ref, amount))
        assert [store.first_deposit(p) for p in ("main", "other", "none")] == [5, 7, 0]


def test_finished_sessions_are_those_of_the_portfolio_between_two_dates(place):
    with place.open() as store:
        a_day(store)
        with store.unit(TS) as unit:
            unit.add_portfolio("other", "DU2")
            unit.add_snapshot(replace(snapshot(DAY - timedelta(days=1)), portfolio="other", account="DU2"))
        around = DAY - timedelta(days=5), DAY + timedelta(days=5)
        assert store.finished_sessions("main", *around) == {DAY} == store.finished_sessions("main", DAY, DAY)
        assert store.finished_sessions("other", *around) == {DAY - timedelta(days=1)}
        assert store.finished_sessions("main", DAY + timedelta(days=1), around[1]) == set() == store.finished_sessions("none", *around)


def test_request_is_open_until_it_is_answered_and_both_survive_a_restart(place):
    with place.open() as store:
        a_day(store)
        with store.unit(TS) as unit:
            first, second = (unit.add_request("main", "cancel", f"20221228-main-00{n}", "ana", "why") for n in (1, 2))
        assert store.requests("main") == [first, second] and store.requests("other") == []
        with store.unit(TS) as unit:
            unit.answer(first, Decision(first.subject, Verdict.REFUSED, "FILLED", "too late"))
    with place.open() as store:
        told = store.request(first.seq)
        assert (told.verdict, told.code, told.message, told.who) == (Verdict.REFUSED, "FILLED", "too late", "ana")
        assert store.requests("main") == [second] and store.request(10_000) is None and store.verify()


def test_halt_and_what_was_looked_at_are_of_one_portfolio(place):
    with place.open() as store:
        a_day(store)
        with store.unit(TS) as unit:
            unit.add_portfolio("other", "DU2")
            unit.set_halt("other", "ana: why")
            unit.acknowledge("other", "e9", "ana: seen")
        assert (store.halted("main"), store.halted("other"), store.halted("none")) == ("", "ana: why", "")
        assert (store.acknowledged("main"), store.acknowledged("other")) == (frozenset(), {"e9"})
