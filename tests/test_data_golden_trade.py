"""The store of 0.1.0 trades on: one more session through the real gateway, from the journal that 0.1.0 left."""
from datetime import date
from decimal import Decimal

import pytest
from golden_support import unpack
from run_support import free_port, trading_day

from otsport.book.snapshots import check_ledger
from otsport.data.store import open_store

NEXT = date(2022, 12, 16)


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    "The database of 0.1.0 after one more session, traded by the command that a user types."
    home = tmp_path_factory.mktemp("golden") / "home"
    database = unpack("store_0_1_0", home)
    home.chmod(0o700)
    done = trading_day(home, free_port(), run_date=NEXT)
    assert done.returncode == 0, done.stderr
    return database


def test_the_next_session_is_the_one_that_0_1_0_would_have_traded(traded):
    "What 0.1.0 itself printed for this session, from the same folder: NAV $993,774.26; cash $416,881.61; day P&L -$2,231.75; 5 fills, commissions $5.30."
    with open_store(traded) as store:
        last = store.last_snapshot("main")
        assert last.session == NEXT
        assert (f"{last.nav:.2f}", f"{last.cash:.2f}", f"{last.day_pnl:.2f}") == ("993774.26", "416881.61", "-2231.75")
        assert len(store.fills("main", NEXT)) == 5 and sum(c.amount for c in store.commissions("main", NEXT).values()) == Decimal("5.30")
        assert store.counts("main") == {"sessions": 4, "orders": 21, "fills": 25}


def test_the_books_of_both_versions_are_one_book(traded):
    with open_store(traded, read_only=True) as store:
        assert store.verify() > 128
        assert check_ledger("DU123456", "main", store.positions("main"), store.transactions("main"), store.balances("main"))
        before = store.last_snapshot("main", before=NEXT)
        assert store.cash("main") == store.last_snapshot("main").cash == before.cash + sum(t.cash for t in store.transactions("main", since=before))
        assert store.open_orders("main") == []
