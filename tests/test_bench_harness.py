"""The bench harness: a time counts only after the answers were compared. Its clock is one of the test: no load of the machine is in a number."""
import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from otsport.bench import harness
from otsport.bench.harness import Job, Part, chosen, jobs, markdown, measure, plain, rows, times_text
from otsport.core.errors import CheckFailed, InputError

ROOT = Path(__file__).resolve().parents[1]


NOW = [0.0]  # seconds of the test's clock


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(harness, "time", SimpleNamespace(perf_counter=lambda: NOW[0]))


def slow(seconds, answer):
    "A run that takes so many seconds of the test's clock; no run takes none, as on a real one."
    def run():
        NOW[0] += seconds or 1e-6
        return answer
    return run


def uneven(seconds, answer, share=0.2, more=0.5):
    "The same, and a fifth of the calls is held up, as by another process."
    rng = random.Random(4)

    def run():
        NOW[0] += seconds + (more if rng.random() < share else 0.0)
        return answer
    return run


def job(**change):
    given = dict(name="wait", size="1", ours=slow(0.003, 1.0), peers={"slow": slow(0.012, 1.0)}, error=lambda a, b: abs(a - b), tolerance=1e-12,
                 floors={"slow": 2.0})
    return Job(**(given | change))


def test_ratio_of_a_peer_four_times_slower():
    got = measure(job(), 0.1)
    assert (got["ratio"]["slow"], got["ours_ms"]) == pytest.approx((4, 3)) and got["error"] == 0 and got["floor"] == {"slow": 2.0}


def test_calls_that_are_held_up_do_not_move_the_median():
    "The control is the mean, which they move."
    got = measure(job(ours=uneven(0.003, 1.0), peers={"slow": uneven(0.012, 1.0)}), 20.0)
    assert (got["ratio"]["slow"], got["ours_ms"]) == pytest.approx((4, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.statistics, "median", harness.statistics.mean)
        assert measure(job(ours=uneven(0.003, 1.0), peers={"slow": uneven(0.012, 1.0)}), 20.0)["ratio"]["slow"] < 1.5


def test_part_of_the_work_is_scaled():
    assert measure(job(peers={"a tenth": Part(slow(0.012, 1.0), 10)}), 0.1)["ratio"]["a tenth"] == pytest.approx(40)


def test_quick_calls_are_timed_in_a_row():
    got = measure(job(ours=slow(2e-6, 1.0), peers={"slow": slow(8e-6, 1.0)}), 0.0)
    assert (got["ratio"]["slow"], got["ours_ms"]) == pytest.approx((4, 2e-3))


def test_faster_variant_counts_for_us():
    assert measure(job(ours=slow(0.006, 1.0), faster={"2 threads": slow(0.003, 1.0)}), 0.1)["ratio"]["2 threads"] == pytest.approx(2)


@pytest.mark.parametrize("wrong", [1.1, float("nan")])
def test_wrong_peer_is_an_error_not_a_number(wrong):
    with pytest.raises(CheckFailed, match="wait: slow differs"):
        measure(job(peers={"slow": slow(0, wrong)}), 0.0)


def test_tolerance_by_peer_and_error_against_the_reference():
    got = measure(job(peers={"rough": slow(0, 1.01)}, tolerance={"rough": 0.1}, reference=lambda: 1.0 + 1e-9), 0.0)
    assert got["error"] == pytest.approx(1e-9, rel=1e-6)
    with pytest.raises(InputError, match="no tolerance for 'rough'"):
        measure(job(peers={"rough": slow(0, 1.01)}, tolerance={"other": 0.1}), 0.0)


def test_limit_without_a_peer_has_to_reach_one():
    got = measure(job(limits={"36 bytes": lambda: (36.0, 18.0), "10 ns": lambda: (10.0, 20.0)}), 0.0)
    assert got["ratio"]["36 bytes"] == 2 and got["floor"]["10 ns"] == 1
    assert [row[3] for row in rows({"wait": got})] == ["", "2x reached", "1x reached", "1x MISSED"]


def test_json_holds_three_fields_and_the_table_says_missed():
    results = {"wait": measure(job(floors={"slow": 1e9}), 0.0)}
    assert set(json.loads(json.dumps(plain(results)))["wait"]) == {"ours_ms", "error", "ratio"}
    assert rows(results)[1][3].endswith("MISSED")


def test_ratio_is_never_rounded_up():
    assert [times_text(x) for x in (1.79, 44.99, 399.9, 15163.2)] == ["1.7x", "44.9x", "399x", "15,163x"]


def test_table_of_the_readme_is_that_of_the_last_measurement():
    measured = json.loads((ROOT / "bench" / "results.json").read_text())
    assert set(measured) == set(jobs())
    assert markdown(measured) in (ROOT / "README.md").read_text()


def test_unknown_job_is_named():
    with pytest.raises(InputError, match="job 'nothing' is not known"):
        chosen(["nothing"])
