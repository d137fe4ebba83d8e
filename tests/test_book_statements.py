"""A year of a real account's kind, as Flex and as CSV: every row booked, nothing twice, the control totals to the cent; what is removed or doubled is noticed."""
import re
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.book.activity import activity_statement
from otsport.book.flex import CASH_KINDS, flex_statements
from otsport.book.ledger import balances_after, deposit, positions_from
from otsport.book.snapshots import check_ledger
from otsport.book.statements import Verdict, control_differences, read_statement
from otsport.core.errors import CheckFailed, DataError, InputError
from otsport.book.statement_rows import Action, Statement
from otsport.core.books import Lot, Position, TransactionKind
from otsport.core.contracts import stock
from otsport.data.store import open_store
from otsport.desk.imports import import_statements
from otsport.desk.requests import Asked

ANA, NOW = Asked("ana", "the year"), datetime(2027, 1, 5, 12, tzinfo=timezone.utc)
PUT = 'assetCategory="OPT" symbol="KO    260417P00060000" underlyingSymbol="KO" multiplier="100" strike="60" expiry="20260417" putCall="P" currency="USD"'
CALL = 'assetCategory="OPT" symbol="KO    260619C00065000" underlyingSymbol="KO" multiplier="100" strike="65" expiry="20260619" putCall="C" currency="USD"'
LONG = 'assetCategory="OPT" symbol="AA    260717C00047000" underlyingSymbol="AA" multiplier="100" strike="47" expiry="20260717" putCall="C" currency="USD"'
STAY = 'assetCategory="OPT" symbol="AA    270115C00070000" underlyingSymbol="AA" multiplier="100" strike="70" expiry="20270115" putCall="C" currency="USD"'
HALF = 'assetCategory="OPT" symbol="AA    270115C00035000" underlyingSymbol="AA" multiplier="100" strike="35" expiry="20270115" putCall="C" currency="USD"'
STK = 'assetCategory="STK" currency="USD" multiplier="1"'
ROWS = [
    'CashTransaction type="Deposits/Withdrawals" amount="100000" currency="USD" settleDate="20260105" transactionID="1"',
    f'Trade {STK} symbol="KO" dateTime="20260106;100000" quantity="60" tradePrice="60.10" ibCommission="-.5" ibExecID="a.01.01" tradeID="t1"',
    f'Trade {STK} symbol="KO" dateTime="20260106;100001" quantity="40" tradePrice="60.11" ibCommission="-.2934122" ibExecID="a.01.02" tradeID="t2"',
    f'Trade {STK} symbol="XYZ" dateTime="20260107;100000" quantity="5000" tradePrice=".32" ibCommission="-6" ibExecID="b.01.01" tradeID="t3"',
    f'Trade {STK} symbol="XYZ" dateTime="20260107;100500" quantity="-5000" tradePrice=".32" ibCommission="0" transactionType="TradeCancel" origTradeID="t3" buySell="BUY (Ca.)" transactionID="99"',
    f'Trade {STK} symbol="XYZ" dateTime="20260107;100000" quantity="5000" tradePrice=".32" ibCommission="0" ibExecID="b.01.02" tradeID="t4"',
    f'Trade {STK} symbol="FRAC" dateTime="20260108;100000" quantity=".6242" tradePrice="48.05" ibCommission="0" ibExecID="c.01" netCash="-29.99"',
    f'Trade {PUT} dateTime="20260202;100000" quantity="-5" tradePrice="2" ibCommission=".3333" ibExecID="d.01.01"',
    f'Trade {PUT} dateTime="20260310;162000" quantity="2" tradePrice="0" tradeID="t6" notes="A" transactionType="BookTrade"',
    f'Trade {STK} symbol="KO" dateTime="20260310;162000" quantity="200" tradePrice="60" tradeID="t7" notes="A" transactionType="BookTrade"',
    f'Trade {PUT} dateTime="20260417;162000" quantity="3" tradePrice="0" tradeID="t8" notes="Ep" transactionType="BookTrade"',
    f'CashTransaction type="Dividends" amount="159" currency="USD" assetCategory="STK" symbol="KO" settleDate="20260401" transactionID="2" description="KO CASH DIVIDEND"',
    f'CashTransaction type="Withholding Tax" amount="-23.85" currency="USD" assetCategory="STK" symbol="KO" settleDate="20260401" transactionID="3"',
    f'CashTransaction type="Dividends" amount="-159" currency="USD" assetCategory="STK" symbol="KO" settleDate="20260403" transactionID="4" description="REVERSAL"',
    f'CashTransaction type="Payment In Lieu Of Dividends" amount="158.5" currency="USD" assetCategory="STK" symbol="KO" settleDate="20260403" transactionID="5"',
    f'Trade {CALL} dateTime="20260504;100000" quantity="-3" tradePrice="1.10" ibCommission="-1.9" ibExecID="e.01.01"',
    f'Trade {CALL} dateTime="20260619;162000" quantity="3" tradePrice="0" tradeID="t9" notes="A" transactionType="BookTrade"',
    f'Trade {STK} symbol="KO" dateTime="20260619;162000" quantity="-300" tradePrice="65" tradeID="t10" notes="A" transactionType="BookTrade"',
    f'Trade {LONG} dateTime="20260601;100000" quantity="4" tradePrice="1.5" ibCommission="-2.6" ibExecID="f.01.01"',
    f'Trade {STAY} dateTime="20260601;100100" quantity="2" tradePrice="3.25" ibCommission="-1.3" ibExecID="g.01.01"',
    f'Trade {LONG} dateTime="20260717;162000" quantity="-4" tradePrice="0" tradeID="t11" notes="Ex" transactionType="BookTrade"',
    f'Trade {STK} symbol="AA" dateTime="20260717;162000" quantity="400" tradePrice="47" tradeID="t12" notes="Ex" transactionType="BookTrade"',
    f'CorporateAction {STK} symbol="AA" type="FS" quantity="400" actionID="501" dateTime="20260807;202500" actionDescription="AA(US0138721065) SPLIT 2 FOR 1 (AA, ALCOA)"',
    f'CorporateAction {STAY} type="FS" quantity="-2" actionID="501" dateTime="20260807;202500" actionDescription="SPLIT 2 FOR 1"',
    f'CorporateAction {HALF} type="FS" quantity="4" actionID="501" dateTime="20260807;202500" actionDescription="SPLIT 2 FOR 1"',
    f'Transfer {STK} symbol="IBM" quantity="10" positionAmount="2500" direction="IN" date="20260901" transactionID="6" type="ACATS"',
    'Trade assetCategory="CASH" symbol="EUR.USD" currency="USD" dateTime="20260910;100000" quantity="1000" tradePrice="1.1" ibCommission="-2" ibExecID="h.01"',
    'Trade assetCategory="STK" symbol="SAP" currency="EUR" multiplier="1" dateTime="20260911;100000" quantity="4" tradePrice="210.5" ibCommission="-3" ibExecID="i.01.01"',
    'CashTransaction type="Dividends" amount="7.4" currency="EUR" assetCategory="STK" symbol="SAP" settleDate="20261001" transactionID="7"',
    'CashTransaction type="Broker Interest Received" amount="12.34" currency="USD" settleDate="20261005" transactionID="8"',
    'CashTransaction type="Other Fees" amount="-0.01" currency="USD" settleDate="20261105" transactionID="9" description="SNAPSHOT"',
    'CashTransaction type="Other Fees" amount="0.01" currency="USD" settleDate="20261105" transactionID="10" description="SNAPSHOT"',
    'CashTransaction type="Other Fees" amount="-4.5" currency="USD" settleDate="20261106" transactionID="11" description="XYZ BORROW FEE"',
]
TOTALS = [
    f'OpenPosition {STK} symbol="XYZ" position="5000" markPrice=".3"', f'OpenPosition {STK} symbol="FRAC" position=".6242" markPrice="50"',
    f'OpenPosition {STK} symbol="AA" position="800" markPrice="30"', f'OpenPosition {HALF} position="4" markPrice="2"',
    f'OpenPosition {STK} symbol="IBM" position="10" markPrice="250"', 'OpenPosition assetCategory="STK" symbol="SAP" currency="EUR" position="4" markPrice="220"',
    'CashReportCurrency currency="BASE_SUMMARY" endingCash="1"', 'CashReportCurrency currency="USD" endingCash="{usd}"', 'CashReportCurrency currency="EUR" endingCash="162.4"',
]
USD = (100000 - 60 * Decimal("60.10") - 40 * Decimal("60.11") - Decimal(".7934122") - 1600 - 6 - Decimal("29.99") + 1000 + Decimal(".3333") - 12000
       - Decimal("23.85") + Decimal("158.5") + 330 - Decimal("1.9") + 19500 - 600 - Decimal("2.6") - 650 - Decimal("1.3") - 18800 - 1100 - 2 + Decimal("12.34") - Decimal("4.5"))
OTHER = ('<FlexStatement accountId="U2" fromDate="20260101" toDate="20261231"><CashTransaction type="Deposits/Withdrawals" amount="500" currency="USD" settleDate="20260105"'
         ' transactionID="1"/><CashReportCurrency currency="USD" endingCash="500"/></FlexStatement>')


def flex(rows=ROWS, usd=USD, totals=TOTALS):
    body = "".join(f"<{row}/>" for row in (*rows, *totals)).replace("{usd}", f"{usd:f}")
    return f'<FlexQueryResponse><FlexStatements><FlexStatement accountId="U1" fromDate="20260101" toDate="20261231">{body}</FlexStatement>{OTHER}</FlexStatements></FlexQueryResponse>'


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "otsport.db") as store:
        with store.unit(NOW) as unit:
            unit.add_portfolio("main", "U1")
            unit.add_portfolio("second", "U2")
        yield store


def imported(store, text, tmp_path, **more):
    file = tmp_path / "flex.xml"
    file.write_text(text)
    return import_statements(store, file, ANA, NOW, **more)


def counts(result):
    return Counter(outcome.verdict for outcome in result.outcomes)


def test_a_year_is_booked_to_every_control_total_and_again_without_effect(store, tmp_path):
    year, other = imported(store, flex(), tmp_path)
    assert year.clean and other.clean, (year, other)
    assert counts(year)[Verdict.KNOWN] == 3  # the shares of an exercise, which came with their option
    held = {key: p.qty for key, p in store.positions("main", open_only=True).items()}
    assert held == {"XYZ": 5000, "FRAC": Decimal(".6242"), "AA": 800, "AA 20270115 C 35": 4, "IBM": 10, "SAP currency:EUR": 4}
    assert (store.cash("main"), store.cash("main", "EUR"), store.cash("second")) == (USD, Decimal("162.4"), 500)
    before, books = store.positions("main"), store.transactions("main")
    again, _ = imported(store, flex(), tmp_path)
    assert again.clean and counts(again) == {Verdict.KNOWN: len(again.outcomes)}
    assert (store.positions("main"), store.transactions("main")) == (before, books)
    check_ledger("U1", "main", before, books, store.balances("main"))
    assert store.verify()


def test_what_the_year_came_to(store, tmp_path):
    imported(store, flex(), tmp_path)
    at, books = store.positions("main"), store.balances("main")
    assert (at["XYZ"].commission, at["XYZ"].realized, at["XYZ"].cost) == (6, 0, 1600)  # corrected: once, with one commission
    taken = [t for t in store.transactions("main") if t.kind is TransactionKind.REVERSAL]
    assert [(t.ref, t.qty, t.price) for t in taken] == [("b.01.01", -5000, Decimal(".32"))]  # of the execution, not of its commission
    assert at["KO"].income == Decimal("159") - Decimal("23.85") - 159 + Decimal("158.5")
    assert at["KO 20260417 P 60"].realized == 1000 and at["KO 20260417 P 60"].commission == Decimal("-.3333")  # a rebate
    assert at["KO"].realized == 65 * 300 - 60 * Decimal("60.10") - 40 * Decimal("60.11") - 200 * 60
    assert at["AA"].cost == 47 * 400 and at["AA 20270115 C 35"].cost == 650
    assert books["borrow"] == Decimal("4.5") and books["interest"] == Decimal("-12.34") and books["fees"] == 0
    assert abs(books["rounding"]) == abs(Decimal(".6242") * Decimal("48.05") - Decimal("29.99"))
    assert positions_from(store.transactions("main")).keys() == at.keys()


@pytest.mark.parametrize("n", range(len(ROWS)), ids=lambda n: re.sub(r'\W+', '_', ROWS[n][:60]))
@pytest.mark.parametrize("times", [0, 1, 2], ids=["removed", "as it is", "doubled"])
def test_a_row_that_is_removed_or_doubled_is_noticed(n, times):
    year, _ = flex_statements(flex(ROWS[:n] + [ROWS[n]] * times + ROWS[n + 1:]).encode())
    outcomes, positions = read_statement(year, "main", {}, lambda kind, ref: False)
    cash = Counter()
    for leg in (leg for o in outcomes for b in o.bookings for leg in b.transaction.legs if leg.account == "cash"):
        cash[leg.currency] += leg.amount
    wrong = control_differences(year, positions, cash) + [o for o in outcomes if o.verdict is Verdict.NOT_UNDERSTOOD]
    assert bool(wrong) == (times != 1), wrong or f"{ROWS[n]} {times} times was not noticed"


def test_one_account_of_a_file_is_no_other_s(store, tmp_path):
    imported(store, flex(), tmp_path)
    assert store.positions("second") == {} and len(store.transactions("second")) == 1


def test_a_book_that_begins_with_a_statement_goes_on_with_the_next(tmp_path):
    text = flex().replace(OTHER, "")
    later = ('<FlexQueryResponse><FlexStatements><FlexStatement accountId="U1" fromDate="20260601" toDate="20270131">'
             f'<Trade {STK} symbol="IBM" dateTime="20270104;100000" quantity="-10" tradePrice="255" ibCommission="-1" ibExecID="z.01.01"/>'
             f'<Trade {LONG} dateTime="20260601;100000" quantity="4" tradePrice="1.5" ibCommission="-2.6" ibExecID="f.01.01"/>'
             f'<CashReportCurrency currency="USD" endingCash="{USD + 2549:f}"/></FlexStatement></FlexStatements></FlexQueryResponse>')
    with open_store(tmp_path / "otsport.db") as store:
        (begun,) = imported(store, text, tmp_path, begin="main")
        assert begun.clean and begun.began
        (next_one,) = imported(store, later, tmp_path)
        assert next_one.clean, next_one
        assert counts(next_one) == {Verdict.BOOKED: 1, Verdict.KNOWN: 1}
        assert store.positions("main")["IBM"].realized == 50
        with pytest.raises(InputError, match="the book has begun"):
            imported(store, text, tmp_path, begin="main")


def test_an_import_that_fails_leaves_nothing(store, tmp_path, monkeypatch):
    from otsport.data.store import Unit

    calls, book = [], Unit.book

    def fails(self, *args):
        calls.append(1)
        if len(calls) == 9:
            raise RuntimeError("power cut")
        return book(self, *args)

    monkeypatch.setattr(Unit, "book", fails)
    with pytest.raises(RuntimeError):
        imported(store, flex(), tmp_path)
    monkeypatch.undo()
    assert store.transactions("main") == [] and store.positions("main") == {}
    assert imported(store, flex(), tmp_path)[0].clean


@pytest.mark.parametrize("row, said", [
    (f'Trade {STK} symbol="KO" dateTime="20260106;100000" quantity="1" tradePrice="1"', "no ibExecID, tradeID or transactionID: tick"),
    (f'Trade {STK} symbol="KO" dateTime="soon" quantity="1" tradePrice="1" tradeID="1"', "is no date|is no moment"),
    (f'Trade {STK} symbol="KO" dateTime="20260106;100000" quantity="NaN" tradePrice="1" tradeID="1"', "no finite number"),
    (f'Trade {STK} symbol="KO" dateTime="20260106;100000" quantity="1" tradePrice="-1" tradeID="1"', "below 0"),
    (f'Trade {STK} symbol="KO" dateTime="20260106;100000" quantity="1" tradePrice="1" tradeID="1" netCash="-2"', "the statement says -2"),
    ('Trade assetCategory="FUT" symbol="ESU6" dateTime="20260106;100000" quantity="1" tradePrice="1" tradeID="1"', "asset category FUT"),
    (f'Trade {PUT} dateTime="20260310;162000" quantity="2" tradePrice="0" tradeID="1" notes="A" transactionType="BookTrade"', "import the statement before"),
    ('CashTransaction type="Lottery" amount="5" currency="USD" settleDate="20260105" transactionID="1"', "'Lottery' are not known"),
    ('CashTransaction type="Other Fees" currency="USD" settleDate="20260105" transactionID="1"', "has no amount: tick that field of CashTransaction"),
    (f'CorporateAction {STK} symbol="KO" type="XX" quantity="4" actionID="5" dateTime="20260807"', "corporate action XX"),
    (f'CorporateAction {STK} symbol="KO" type="FS" quantity="4" actionID="5" dateTime="20260807" description="SPLIT 2 FOR 1"', "holds none of it"),
])
def test_a_row_that_is_not_understood_says_where_why_and_what_next(store, tmp_path, row, said):
    year, _ = imported(store, flex([row], 0, TOTALS[:0]), tmp_path)
    assert not year.clean and counts(year) == {Verdict.NOT_UNDERSTOOD: 1}
    assert re.search(said, year.outcomes[0].what), year.outcomes[0].what
    assert re.match(r"\w+ 1", year.outcomes[0].where)


def test_a_book_that_let_an_assigned_option_expire_is_told(store, tmp_path):
    rows = [r.replace('notes="A"', 'notes="Ep"') for r in ROWS]
    rows = [r for r in rows if 't10' not in r and 't7' not in r]
    imported(store, flex(rows), tmp_path)
    year, _ = imported(store, flex(), tmp_path)
    assert [o.what for o in year.outcomes if "while the book has expiry" in o.what]


@pytest.mark.parametrize("text, said", [("", "is empty"), ("<a/>", "holds no FlexStatement"), ("<a", "no whole XML"), ("x,y\n", "no Activity Statement in English"),
                                        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "declares entities")])
def test_what_is_no_statement_is_told(store, tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        imported(store, text, tmp_path)


def test_every_type_of_cash_has_a_booking():
    assert set(CASH_KINDS.values()) <= set(TransactionKind)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(ROWS) - 1), st.data())
def test_damaged_rows_never_stop_the_others(n, data):
    "An attribute that is absent or nonsense makes its row not understood, or changes it; the file is read all the same."
    name, *pairs = re.split(r' (?=\w+=")', ROWS[n])
    at = data.draw(st.integers(0, len(pairs) - 1))
    key = pairs[at].partition("=")[0]
    pairs[at:at + 1] = data.draw(st.sampled_from([[], [f'{key}=""'], [f'{key}="x y;"'], [f'{key}="-1e999"'], [f'{key}="99999999"']]))
    (one, _) = flex_statements(flex(ROWS[:n] + [" ".join((name, *pairs))] + ROWS[n + 1:]).encode())
    assert len(one.rows) + len(one.unread) == len(ROWS)
    assert all(u.why and u.where for u in one.unread)


CSV = '''Statement,Header,Field Name,Field Value
Statement,Data,Period,"July 1, 2026 - July 31, 2026"
Account Information,Header,Field Name,Field Value
Account Information,Data,Account,U1
Trades,Header,DataDiscriminator,Asset Category,Currency,Symbol,Date/Time,Quantity,T. Price,C. Price,Proceeds,Comm/Fee,Basis,Realized P/L,MTM P/L,Code
Trades,Data,Order,Stocks,USD,KO,"2026-07-16, 13:52:42","1,200",62.5,63,-75000,-6.5,75006.5,0,600,O
Trades,Data,Order,Equity and Index Options,USD,KO 17JUL26 65 C,"2026-07-16, 13:53:00",-12,0.4,0.1,480,-7.8,,0,0,O
Trades,Data,Order,Equity and Index Options,USD,KO 17JUL26 65 C,"2026-07-17, 16:20:00",12,0,0,0,0,,480,0,C;Ep
Trades,SubTotal,,Stocks,USD,KO,,1200,,,-75000,-6.5,,,,
Dividends,Header,Currency,Date,Description,Amount
Dividends,Data,USD,2026-07-20,KO(US1912161007) Cash Dividend USD 0.46 per Share (Ordinary Dividend),552
Dividends,Data,Total,,,552
Open Positions,Header,DataDiscriminator,Asset Category,Currency,Symbol,Quantity,Mult,Cost Price,Cost Basis,Close Price,Value,Unrealized P/L,Code
Open Positions,Data,Summary,Stocks,USD,KO,"1,200",1,62.505,75006.5,63,75600,593.5,
Cash Report,Header,Currency Summary,Currency,Total,Securities,Futures
Cash Report,Data,Ending Cash,Base Currency Summary,-73982.3,,
Cash Report,Data,Ending Cash,USD,-73982.3,,
'''


def test_an_activity_statement_is_booked_and_again_without_effect(store, tmp_path):
    (july,) = imported(store, CSV, tmp_path)
    assert july.clean, july
    assert counts(july) == {Verdict.BOOKED: 4}
    assert store.positions("main")["KO 20260717 C 65"].realized == 480
    (again,) = imported(store, CSV, tmp_path)
    assert again.clean and counts(again) == {Verdict.KNOWN: 4}


def test_another_language_is_told():
    with pytest.raises(DataError, match="English"):
        activity_statement(CSV.replace("Account,U1", "Konto,U1"))


def test_a_failed_import_is_an_exit_code(store, tmp_path):
    assert CheckFailed.exit_code == 40


OLD, NEW, DAY = stock("OLD"), stock("NEW"), date(2026, 6, 1)


def acted(held, *actions):
    """What a corporate action makes of a position: the outcome, the positions, and the balance of each account of its bookings."""
    position = Position("U1", "main", OLD, (Lot(Decimal(held), Decimal(20), NOW),)) if held else Position("U1", "main", OLD)
    [outcome], positions = read_statement(Statement("U1", DAY, DAY, None, actions, None, None), "main", {OLD.key: position}, lambda kind, ref: False)
    return outcome, positions, balances_after({}, [b.transaction for b in outcome.bookings])


def side(word, contract, qty, cash=0, **more):
    return Action("row 1", word, contract, Decimal(qty), Decimal(cash), DAY, "501", **more)


@pytest.mark.parametrize("held, qty, cash, realized, rounding", [(300, -300, 9000, 3000, 0), (300, -300, 0, -6000, 0), (-300, 300, -9000, -3000, 0), (300, -100, 3000, 1000, 0),
                                                                (3, -3, "100.01", "40.01", 0), (7, -7, 100, "-40", 0)])
def test_units_that_end_for_cash_bring_it_to_the_cent(held, qty, cash, realized, rounding):
    outcome, positions, balances = acted(held, side("TC", OLD, qty, cash))
    assert outcome.verdict is Verdict.BOOKED and positions[OLD.key].qty == held + qty
    assert balances.get("cash", 0) == Decimal(cash) and abs(positions[OLD.key].realized - Decimal(realized)) < Decimal("1e-6")


@pytest.mark.parametrize("held, qty", [(0, -300), (300, 300), (300, -301), (-300, -300)])
def test_units_that_end_and_are_not_held_are_told(held, qty):
    outcome, positions, _ = acted(held, side("TC", OLD, qty, 9000))
    assert outcome.verdict is Verdict.NOT_UNDERSTOOD and "import the statement before this one first" in outcome.what and positions[OLD.key].qty == held


@pytest.mark.parametrize("cash, value, cost, realized", [(0, 0, 6000, 0), (3000, 6000, 4000, 1000), (1500, 4500, 4500, 0)])
def test_an_exchange_with_cash_leaves_the_new_shares_their_part_of_the_cost(cash, value, cost, realized):
    """300 at 20 become 150; of 6,000 the cash takes the part that it is of all that came."""
    outcome, positions, balances = acted(300, side("TC", OLD, -300, cash), side("TC", NEW, 150, value=Decimal(value)))
    assert outcome.verdict is Verdict.BOOKED and (positions[OLD.key].qty, positions[NEW.key].qty) == (0, 150)
    assert abs(positions[NEW.key].cost - cost) < Decimal("0.001") and abs(positions[OLD.key].realized - realized) < Decimal("0.001") and balances.get("cash", 0) == cash
    assert not sum(balances.values())


def test_an_exchange_with_cash_and_no_value_is_told():
    outcome, *_ = acted(300, side("TC", OLD, -300, 3000), side("TC", NEW, 150))
    assert outcome.verdict is Verdict.NOT_UNDERSTOOD and "tick value of Corporate Action" in outcome.what


@pytest.mark.parametrize("held, qty, cash, ratio, kept", [(101, -51, 10, (1, 2), 50), (101, "-50.5", 0, (1, 2), "50.5"), (100, -50, 0, (1, 2), 50), (100, 10, 0, None, 110)])
def test_a_split_keeps_a_fraction_only_where_no_cash_came_for_it(held, qty, cash, ratio, kept):
    outcome, positions, balances = acted(held, side("RS", OLD, qty, cash, ratio=ratio))
    assert outcome.verdict is Verdict.BOOKED and positions[OLD.key].qty == Decimal(kept) and balances.get("cash", 0) == cash


def test_a_split_that_comes_to_other_units_than_the_statement_is_told():
    outcome, positions, _ = acted(100, side("FS", OLD, 50, ratio=(2, 1)))
    assert outcome.verdict is Verdict.NOT_UNDERSTOOD and "the statement says 150" in outcome.what and positions[OLD.key].qty == 100


def test_what_came_after_a_statement_is_taken_off_before_its_totals_are_compared():
    statement = Statement("U1", DAY, DAY, None, (), (), {"USD": Decimal(1000)})
    later = [deposit("U1", "main", Decimal(500), NOW + timedelta(days=9), "later").transaction]
    assert control_differences(statement, {}, {"USD": Decimal(1500)}, later) == []
    assert control_differences(statement, {}, {"USD": Decimal(1500)}) == ["cash in USD: 1,500 in the book, 1,000 in the statement, +500 more"]
