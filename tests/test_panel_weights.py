"""The panel on weights and bounds, without a browser: the numbers are those of the optimizer, by other ways; a clash stays one; every price is what asking twice gives."""
import re
import time
from dataclasses import replace

import numpy as np
import pytest

from otsport.core.calendars import session_close
from otsport.core.contracts import stock
from otsport.core.errors import InputError, SolverError
from otsport.core.intent import Target, View
from otsport.core.settings import settings
from otsport.data.samples import sample
from otsport.desk.plan import Mandate, weigh
from otsport.desk.weights_if import Choice, bounds_of, clash_words, outlook, weights_if
from otsport.panels.what_if import weights_panel
from otsport.portfolio.bounds import smallest_clash
from otsport.portfolio.empirical import shortfall
from otsport.portfolio.objectives import OBJECTIVES, capped_bounds, limit_bounds
from panel_support import PRICES, day, read_book, shown  # noqa: F401  # day: a fixture

VIEWS = tuple(View(stock(s), r, c, 0.08, (("mine", 1.0),)) for s, r, c in (("KO", 0.06, 0.8), ("LLY", 0.20, 0.7), ("XOM", 0.12, 0.9), ("PG", 0.09, 0.75)))


@pytest.fixture(scope="module")
def o(day):
    return outlook(day)


@pytest.fixture(scope="module")
def told(day):
    return outlook(replace(day, plan=replace(day.plan, views=VIEWS)))


def test_greatest_sharpe_by_another_solver(o):
    "SLSQP from many sides finds nothing better within the same bounds, and the same weights."
    from scipy.optimize import minimize

    choice, mu, cov = o.start, o.expected_returns, o.cov.to_numpy()
    found = weights_if(o, choice).optimum
    groups = [np.array([o.sectors[n] == s for n in o.names], float) for s in sorted(set(o.sectors.values()))]
    rules = [{"type": "ineq", "fun": lambda w, g=g: choice.max_sector - g @ w} for g in groups]
    rules += [{"type": "ineq", "fun": lambda w: w.sum() - choice.min_invested}, {"type": "ineq", "fun": lambda w: 1 - w.sum()}]
    best = minimize(lambda w: -(mu @ w) / np.sqrt(w @ cov @ w), np.full(20, 0.045), bounds=[(0, choice.max_position)] * 20, constraints=rules, method="SLSQP", options={"maxiter": 500, "ftol": 1e-12})
    assert found.sharpe == pytest.approx(-best.fun, abs=1e-6)
    np.testing.assert_allclose(found.weights, best.x, atol=2e-3)


MOVED = {"position cap": "max_position", "least invested": "min_invested", "turnover": "max_turnover", "vol": "max_vol"}
VALUE = {"max_sharpe": lambda f, c: f.sharpe, "max_return": lambda f, c: f.expected_return, "min_variance": lambda f, c: -f.vol, "mean_variance": lambda f, c: f.expected_return - c.risk_aversion / 2 * f.vol**2,
         "min_cvar": lambda f, c: -shortfall(PRICES.past(session_close(PRICES.last)).returns(f.bounds.names, 504) @ f.weights, level=0.95)}


@pytest.mark.parametrize("turnover", [np.inf, 0.8])
@pytest.mark.parametrize("word", VALUE)
@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
def test_a_price_is_what_asking_twice_gives(o, word, turnover):
    "Central differences, of the knob itself: of all names at the cap, of all sector caps together."
    choice, step = replace(o.start, objective=word, max_turnover=turnover, max_vol=0.16, max_sector=0.31), 1e-5
    value = lambda **moved: VALUE[word](weights_if(o, replace(choice, **moved)).optimum, choice)
    prices = weights_if(o, choice).prices["price"]
    assert len(prices) > 1
    sums = {MOVED[name]: price for name, price in prices.items() if name in MOVED} | {"max_sector": sum(p for name, p in prices.items() if name.startswith("sector cap"))}
    for what, price in sums.items():
        at = getattr(choice, what)
        slope = 0.01 * (value(**{what: at + step}) - value(**{what: at - step})) / (2 * step)
        assert price == pytest.approx(slope, abs=3e-6 if turnover < np.inf else 3e-7), what


def test_in_a_corner_a_price_is_the_most_that_one_more_percent_brings(o):
    "Two names of 15 % fill a sector of 30 %: one more percent of either bound alone brings less, one less costs at least the price."
    choice = replace(o.start, objective="mean_variance", max_sector=0.3)
    price = weights_if(o, choice).prices.at["position cap", "price"]
    value = lambda cap: VALUE["mean_variance"](weights_if(o, replace(choice, max_position=cap)).optimum, choice)
    assert value(0.16) - value(0.15) < 0.7 * price and value(0.15) - value(0.14) > price


def test_a_bound_that_does_not_bind_has_no_price(o):
    found = weights_if(o, replace(o.start, max_position=0.9, max_sector=1.0, min_invested=0.0))
    assert "position cap" not in found.prices.index


def test_a_rule_has_no_price_and_says_so(o):
    found = weights_if(o, replace(o.start, objective="risk_parity"))
    assert found.prices.empty and "maximizes nothing" in found.prices_table().html


@pytest.mark.parametrize("word", [w for w in OBJECTIVES if w != "sizes"])
def test_weights_are_those_of_the_trading_day(told, word):
    "By the plan's own function, on the same views, sizes and limits; as much invested at least as it asks for."
    choice = replace(told.start, objective=word, max_vol=0.02)
    mandate = Mandate("DU1", "main", 1, settings(), objective=word, objective_with=tuple(choice.given().items()))
    upper = {n: w for n, w in zip(told.names, bounds_of(told, choice).upper) if w}
    caps = [Target(stock(n), w) for n, w in upper.items()]
    expected, names = dict(zip(told.names, told.expected_returns)), list(upper)
    by_plan = weigh(caps, expected, told.cov.loc[names, names], told.sectors, mandate, told.seen)
    wished, earned, vol = by_plan.targets, by_plan.expected_return, by_plan.vol
    least = 0.0 if word in ("max_return", "mean_variance", "kelly") else limit_bounds(caps, told.sectors, mandate.settings.limits).min_net
    found = weights_if(told, replace(choice, min_invested=least))
    ours = dict(zip(told.names, found.optimum.weights))
    for target in wished:
        assert ours[target.contract.symbol] == pytest.approx(target.weight, abs=2e-6), word
    assert sum(abs(ours[n]) for n in told.names if n not in upper) <= 1e-12
    assert found.optimum.vol == pytest.approx(vol, abs=1e-6) and found.optimum.expected_return == pytest.approx(earned, abs=1e-6)


def test_a_tighter_cap_never_gains(o):
    best = [weights_if(o, replace(o.start, max_position=cap)).optimum.sharpe for cap in (0.05, 0.08, 0.12, 0.2, 0.4)]
    assert best == sorted(best)


@pytest.mark.parametrize("changes, words", [
    ({"max_position": 0.03}, ["position cap 3.0% (60.0% in all)", "least invested 80.0%", "all else allows 60.0%"]),
    ({"max_sector": 0.10}, ["least invested 80.0%", "sector cap 10.0% (", "all else allows 70.0%"]),
    ({"max_position": 0.05, "min_invested": 0.0, "max_turnover": 0.1}, ["position cap 5.0%", "turnover 10.0%", "raise one of them"]),
    ({"min_invested": 1.0, "max_turnover": 0.05}, ["turnover 5.0%", "least invested 100.0%"]),
    ({"objective": "max_return", "max_vol": 0.02}, ["the least is", "raise the vol limit, or lower least invested"]),
])
def test_a_clash_is_named(o, changes, words):
    with pytest.raises(SolverError) as error:
        weights_if(o, replace(o.start, **changes))
    for text in words:
        assert text in str(error.value)


def test_clash_of_what_holds_together_is_blank(o):
    assert clash_words(bounds_of(o, o.start), o.start) == ""


def test_each_of_a_clash_is_needed(o):
    "Without any one of those that are named, weights exist."
    choice = replace(o.start, max_position=0.03)
    b = bounds_of(o, choice)
    assert smallest_clash(b) and not smallest_clash(replace(b, min_net=0.6)) and not smallest_clash(bounds_of(o, replace(choice, max_position=0.05)))


def test_names_that_stand_twice_are_refused():
    with pytest.raises(InputError, match="KO stands twice"):
        capped_bounds(["KO", "KO"], [0.1, 0.2], {"KO": "Staples"}, settings().limits)


def test_returns_of_ones_own_with_sectors_and_held():
    r = sample("sp500_20_daily").loc["2021":"2022-12-27", ["AAPL", "KO", "XOM", "PG"]].pct_change().iloc[1:].rename(columns={"AAPL": "fund A & B"})
    kinds = {"XOM": "energy", "PG": "food", "KO": "food", "fund A & B": "tech"}
    own = outlook(r, kinds, held={"PG": 0.1, "KO": 0.3, "XOM": 0.0, "fund A & B": 0.2})
    assert own.held.tolist() == [0.2, 0.3, 0.0, 0.1] and own.sectors["PG"] == "food"
    panel = weights_panel(r, kinds, held={"PG": 0.1, "KO": 0.3, "XOM": 0.0, "fund A & B": 0.2})
    assert "fund A &amp; B" in panel.body.value and panel.knobs.max_sector.layout.display == "" == panel.knobs.max_turnover.layout.display
    for wrong, words in (({"held": {"KO": 1.0}}, "held"), ({"sectors": kinds | {"ZZZ": "x"}}, "ZZZ")):
        with pytest.raises(InputError, match=words):
            outlook(r, **wrong)


def test_a_book_takes_no_sectors(day):
    with pytest.raises(InputError, match="a book has its own"):
        outlook(day, {"KO": "Staples"})


def test_panel_shows_what_the_optimizer_gives(day, o):
    panel = weights_panel(day)
    panel.knobs.max_position.value = 10
    found = weights_if(o, replace(o.start, max_position=0.10))
    text = shown(panel.body.value, " ")
    assert "PAPER" in panel.children[0].value and found.headline() in shown(panel.said.value, " ")
    for name, row in found.frame().iterrows():
        assert re.search(rf"{name}\s+{row['held']:.1%}\s+{row['weight']:.1%}\s+{row['risk share']:.1%}".replace("-", "-?"), text), name
    for bound, row in found.prices.iterrows():
        assert f"{bound} {row['at']:.1%}" in text and f"{row['price']:+.4f}" in text


def test_a_clash_keeps_the_last_answer_as_old(day):
    panel = weights_panel(day)
    before = panel.body.value, panel.answer
    panel.knobs.max_position.value = 3
    assert (panel.body.value, panel.answer) == before and "otsport-old" in panel.body._dom_classes
    assert panel.clash in shown(panel.said.value, " ") and panel.answer.choice.words() in shown(panel.said.value, " ")
    panel.knobs.max_position.value = 15
    assert panel.clash == "" and "otsport-old" not in panel.body._dom_classes and panel.body.value == before[0]


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
def test_a_move_answers_in_a_tenth_of_a_second_beyond_the_optimizer(day):
    panel = weights_panel(day)
    panel.knobs.max_position.value = 12
    for name, value in (("max_position", 10), ("max_sector", 30), ("min_invested", 60), ("max_position", 11)):
        start = time.process_time()
        getattr(panel.knobs, name).value = value
        spent = time.process_time() - start
        assert panel.clash == "" and spent - panel.answer.seconds < 0.1, (name, spent, panel.answer.seconds)


def test_a_move_fills_each_text_once(day):
    panel, seen = weights_panel(day), []
    for part in (panel.said, panel.body):
        part.observe(lambda change: seen.append(change["owner"]), "value")
    panel.knobs.max_position.value = 11
    assert seen == [panel.said, panel.body]


def test_only_what_applies_is_shown(day):
    panel = weights_panel(replace(day, plan=replace(day.plan, views=VIEWS)))
    there = lambda: {name for name, w in vars(panel.knobs).items() if w.layout.display != "none"}
    always = {"objective", "sizing", "max_position", "max_sector", "min_invested", "max_turnover"}
    for word, more in (("max_sharpe", set()), ("max_return", {"max_vol"}), ("mean_variance", {"risk_aversion"}), ("mixed", {"sharpe_share"})):
        panel.knobs.objective.value = word
        assert there() == always | more
    panel.knobs.objective.value = "sizes"
    assert there() == {"objective", "sizing"}
    panel.knobs.sizing.value = ""
    assert "choose a sizing method" in panel.clash


def test_the_stress_tab_is_that_of_the_book(day):
    from otsport.desk.stress_test import stress_test
    from otsport.desk.what_if import day_risk
    from otsport.show.scenarios import scenario_sentence

    panel = weights_panel(day)
    assert panel.tabs.children[1].value == ""
    panel.tabs.selected_index = 1
    said = scenario_sentence(stress_test(day_risk(day), prices=PRICES.stock_table.frame).scenarios)
    assert said in shown(panel.tabs.children[1].value, " ").replace(" $ ", "$") and "<img alt=" in panel.tabs.children[1].value


def test_panel_of_an_open_book_begins_where_its_rules_do(tmp_path, day):
    book = read_book(tmp_path, limits={"max_position_weight": 0.11, "max_sector_weight": 0.4})
    panel = weights_panel(book)
    assert panel.answer.choice == Choice(max_position=0.11, max_sector=0.4, min_invested=0.8)
    held = {m.contract.symbol: float(m.value / book.days(1)[-1].snapshot.nav) for m in book.days(1)[-1].snapshot.positions if not m.contract.is_option}
    assert panel.answer.frame()["held"][list(held)].tolist() == pytest.approx(list(held.values()))


def test_objective_of_a_book_is_where_the_panel_begins(day):
    told = outlook(replace(day, plan=replace(day.plan, rules=(("objective", "max_return max_vol 0.1"),))))
    assert (told.start.objective, told.start.max_vol, told.start.min_invested) == ("max_return", 0.1, 0.0)


def test_panel_of_nothing_says_so(tmp_path):
    assert "no finished session" in weights_panel(read_book(tmp_path, begun=False)).children[0].value
