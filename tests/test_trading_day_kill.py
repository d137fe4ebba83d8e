"""`kill -9` of the trading process at any moment, then again: nothing is sent twice, nothing is lost, by the gateway's own record; a writer without an outbox is found out."""
import json
import subprocess
import sys

import pytest
from run_support import ROOT, environment, free_port
from store_support import place_on

KILLS, SERVER_KILLS, SOAK_KILLS, CONTROL_KILLS = 25, 8, 50, 8


def killer(home, kills: int, *more: str, seconds=560) -> dict:
    """The verdict of tests/killer.py."""
    home.mkdir(exist_ok=True)
    words = [sys.executable, str(ROOT / "tests" / "killer.py"), str(home), str(free_port()), "2022-12-28", str(kills), *more]
    done = subprocess.run(words, env=environment(home), capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind, kills", [
    ("sqlite", KILLS), ("postgresql", SERVER_KILLS),
    pytest.param("sqlite", SOAK_KILLS, marks=pytest.mark.soak), pytest.param("postgresql", SOAK_KILLS, marks=pytest.mark.soak),
])  # fmt: skip
def test_kills_lose_nothing_and_send_nothing_twice(tmp_path, kind, kills):
    with place_on(kind, tmp_path / "home"):
        found = killer(tmp_path / "home", kills)
    assert found["killed"] == kills and found["days_finished"] >= kills
    assert {k: found[k] for k in ("not_taken_up", "sent_twice", "fills_lost", "fills_invented", "fills_changed")} == dict.fromkeys(
        ("not_taken_up", "sent_twice", "fills_lost", "fills_invented", "fills_changed"), 0)
    assert found["orders"] > 5 * kills and found["fills"] >= 5 * kills and found["audit_rows"] > 50 * kills


def test_writer_without_an_outbox_is_found_out(tmp_path):
    found = killer(tmp_path / "home", CONTROL_KILLS, "--no-outbox")
    assert found["killed"] == CONTROL_KILLS
    assert found["sent_twice"] > 0 and (found["fills_lost"] > 0 or found["not_taken_up"] > 0), found
