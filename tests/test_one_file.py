"""A sizing method and an objective of one's own are one function and its word in one table: book.yaml, sizing and plan take them from there."""
import numpy as np
import pandas as pd
import pytest

import otsport
from otsport.analytics.definitions import DEFINITIONS, PERIOD, Definition
from otsport.analytics.performance import performance
from otsport.app.folder import new_folder, read_folder
from otsport.core.constraints import WeightCap
from otsport.core.contracts import stock
from otsport.core.errors import FolderError, InputError
from otsport.core.intent import Step, Target, View
from otsport.core.settings import Limits, Settings, Sizing
from otsport.desk.plan import Mandate, weigh
from otsport.portfolio import objectives, sizing
from otsport.portfolio.risk_parity import of_rule


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    made = new_folder(tmp_path / "desk").path
    book = made / "book.yaml"
    book.write_text(book.read_text().replace("objective: max_sharpe", "objective: first_only").replace("sizing:\n", "sizing:\n  method: halved\n"))
    return made


def stock_target(symbol):
    return Target(stock(symbol), 0.3)


def halved(view, known):
    "Half of the base size, whatever the confidence."
    return known.times("half", known.rules.base_size / 2)


def first_only(expected_returns, cov, bounds, rate):
    "All but the first stock weigh nothing."
    weights = np.where(np.arange(len(bounds.names)) == 0, bounds.upper, 0.0)
    return of_rule("first only", weights, cov.to_numpy(), bounds, 0.0, "none", 0.0)


def rules_of(word, limits=Limits(), **given):
    return Mandate("DU1", "main", 1, Settings(limits=limits), objective=word, objective_with=tuple(given.items()))


def test_words_that_nobody_has_defined_are_refused_with_those_that_are(folder):
    with pytest.raises(FolderError) as error:
        read_folder(folder)
    for words in ("objective = 'first_only': input should be 'max_sharpe' or 'min_variance' or 'max_diversification' or 'sizes'", "method = 'halved': input should be 'confidence'"):
        assert words in str(error.value)


def test_a_method_and_an_objective_work_once_they_stand_in_their_tables(folder, monkeypatch):
    monkeypatch.setitem(sizing.METHODS, "halved", (halved,))
    monkeypatch.setitem(objectives.OBJECTIVES, "first_only", objectives.Objective(first_only, invest=0.0))
    made = read_folder(folder)
    rules = made.own_settings(made.broker()).sizing
    views = [View(stock(s), 0.08, 0.7, 0.05, (("mine", 1.0),)) for s in ("AAPL", "KO")]
    targets, decisions = sizing.size_all(views, rules)
    assert [t.weight for t in targets] == [rules.base_size / 2] * 2 and all(d.accepted for d in decisions)
    cov, sectors = pd.DataFrame(0.04 * np.eye(2), ["AAPL", "KO"], ["AAPL", "KO"]), {"AAPL": "tech", "KO": "staples"}
    found = weigh(targets, {"AAPL": 0.08, "KO": 0.08}, cov, sectors, rules_of(made.book.objective))
    assert [t.weight for t in found.targets] == [rules.base_size / 2, 0.0] and found.targets[0].steps[-1].name == "first only"
    assert "method halved" in dict(made.rules)["sizing"] and dict(made.rules)["objective"] == "first_only"


def test_what_a_method_wishes_is_still_held_to_the_risk_of_a_position(monkeypatch):
    monkeypatch.setitem(sizing.METHODS, "all", (lambda view, known: Step("all", 1.0, 1.0),))
    rules = Sizing(method="all", max_position_risk=0.01, max_portfolio_risk=1.0)
    (target,), (decision,) = sizing.size_all([View(stock("KO"), 0.08, 0.7, 0.05, (("mine", 1.0),))], rules)
    assert target.weight == pytest.approx(0.2) and (decision.code, decision.before, decision.after) == ("POSITION_RISK", 1.0, target.weight)
    with pytest.raises(InputError, match="sizing method 'none' is not known: use one of confidence, .*, optimal_f, all"):
        sizing.size_all([View(stock("KO"), 0.08, 0.7, 0.05, (("mine", 1.0),))], Sizing(method="none"))


def test_a_folder_of_before_is_decided_by_the_same_rules(tmp_path, monkeypatch):
    "A finished day of it is taken for the same: the usual method is not said."
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    assert "method" not in dict(read_folder(new_folder(tmp_path / "desk").path).rules)["sizing"]


def test_a_cap_that_is_added_to_the_caps_is_held_by_the_optimizer(monkeypatch):
    names = ("KO", "PEP", "XOM")
    targets, cov = [stock_target(n) for n in names], pd.DataFrame(0.04 * np.eye(3), names, names)
    wished = dict(KO=0.2, PEP=0.2, XOM=0.01)
    usual = {t.contract.symbol: t.weight for t in objectives.optimize_targets(targets, wished, cov, dict.fromkeys(names, "all"), Limits(max_position_weight=0.3, max_sector_weight=1.0))[0]}
    assert usual["KO"] + usual["PEP"] > 0.25  # without the cap: the negative control
    honest = objectives.weight_caps
    monkeypatch.setattr(objectives, "weight_caps", lambda *given: (*honest(*given), WeightCap("COLA", "cap on colas", ("KO", "PEP"), 0.25)))
    held = {t.contract.symbol: t.weight for t in objectives.optimize_targets(targets, wished, cov, dict.fromkeys(names, "all"), Limits(max_position_weight=0.3, max_sector_weight=1.0))[0]}
    assert held["KO"] + held["PEP"] == pytest.approx(0.25, abs=1e-9)


@pytest.mark.parametrize("said, words", [
    ("max_return", "objective = 'max_return': max_vol: the field is missing: max_return needs it, give a number above 0, at most 5: an annual vol, 0.12 is 12 %"),
    ("max_return\nobjective_with: {max_vol: 12}", "objective_with.max_vol = 12: give a number above 0, at most 5"),
    ("max_return\nobjective_with: {max_vol: 0.1, min_vol: 0.1}", "objective_with.min_vol = 0.1: there is no such field here: max_return takes max_vol"),
    ("max_sharpe\nobjective_with: {max_vol: 0.1}", "objective_with.max_vol = 0.1: there is no such field here: max_sharpe takes nothing"),
    ("mean_variance\nobjective_with: {risk_aversion: true}", "objective_with.risk_aversion = True: give a number above 0"),
    ("mixed\nobjective_with: {shares: {max_sharpe: 0.5}}", "give shares of max_sharpe, min_variance"),
    ("mixed\nobjective_with: {shares: {sizes: 1.0}}", "sizes is none that can be mixed"),
])
def test_what_an_objective_needs_is_checked_with_its_line(tmp_path, monkeypatch, said, words):
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    book = new_folder(tmp_path / "desk").path / "book.yaml"
    book.write_text(book.read_text().replace("\nobjective: max_sharpe\n", f"\nobjective: {said}\n"))
    line = next(i for i, text in enumerate(book.read_text().splitlines(), 1) if text.startswith("objective:"))
    with pytest.raises(FolderError, match=f"book.yaml, line ({line}|{line + 1}): ") as error:
        read_folder(book.parent)
    assert words in str(error.value)


GIVEN = {"max_return": {"max_vol": 0.12}, "mean_variance": {"risk_aversion": 5.0}, "mixed": {"shares": {"max_sharpe": 0.5, "risk_parity": 0.5}}}


@pytest.mark.parametrize("word", list(objectives.OBJECTIVES))
def test_every_objective_of_the_book_stays_below_the_sizes_and_the_limits(tmp_path, monkeypatch, word):
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    book = new_folder(tmp_path / "desk").path / "book.yaml"
    more = f"\nobjective_with: {GIVEN[word]}" if word in GIVEN else ""
    book.write_text(book.read_text().replace("\nobjective: max_sharpe\n", f"\nobjective: {word}{more}\n"))
    folder = read_folder(book.parent)
    assert dict(folder.rules)["objective"].startswith(word) and ("max_vol 0.12" in dict(folder.rules)["objective"]) == (word == "max_return")
    names = ("KO", "PEP", "XOM", "AAPL")
    cov = pd.DataFrame(np.diag([0.02, 0.03, 0.06, 0.09]) + 0.01, names, names)
    caps, sectors = [Target(stock(n), 0.12) for n in names], dict(zip(names, ("staples", "staples", "energy", "technology")))
    past = pd.DataFrame(np.random.default_rng(0).normal(4e-4, 0.01, (300, 4)), columns=names)
    seen = objectives.Seen(lambda symbols: past[list(symbols)], {"KO": 0.9})
    rules = Limits(max_position_weight=0.11, max_sector_weight=0.2)
    found = weigh(caps, dict(zip(names, (0.04, 0.05, 0.1, 0.08))), cov, sectors, rules_of(word, rules, **folder.book.objective_with), seen)
    targets, earned, vol = found.targets, found.expected_return, found.vol
    w = {t.contract.symbol: t.weight for t in targets}
    assert found.binding  # some rule holds these weights where they are
    if word == "sizes":
        assert set(w.values()) == {0.12}
        return
    x = np.array([w[n] for n in names])
    assert x.max() <= 0.11 + 1e-9 and w["KO"] + w["PEP"] <= 0.2 + 1e-9 and x.min() >= 0
    assert vol == pytest.approx((x @ cov @ x) ** 0.5) and earned == pytest.approx(x @ [0.04, 0.05, 0.1, 0.08])
    assert all(t.steps[-1].name == word.replace("_", " ") for t in targets)


def test_a_measure_of_ones_own_is_a_row_of_definitions(monkeypatch):
    """Table, explanation and page have it, with its heading and unit; nothing else was touched."""
    returns = pd.Series([0.01, -0.02, 0.03, 0.0, -0.01] * 60, pd.bdate_range("2021-01-04", periods=300))
    middle = Definition("middle", "Middle session", PERIOD, "median(r)", "", lambda record: np.median(record.rows, axis=1), {})
    before = otsport.tear_sheet(returns).html
    monkeypatch.setitem(DEFINITIONS, "middle", middle)
    assert performance(returns)["middle"].iloc[0] == 0.0 and "Middle session" in repr(performance(returns))
    after = otsport.tear_sheet(returns).html
    assert "Middle session, a period" in after and "Middle session" not in before
