"""Where the book and the broker differ, and the marks of a day that passed, by hand."""
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from otsport.core.books import AccountValues, Holding, Lot, Position
from otsport.core.contracts import option, stock
from otsport.desk.past import past_marks
from otsport.core.intent import Decision, Verdict
from otsport.core.orders import OrderState
from otsport.desk.book import Book
from otsport.desk.reconcile import differences, resent
from store_support import TS

D = Decimal
KO, CALL = stock("KO"), option("KO", date(2023, 1, 20), "65", "C")


def position(contract, qty):
    return Position("DU1", "main", contract, (Lot(D(qty), D("50"), TS),) if qty else ())


def broker(cash, **held):
    """What the broker says: cash, and units of KO and the call."""
    named = {"KO": KO, "CALL": CALL}
    return AccountValues("DU1", D(0), D(cash), D(0)), [Holding("DU1", named[n], D(q)) for n, q in held.items()]


def test_flat_positions_and_equal_units_are_no_difference_others_are_named_by_key():
    ours = [position(KO, 100), position(stock("PEP"), 0)]
    assert differences(D("1000.00"), ours, *broker("1000.00", KO=100)) == []
    assert differences(D("1000.00"), ours, *broker("1000.00", KO=99, CALL=-1)) == [
        "KO: 100 in the book, 99 at the broker", "KO 20230120 C 65: 0 in the book, -1 at the broker"]
    assert differences(D("1000.00"), ours, *broker("1000.00")) == ["KO: 100 in the book, 0 at the broker"]


def test_contract_that_the_broker_tells_in_several_rows_counts_with_all_of_them():
    """Two rows of one contract, of which the last alone would agree with the book."""
    values, rows = broker("1000.00", CALL=1)[0], [Holding("DU1", KO, D(2)), Holding("DU1", CALL, D(1)), Holding("DU1", KO, D(3))]
    assert differences(D("1000.00"), [position(KO, 3), position(CALL, 1)], values, rows) == ["KO: 3 in the book, 5 at the broker"]
    assert differences(D("1000.00"), [position(KO, 5), position(CALL, 1)], values, rows) == []
    assert differences(D("1000.00"), [position(CALL, 1)], values, [*rows[1:], Holding("DU1", KO, D(-3))]) == []


def test_classes_of_one_day_and_strike_are_told_apart():
    spx, spxw = (option("SPX", date(2022, 12, 16), "4000", "C", 100, name) for name in ("SPX", "SPXW"))
    ours = [position(spx, 2), position(spxw, 3)]
    assert differences(D(1000), ours, broker("1000.00")[0], [Holding("DU1", spxw, D(3)), Holding("DU1", spx, D(2))]) == []
    for two, three in ((5, 0), (0, 3), (3, 2)):
        held = [Holding("DU1", spx, D(two)), Holding("DU1", spxw, D(three))]
        assert f"{spx.key}: 2 in the book, {two} at the broker" in differences(D(1000), ours, broker("1000.00")[0], held)


@pytest.mark.parametrize("ours, theirs, agree", [
    ("1000.005", "1000.00", True), ("1000.0051", "1000.00", False), ("999.9949", "1000.00", False), ("1000.00", "1000.01", False),
    ("1000.0051", "1000.005", True), ("1000.0056", "1000.005", False),  # the broker gave tenths of a cent
    ("1000.0051", "1000", False)])  # whole dollars are read as cents
def test_cash_agrees_to_half_of_the_last_digit_that_the_broker_gave(ours, theirs, agree):
    assert (differences(D(ours), [], *broker(theirs)) == []) == agree


def test_stock_of_a_passed_day_is_marked_at_its_close_and_a_flat_one_is_not():
    held = {"KO": position(KO, 100), "PEP": position(stock("PEP"), 0)}
    assert past_marks(held, date(2022, 12, 28), {"KO": D("63.95"), "PEP": D("180")}, {"KO": D("64")}, {"KO": D("62")}) == {"KO": D("63.95")}


def test_option_without_time_value_is_marked_at_its_intrinsic_value():
    """A call that expires at the close of the session is worth what the close is above the strike."""
    call = replace(CALL, expiry=date(2022, 12, 28), strike=D("60"))
    marks = past_marks({call.key: position(call, 1)}, date(2022, 12, 28), {"KO": D("63.95")}, {"KO": D("63")}, {call.key: D("3.20")})
    assert marks == {call.key: D("3.95")}


@pytest.mark.parametrize("decision, state, code", [
    (Decision("x", Verdict.ACCEPTED), OrderState.SENT, ""), (Decision("x", Verdict.REFUSED, "STALE_QUOTE", "the quote is old"), OrderState.EXPIRED, "STALE_QUOTE")])
def test_order_that_never_arrived_ends_with_the_code_of_the_gate(decision, state, code):
    event = resent(decision, Book("DU1", "main", D(0), {}, {}, {}, frozenset(), now=TS))
    assert (event.order_ref, event.state, event.code) == ("x", state, code) and decision.message in event.message
