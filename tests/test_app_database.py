"""A state folder typed from file to server and back: days, doctor, Lab, verification and backups go on with the same book."""
import re
from decimal import Decimal

from run_support import free_port, otsport, trading_day
from store_support import drop_database, empty_server_database

import otsport as otsport_package


def done(ran):
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    return ran.stdout


def test_a_book_moves_to_a_server_trades_on_and_comes_back(tmp_path, monkeypatch):
    home, port, name = tmp_path / "home", free_port(), empty_server_database()
    try:
        done(trading_day(home, port, run_date="2022-12-22"))
        assert re.search(rf"the store is in postgresql:///{name}: \d+ audit rows verified", done(otsport(home, "db", "move", f"postgresql:///{name}")))
        assert not (home / "otsport.db").exists() and (home / "otsport.moved.db").exists()
        done(trading_day(home, port, run_date="2022-12-23"))
        verified = done(otsport(home, "db", "verify"))
        assert "audit chain verified" in verified and "portfolio main of DU123456" in verified
        assert "main of DU123456" in done(otsport(home, "doctor"))
        copy = done(otsport(home, "db", "backup", str(tmp_path / "kept"))).split(":")[0]
        monkeypatch.setenv("OTSPORT_HOME", str(home))
        book = otsport_package.open_book()
        assert len(book.nav) == 2 and len(book.positions) > 5
        nav = Decimal(str(book.nav.iloc[-1].iloc[0] if hasattr(book.nav.iloc[-1], "iloc") else book.nav.iloc[-1]))
        done(otsport(home, "db", "move", "file"))
        assert (home / "otsport.db").exists() and not (home / "otsport.url").exists()
        again = otsport_package.open_book()
        assert len(again.nav) == 2 and nav > 0
        refused = otsport(home, "db", "move", f"postgresql:///{name}")
        assert refused.returncode != 0 and "holds a store of" in refused.stderr and len(refused.stderr.strip().splitlines()) == 1
        done(trading_day(home, port, run_date="2022-12-27"))
        older = otsport(home, "db", "restore", copy)
        assert older.returncode != 0 and "--older" in older.stderr
        said = done(otsport(home, "db", "restore", copy, "--older"))
        assert "newer audit rows went" in said and "before-restore-" in said
        done(otsport(home, "db", "verify"))
    finally:
        drop_database(name)
