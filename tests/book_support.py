"""Small books for the tests of the room `book`: random fills, and a session from fills to a checked snapshot."""
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import strategies as st

from otsport.book.ledger import book_commission, book_fill, deposit
from otsport.core.contracts import option, stock
from otsport.core.orders import Commission, Fill, Side

ACCOUNT, PORTFOLIO, CAPITAL = "DU123456", "main", Decimal("1000000.00")
OPEN = datetime(2022, 12, 28, 14, 30, tzinfo=timezone.utc)
CALL = option("KO", date(2023, 1, 20), Decimal("62.5"), "C")
PUT = option("KO", date(2023, 1, 20), Decimal("60"), "P")
CONTRACTS = (stock("KO"), stock("AAPL"), CALL, PUT)

prices = st.decimals(Decimal("0.0001"), Decimal("5000"), places=4, allow_nan=False, allow_infinity=False)
fees = st.decimals(Decimal("-1"), Decimal("25"), places=2, allow_nan=False, allow_infinity=False)
trades = st.lists(
    st.tuples(st.sampled_from(CONTRACTS), st.sampled_from(list(Side)), st.integers(1, 400), prices, fees, st.booleans()), max_size=40
)


def fill_of(number, contract, side, qty, price, account=ACCOUNT):
    "An execution; number n is n seconds after the open."
    return Fill(f"x{number:04d}", f"o{number:04d}", account, contract, side, Decimal(qty), Decimal(price), OPEN + timedelta(seconds=number))


def run_book(drawn):
    "Book a list of (contract, side, qty, price, commission, commission comes late); returns transactions, positions, fills, fees."
    history, positions, fills, late = [deposit(ACCOUNT, PORTFOLIO, CAPITAL, OPEN, "opening").transaction], {}, [], []

    def charge(fill, fee):
        booking = book_commission(Commission(fill.exec_id, fee), fill, PORTFOLIO, positions[fill.contract.key], OPEN + timedelta(hours=1))
        history.append(booking.transaction)
        positions[fill.contract.key] = booking.after

    for number, (contract, side, qty, price, fee, is_late) in enumerate(drawn):
        fill = fill_of(number, contract, side, qty, price)
        booking = book_fill(fill, PORTFOLIO, positions.get(contract.key))
        assert booking.before == positions.get(contract.key)
        history.append(booking.transaction)
        positions[contract.key] = booking.after
        fills.append(fill)
        if is_late:
            late.append((fill, fee))
        else:
            charge(fill, fee)
    for fill, fee in late:
        charge(fill, fee)
    return history, positions, fills, [row[4] for row in drawn]
