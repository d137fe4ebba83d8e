"""The same inputs and seed twice leave the same bytes, times aside; another seed does not."""
import pytest

from run_support import contents, free_port, run_folder, status, tables, trading_day

TIMES = {"started", "finished"}


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """Three state folders of the same three sessions: twice seed 7, once seed 8. The port is a parameter, so they share it, one after the other."""
    port, found = free_port(), {}
    for name, seed in (("one", 7), ("two", 7), ("other", 8)):
        found[name] = tmp_path_factory.mktemp(name) / "home"
        done = trading_day(found[name], port, sessions=3, seed=seed)
        assert done.returncode == 0, done.stderr
    return found


def journal(home) -> bytes:
    return (home / "gateway" / "simulated.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["out.ipynb", "report.html"])
def test_run_folder_is_the_same_bytes(homes, name):
    one, two, other = (contents(run_folder(homes[n]))[name] for n in ("one", "two", "other"))
    assert one == two
    assert one != other


def test_status_is_the_same_apart_from_times(homes):
    one, two, other = (status(run_folder(homes[n])) for n in ("one", "two", "other"))
    assert set(one) > TIMES
    assert {k: v for k, v in one.items() if k not in TIMES} == {k: v for k, v in two.items() if k not in TIMES}
    assert one["summary"] != other["summary"]


def test_run_folder_has_the_same_name(homes):
    one, two, other = (run_folder(homes[n]).name for n in ("one", "two", "other"))
    assert one == two != other


def test_database_holds_the_same_rows(homes):
    one, two, other = (tables(homes[n]) for n in ("one", "two", "other"))
    assert len(one["audit"]) > 100 and len(one["fills"]) > 10
    for name in one:
        assert one[name] == two[name], name
    assert {name for name in one if one[name] != other[name]} >= {"fills", "transactions", "positions", "snapshots", "audit"}


def test_gateway_journal_is_the_same_bytes(homes):
    assert journal(homes["one"]) == journal(homes["two"]) != journal(homes["other"])


def test_no_path_or_time_of_the_run_is_in_its_artefacts(homes):
    for name in ("out.ipynb", "report.html"):
        text = contents(run_folder(homes["one"]))[name].decode()
        assert str(homes["one"].parent) not in text
        assert status(run_folder(homes["one"]))["started"][:10] not in text
