"""A market that is written by hand, for tests of the exchange: six steps a day, prices and sizes from a short formula."""
from datetime import date, timedelta
from decimal import Decimal

from otsport.core.calendars import session_close, session_open
from otsport.core.contracts import Contract, OptionChain, Quote, option, stock
from otsport.core.orders import OrderType, Side
from otsport.gateway.journal import Ticket

KO, PEP = stock("KO"), stock("PEP")
THURSDAY, EXPIRY, LAST = date(2022, 12, 15), date(2022, 12, 16), date(2022, 12, 20)
CALL, PUT = option("KO", EXPIRY, Decimal(60), "C"), option("KO", EXPIRY, Decimal(60), "P")
LATER_CALL = option("KO", date(2023, 1, 20), Decimal(60), "C")
CASH = {"DU1": Decimal(100_000), "DU2": Decimal(50_000)}


class TapeMarket:
    "KO near 60, PEP near 180, options near 1.20; `drift` moves the stocks by so many cents a step."

    symbols = ("KO", "PEP")

    def __init__(self, seed: int = 0, drift: int = 1, size: int = 200):
        self.seed, self.drift, self.size = seed, drift, size

    def has_prices(self, day: date) -> bool:
        return day <= LAST

    def session_steps(self, day: date):
        opening, closing = session_open(day), session_close(day)
        hours = [opening + timedelta(hours=h) for h in (0, 2, 4)]
        return (opening - timedelta(minutes=30), *hours, closing, closing + timedelta(minutes=1))

    def cents(self, contract: Contract, day: date, step: int) -> int:
        base = 120 if contract.is_option else 6000 if contract.symbol == "KO" else 18_000
        wave = (7 * step + 11 * day.day + 3 * self.seed) % 9 - 4
        return base + wave + (0 if contract.is_option else self.drift * min(step, 4))

    def quote(self, contract: Contract, day: date, step: int) -> Quote:
        bid, lot = self.cents(contract, day, step), self.size // (40 if contract.is_option else 1)
        sizes = [lot + (step + k + self.seed) % 3 for k in (0, 1)]
        return Quote(contract, self.session_steps(day)[step], bid / 100, (bid + 2) / 100, *sizes, last=bid / 100, close=bid / 100, source="modelled")

    def official_close(self, symbol: str, day: date) -> Decimal:
        return Decimal(self.cents(stock(symbol), day, 4)) / 100

    def chains(self, symbol: str, day: date) -> tuple[OptionChain, ...]:
        return (OptionChain(symbol, (EXPIRY, date(2023, 1, 20)) if day <= EXPIRY else (date(2023, 1, 20),), (Decimal(55), Decimal(60), Decimal(65))),)


def ticket(order_id: int, side: str, qty, contract: Contract = KO, limit=None, account: str = "DU1", client_id: int = 1, **more) -> Ticket:
    "An order, at market when no limit is given."
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    return Ticket(account, client_id, order_id, contract, Side(side), Decimal(qty), kind, None if limit is None else Decimal(limit), **more)


class StillMarket:
    "Nothing moves unless a test says so: KO 60.00 to 60.02, 500 shares a side; options 1.20 to 1.25, 5 contracts; SPX has two trading classes."

    symbols, seed = ("KO", "BRK B", "SPX"), 0

    def __init__(self, **closes: str):
        self.closes = {name: Decimal(price) for name, price in closes.items()}
        self.said: dict[tuple[int, str], tuple[float, float, int, int]] = {}  # (step, key or symbol of the contract) -> bid, ask, sizes

    def has_prices(self, day: date) -> bool:
        return day <= LAST

    def session_steps(self, day: date):
        opening, closing = session_open(day), session_close(day)
        return (opening - timedelta(minutes=30), opening, opening + timedelta(hours=2), closing, closing + timedelta(minutes=1))

    def quote(self, contract: Contract, day: date, step: int) -> Quote:
        usual = (1.20, 1.25, 5, 5) if contract.is_option else (60.00, 60.02, 500, 500)
        bid, ask, bid_size, ask_size = self.said.get((step, contract.key), usual)
        return Quote(contract, self.session_steps(day)[step], bid, ask, bid_size, ask_size, last=60.01, close=60.01, source="modelled")

    def official_close(self, symbol: str, day: date) -> Decimal:
        return self.closes.get(symbol, Decimal("60.01"))

    def chains(self, symbol: str, day: date) -> tuple[OptionChain, ...]:
        expiries = tuple(e for e in (EXPIRY, date(2023, 1, 20)) if e >= day)
        if symbol != "SPX":
            return (OptionChain(symbol, expiries, (Decimal(55), Decimal(60), Decimal(65))),)
        return tuple(OptionChain("SPX", expiries, (Decimal(3800), Decimal(3900)), trading_class=name) for name in ("SPX", "SPXW"))
