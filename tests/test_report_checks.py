"""The checks of a report: they begin at the snapshot before, and still every number of the day that was changed is told."""
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from otsport.bench.long_book import ACCOUNT, CAPITAL, FIRST_NEXT, PORTFOLIO, Making, write_book, write_session
from otsport.book.ledger import deposit
from otsport.core.calendars import last_sessions, previous_session, session_close, session_open
from otsport.core.errors import OtsportError
from otsport.data.samples import history
from otsport.data.store import open_store
from otsport.desk.day import Day, read_days
from otsport.desk.report import check_day

DAYS = last_sessions(previous_session(FIRST_NEXT), 3)
LAST = f"{DAYS[-1]:%Y%m%d}"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A book of three sessions; the last bought what is held."""
    return write_book(tmp_path_factory.mktemp("book") / "otsport.db", 3)


@pytest.fixture
def path(made, tmp_path) -> Path:
    """A copy to be changed."""
    for name in ("otsport.db", "audit.key", "audit.head"):
        (tmp_path / name).write_bytes((made.parent / name).read_bytes())
    (tmp_path / "audit.key").chmod(0o600)
    return tmp_path / "otsport.db"


def checked(path: Path, session=DAYS[-1], change=lambda day: day):
    """The checks of a session's report."""
    with open_store(path) as store:
        day = read_days(store, history(), PORTFOLIO, [session])[-1]
        return check_day(change(day), store)


def sql(path: Path, statement: str) -> int:
    """Run past otsport; how many rows it changed."""
    with closing(sqlite3.connect(path)) as db:
        changed = db.execute(statement).rowcount
        db.commit()
    return changed


@pytest.mark.parametrize("session", DAYS)
def test_every_day_of_a_good_book_passes(path, session):
    table = checked(path, session)
    assert "unbroken" in table.html and table.html.count("equal") > 10
    assert ("running balance" in table.html) is (session == DAYS[-1])


@pytest.mark.parametrize("statement", [
    f"update fills set price = price + 0.01 where exec_id like '{LAST}%001.01'",
    f"update fills set qty = '1600' where exec_id like '{LAST}%001.01'",
    f"delete from commissions where exec_id like '{LAST}%001.01'",
    f"update commissions set amount = '2.00' where exec_id like '{LAST}%001.01'",
    f"insert into fills select exec_id || 'x', order_ref, account, portfolio, session, key, contract, side, qty, price, ts, perm_id from fills where exec_id like '{LAST}%001.01'",
    f"update orders set state = 'cancelled' where order_ref like '{LAST}%001'",
    f"update orders set filled_qty = '1' where order_ref like '{LAST}%001'",
    f"update orders set limit_price = '1.00' where order_ref like '{LAST}%001'",
    f"update orders set limit_price = '1.00', version = version + 1000 where order_ref like '{LAST}%001'",
    "update order_events set message = 'x' where seq = (select max(seq) from order_events)",
    "delete from order_events where seq = (select max(seq) from order_events)",
    "update transactions set qty = '1' where seq = (select max(seq) from transactions where kind = 'buy')",
    "update transactions set price = '1' where seq = (select max(seq) from transactions where kind = 'buy')",
    "update legs set amount = amount + 1 where seq = (select max(seq) from transactions)",
    "delete from legs where seq = (select max(seq) from transactions)",
    "insert into transactions select 1000, kind, account, ref || 'x', portfolio, ts, key, contract, qty, price, lots, other from transactions where seq = (select max(seq) from transactions)",
    "update balances set amount = amount + 0.01 where name = 'cash'",
    "insert into balances select portfolio, account, 'realized', currency, '0.01', version from balances where name = 'cash'",
    "update balances set amount = amount + 0.01 where name = 'commissions'",
    "update positions set qty = '1501' where key = 'KO'",
    "update positions set lots = '[]' where key = 'KO'",
    "update positions set realized = '1', version = version + 1 where key = 'KO'",
    "delete from positions where key = 'KO'",
    f"update snapshots set cash = cash + 0.01 where session = '{DAYS[-1]}'",
    f"update snapshots set nav = nav + 0.01 where session = '{DAYS[-1]}'",
    f"update snapshots set unrealized = unrealized + 0.01 where session = '{DAYS[-1]}'",
    f"update snapshots set seq = seq + 1 where session = '{DAYS[-1]}'",
    f"update snapshots set cash = cash + 0.01 where session = '{DAYS[-2]}'",
    f"update snapshots set nav = nav + 0.01 where session = '{DAYS[-2]}'",
    f"update snapshots set seq = seq - 1 where session = '{DAYS[-2]}'",
    f"update snapshots set seq = seq + 1 where session = '{DAYS[-2]}'",
    f"update plans set payload = replace(payload, 'momentum', 'luck') where session = '{DAYS[-1]}'",
    "update audit set payload = replace(payload, 'LLY', 'PG') where seq = (select max(seq) from audit where action = 'booking')",
    "delete from audit where seq = (select max(seq) - 3 from audit)",
    "update audit set subject = 'x' where seq = (select max(seq) from audit)",
])
def test_a_number_of_the_day_that_was_changed_is_told(path, statement):
    assert sql(path, statement) > 0
    with pytest.raises(OtsportError):
        checked(path)


@pytest.mark.parametrize("change", [
    lambda d: replace(d, fills=d.fills[1:]),
    lambda d: replace(d, fills=(replace(d.fills[0], price=d.fills[0].price + 1), *d.fills[1:])),
    lambda d: replace(d, commissions=dict(list(d.commissions.items())[1:])),
    lambda d: replace(d, commissions=dict.fromkeys(d.commissions, Decimal(2))),
    lambda d: replace(d, orders=d.orders[1:]),
    lambda d: replace(d, snapshot=replace(d.snapshot, cash=d.snapshot.cash + 1)),
    lambda d: replace(d, snapshot=replace(d.snapshot, realized=Decimal(1))),
    lambda d: replace(d, snapshot=replace(d.snapshot, commissions=Decimal(1))),
    lambda d: replace(d, snapshot=replace(d.snapshot, day_pnl=d.snapshot.day_pnl + 1)),
    lambda d: replace(d, snapshot=replace(d.snapshot, positions=d.snapshot.positions[1:])),
])
def test_a_day_that_is_not_that_of_the_store_is_told(path, change):
    def changed(day: Day) -> Day:
        other = change(day)
        assert (other.fills, other.commissions, other.orders, other.snapshot) != (day.fills, day.commissions, day.orders, day.snapshot)
        return other

    with pytest.raises(OtsportError):
        checked(path, change=changed)


def test_an_earlier_day_is_left_to_verify(path):
    """What the report of a day no longer reads, `otsport db verify` does."""
    assert sql(path, "update fills set price = '1.00' where exec_id = (select min(exec_id) from fills)") == 1
    checked(path)
    with pytest.raises(OtsportError, match="price is 1.00"), open_store(path) as store:
        store.verify()


def test_an_older_day_is_checked_though_its_rows_have_moved_on(path):
    """Positions and balances are those of the newest day; the older one is compared with what no later row has changed."""
    assert sql(path, f"update transactions set price = '1' where ref like '{DAYS[0]:%Y%m%d}%001.01' and kind = 'buy'") == 1
    checked(path), checked(path, DAYS[1])
    with pytest.raises(OtsportError):
        checked(path, DAYS[0])


def in_the_instant(path: Path) -> Path:
    """A book with a dollar before, and two dollars after, the snapshot of its first day, all in the very instant of that snapshot."""
    with open_store(path) as store:
        making = Making(store, history())
        with store.unit(session_open(DAYS[0])) as unit:
            unit.add_portfolio(PORTFOLIO, ACCOUNT)
            making.book(unit, deposit(ACCOUNT, PORTFOLIO, CAPITAL, session_open(DAYS[0]), "opening"))
            making.book(unit, deposit(ACCOUNT, PORTFOLIO, Decimal(1), session_close(DAYS[0]), "before the snapshot"))
        write_session(making, DAYS[0], 1, last=False)
        with store.unit(session_close(DAYS[0])) as unit:
            making.book(unit, deposit(ACCOUNT, PORTFOLIO, Decimal(2), session_close(DAYS[0]), "after the snapshot"))
        write_session(making, DAYS[1], 2, last=True)
    return path


def by_clock(of, begins):
    """Transactions as one would take them by their time instead of by the order of the audit."""
    def transactions(self, portfolio, since=None, until=None):
        return [t for t in of(self, portfolio) if (since is None or begins(t.ts, since.ts)) and (until is None or t.ts <= until.ts)]

    return transactions


def test_what_was_booked_in_the_instant_of_a_snapshot_counts_once(tmp_path, monkeypatch):
    path = in_the_instant(tmp_path / "otsport.db")
    for session in DAYS[:2]:
        checked(path, session)
    from otsport.data.reads import LedgerReads

    for begins in (lambda ts, before: ts >= before, lambda ts, before: ts > before):  # counted twice, or never
        with monkeypatch.context() as patched:
            patched.setattr(LedgerReads, "transactions", by_clock(LedgerReads.transactions, begins))
            with pytest.raises(OtsportError, match="cash follows from the session before"):
                checked(path, DAYS[1])


def test_what_is_booked_after_the_newest_snapshot_stands_in_the_balances(path):
    with open_store(path) as store:
        late = session_close(DAYS[-1]) + timedelta(hours=1)
        with store.unit(late) as unit:
            unit.book(deposit(ACCOUNT, PORTFOLIO, Decimal(5), late, "in the evening"))
    assert checked(path).html.count("running balance") == 3
    assert sql(path, "update legs set amount = '6' where seq = (select max(seq) from transactions) and amount = '5'") == 1
    with pytest.raises(OtsportError):
        checked(path)
