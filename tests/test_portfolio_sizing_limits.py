"""Sizes that explain themselves and limits that hold whatever is wished."""
from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.errors import InputError, NoPrices
from otsport.core.books import Lot, Position
from otsport.core.contracts import option, stock
from otsport.core.intent import Step, Target, Verdict, View
from otsport.core.settings import Limits, Sizing
from otsport.core.constraints import coverable_calls, pledged_shares
from otsport.portfolio.limits import apply_limits
from otsport.portfolio.size_steps import confidence_factor
from otsport.portfolio.sizing import size, size_all

SYMBOLS = ("AAPL", "KO", "PEP", "XOM")
SECTORS = {"AAPL": "Tech", "KO": "Staples", "PEP": "Staples", "XOM": "Energy"}
PRICES = {"AAPL": Decimal("130.03"), "KO": Decimal("63.50"), "PEP": Decimal("180"), "XOM": Decimal("109")}
NAV = Decimal(1_000_000)
THEN = datetime(2022, 12, 1, 15, tzinfo=timezone.utc)


def held(contract, qty):
    return Position("DU123456", "main", contract, (Lot(Decimal(qty), Decimal(50), THEN),))


def book(**shares):
    "Positions by key; a value (shares, calls) sells that many calls too."
    positions = {}
    for symbol, value in shares.items():
        count, calls = value if isinstance(value, tuple) else (value, 0)
        if count:
            positions[symbol] = held(stock(symbol), count)
        if calls:
            call = option(symbol, date(2023, 1, 20), 999, "C")
            positions[call.key] = held(call, -calls)
    return positions


def view(symbol="KO", **change):
    return replace(View(stock(symbol), 0.1, 0.75, 0.05, (("momentum", 1.0),)), **change)


@given(st.floats(0, 1), st.floats(0, 1))
def test_confidence_factor_is_monotone_and_bounded(a, b):
    low, high = sorted((a, b))
    assert 0.7 <= confidence_factor(low) <= confidence_factor(high) <= 1.5


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_confidence_factor_refuses(confidence):
    with pytest.raises(InputError, match="outside 0 to 1"):
        confidence_factor(confidence)


views = st.lists(
    st.builds(lambda s, gain, c, loss: view(s, expected_return=gain, confidence=c, max_loss=loss), st.sampled_from(SYMBOLS), st.floats(-0.2, 0.5), st.floats(0, 1), st.floats(0, 1)),
    max_size=4, unique_by=lambda v: v.contract.key,
)


@given(views, st.floats(0.01, 0.5), st.floats(0.001, 0.02), st.floats(0.005, 0.1))
def test_size_all_risk_stays_within_limits(wishes, base, position_risk, portfolio_risk):
    sizing = Sizing(base_size=base, max_position_risk=position_risk, max_portfolio_risk=portfolio_risk)
    targets, decisions = size_all(wishes, sizing)
    losses = {v.contract.key: v.max_loss for v in wishes}
    risks = [t.weight * losses[t.contract.key] for t in targets]
    assert all(r <= position_risk * (1 + 1e-9) for r in risks) and sum(risks) <= portfolio_risk * (1 + 1e-9)
    assert len(decisions) == len(wishes) and {d.subject for d in decisions if d.accepted} == {t.contract.key for t in targets}
    for target in targets:
        assert target.steps[-1].weight == target.weight > 0  # the steps lead to the weight
    assert size_all(wishes[::-1], sizing) == (targets, decisions)


def test_size_min_confidence_is_inclusive():
    assert size(view(confidence=0.6), Sizing()).weight == pytest.approx(0.014)
    assert size(view(confidence=0.5999), Sizing()).weight == 0


def test_size_of_a_short_call_is_refused():
    call = view(contract=option("KO", date(2023, 1, 20), 65, "C"), expected_return=-0.1, max_loss=0.0)
    _, (decision,) = size_all([call], Sizing())
    assert decision.verdict is Verdict.REFUSED and decision.code == "OPTION"


weights = st.dictionaries(st.sampled_from(SYMBOLS), st.floats(0, 1), max_size=4)
counts = st.integers(0, 1500)


@given(weights, st.dictionaries(st.sampled_from(SYMBOLS), st.tuples(counts, st.integers(0, 15)), max_size=4), st.floats(0.05, 0.5), st.floats(0.1, 0.6), st.floats(0.2, 1.5))
@settings(max_examples=150)
def test_apply_limits_holds_every_limit_and_every_pledge(wishes, shares, position, sector, gross):
    positions = book(**{s: (n, min(c, n // 100)) for s, (n, c) in shares.items()})
    limits = Limits(max_position_weight=position, max_sector_weight=sector, max_gross=gross)
    targets, decisions = apply_limits([Target(stock(s), w) for s, w in wishes.items()], limits, SECTORS, positions, PRICES, NAV)
    floors = {s: float(q * PRICES[s] / NAV) for s, q in pledged_shares(positions).items()}
    got = {t.contract.symbol: t.weight for t in targets}
    assert all(got[s] >= f - 1e-12 for s, f in floors.items())
    tol = 1e-9
    for s, w in got.items():
        assert w <= max(position, floors.get(s, 0)) + tol and w <= max(wishes.get(s, 0), floors.get(s, 0)) + tol  # never more than wished
    for name in set(SECTORS.values()):
        members = [s for s in got if SECTORS[s] == name]
        assert sum(got[s] for s in members) <= max(sector, sum(floors.get(s, 0) for s in members)) + tol
    assert sum(got.values()) <= max(gross, sum(floors.values())) + tol
    changed = {t.contract.symbol for t in targets if abs(t.weight - wishes.get(t.contract.symbol, 0)) > tol}
    assert changed <= {d.subject for d in decisions}  # nothing is clipped in silence


def test_apply_limits_leaves_allowed_wishes_alone():
    wishes = (Target(stock("KO"), 0.1), Target(stock("XOM"), 0.1))
    assert apply_limits(wishes, Limits(), SECTORS, {}, PRICES, NAV) == (wishes, ())


def test_apply_limits_pledge_beats_position_limit():
    targets, decisions = apply_limits([], Limits(max_position_weight=0.05), SECTORS, book(KO=(1000, 10)), PRICES, NAV)
    assert targets[0].weight == pytest.approx(0.0635) and [d.code for d in decisions] == ["PLEDGED"]


def test_apply_limits_without_price_of_a_pledge():
    with pytest.raises(NoPrices, match="100 shares are pledged"):
        apply_limits([], Limits(), SECTORS, book(KO=(100, 1)), {}, NAV)


def test_pledged_shares_counts_short_calls_without_a_long_one_only():
    long_call, short_put = option("KO", date(2023, 1, 20), 65, "C"), option("KO", date(2023, 1, 20), 60, "P")
    earlier = option("KO", date(2023, 1, 6), 65, "C")
    positions = book(KO=(500, 2)) | {earlier.key: held(earlier, 3), short_put.key: held(short_put, -4)}
    assert pledged_shares(positions) == {"KO": Decimal(200)}
    assert pledged_shares(positions | {long_call.key: held(long_call, 1)}) == {"KO": Decimal(100)}  # a long call of the same day covers one of them
    assert coverable_calls({"KO": Decimal(500)}, positions) == {"KO": 3}


def test_coverable_calls_overpledged_is_none():
    assert coverable_calls({"KO": Decimal(100)}, book(KO=(100, 3))) == {}


@pytest.mark.parametrize("change, words", [
    ({"expected_return": float("nan")}, "expected return of KO is nan"), ({"expected_return": float("inf")}, "expected return of KO is inf"),
    ({"max_loss": -0.01}, "loss at the stop of KO is -0.01"), ({"max_loss": 1.01}, "loss at the stop of KO is 1.01"), ({"max_loss": float("nan")}, "stop of KO is nan"),
    ({"confidence": -0.1}, "confidence of KO is -0.1"), ({"confidence": 1.1}, "confidence of KO is 1.1"), ({"confidence": float("nan")}, "confidence of KO is nan"),
])
def test_size_refuses_a_view_that_is_none_with_its_contract(change, words):
    with pytest.raises(InputError, match=words):
        size(view(**change), Sizing())


@pytest.mark.parametrize("change, code", [({"expected_return": 0.0}, "NO_EDGE"), ({"expected_return": -0.1}, "NO_EDGE"), ({"confidence": 0.5}, "CONFIDENCE")])
def test_size_without_an_edge_is_nothing_and_says_so(change, code):
    target = size(view(**change), Sizing())
    assert target.weight == 0 and [s.code for s in target.steps] == [code]
    targets, (decision,) = size_all([view(**change)], Sizing())
    assert targets == () and (decision.verdict, decision.code, decision.after) == (Verdict.REFUSED, code, 0.0)


@pytest.mark.parametrize("edge", [{"max_loss": 0.0}, {"max_loss": 1.0}, {"confidence": 1.0}])
def test_size_takes_the_ends_of_what_it_allows(edge):
    assert size(view(**edge), Sizing(max_position_risk=1.0)).weight > 0


def test_risk_at_its_limit_is_no_clip_and_beyond_it_is_one():
    wish, base = view(max_loss=1.0), Sizing(base_size=0.25, max_position_risk=1.0, max_portfolio_risk=10.0)
    full = size(wish, base)
    just = base.model_copy(update={"max_position_risk": full.weight, "max_portfolio_risk": full.weight})
    assert size_all([wish], just) == ((full,), size_all([wish], base)[1])
    assert [d.verdict for d in size_all([wish], just)[1]] == [Verdict.ACCEPTED]
    for name, code in (("max_position_risk", "POSITION_RISK"), ("max_portfolio_risk", "PORTFOLIO_RISK")):
        (target,), (decision,) = size_all([wish], base.model_copy(update={name: full.weight * 0.5}))
        assert target.steps == (*full.steps, Step(code.lower().replace("_", " "), full.weight * 0.5, full.weight * 0.5, code))
        assert (decision.code, decision.before, decision.after) == (code, full.weight, full.weight * 0.5)


def test_portfolio_risk_shrinks_all_alike_and_leaves_refusals_as_they_are():
    wishes = [view("KO", max_loss=0.1), view("PEP", max_loss=0.3), view("XOM", expected_return=-0.1)]
    rules = Sizing(base_size=0.1, max_position_risk=1.0, max_portfolio_risk=0.01)
    targets, decisions = size_all(wishes, rules)
    assert [(t.contract.symbol, t.weight) for t in targets] == [("KO", pytest.approx(0.025)), ("PEP", pytest.approx(0.025))]
    assert [d.code for d in decisions] == ["PORTFOLIO_RISK", "PORTFOLIO_RISK", "NO_EDGE"]


def limited(wishes, positions=None, limits=Limits()):
    return apply_limits([Target(stock(s), w) for s, w in wishes.items()], limits, SECTORS, positions or {}, PRICES, NAV)


def test_wish_of_nothing_is_a_target_and_no_refusal():
    assert limited({"KO": 0.0}) == ((Target(stock("KO"), 0.0),), ())


@pytest.mark.parametrize("weight", [-0.01, float("nan")])
def test_wish_below_nothing_or_of_no_number_is_refused(weight):
    targets, (decision,) = limited({"KO": weight})
    assert targets == () and (decision.subject, decision.code, decision.after) == ("KO", "NO_SHORT", 0.0)


def test_short_call_without_shares_makes_no_target():
    assert limited({}, book(KO=(0, 1))) == ((), ())


def test_limits_stand_in_the_steps_of_a_target():
    floor, rules = 0.0635, Limits(max_position_weight=0.05)
    (kept,), _ = limited({"KO": 0.01}, book(KO=(1000, 10)), rules)
    assert kept.steps == (Step("pledged", floor, floor, "PLEDGED"),)
    (cut,), (decision,) = limited({"KO": 0.08}, {}, rules)
    assert cut.steps == (Step("position limit", 0.05, 0.05, "MAX_POSITION"),)
    assert (decision.code, decision.before, decision.after) == ("MAX_POSITION", 0.08, 0.05)


def test_wish_of_just_the_pledged_shares_is_no_clip():
    assert limited({"KO": 0.0635}, book(KO=(1000, 10)))[1] == ()


def test_sum_that_rounds_above_its_limit_is_no_clip():
    wishes = {"AAPL": 0.1, "KO": 0.1, "XOM": 0.1}
    assert sum(wishes.values()) > 0.3
    assert limited(wishes, limits=Limits(max_position_weight=0.3, max_sector_weight=0.3, max_gross=0.3))[1] == ()


def test_limits_of_a_book_without_value_are_refused():
    for nav in (Decimal(0), Decimal(-1)):
        with pytest.raises(InputError, match="NAV is"):
            apply_limits([], Limits(), SECTORS, {}, PRICES, nav)
