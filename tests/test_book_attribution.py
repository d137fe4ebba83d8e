"""Attribution: published examples to their digits, identities over random books, a naive twin, errors by name."""
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution_naive import period_effects
from otsport.book import attribution as module
from otsport.book.attribution import METHODS, POLICIES, attribute, notional_totals, segment_names
from otsport.book import effect_rows as rows_module
from otsport.book.effect_rows import effect_positions, effect_rows
from otsport.book.linking import LINKINGS, coefficients, compounded, link
from otsport.book.position_table import PositionTable, bacon_rows, position_table, wide_table
from otsport.core.errors import CheckFailed, InputError, LostAll, MixedUnits, NoBenchmark, WeightsDoNotSum

TREES = (("strategy",), ("sector",), ("symbol",), ("sector", "symbol"), ("strategy", "sector"), ("strategy", "sector", "symbol"))
FIRST = bacon_rows().iloc[:3]


def random_table(seed: int, periods: int, rows: int, vol: float = 0.03) -> PositionTable:
    """Longs, shorts, rows that come and go on either side, a segment that nobody holds, cash; trades and currencies in half of the tables."""
    rng = np.random.default_rng(seed)
    shape = (periods, rows)
    def weights(short: float) -> np.ndarray:
        w = rng.random(shape) * rng.choice([1.0, -1.0, 0.0], shape, p=[0.8 - short, short, 0.2])
        w *= rng.choice([0.3, 1.0, 1.6]) / np.maximum(np.abs(w).sum(axis=1, keepdims=True), 0.1)
        w[:, -1] = 1 - w[:, :-1].sum(axis=1)
        return w
    weight, bench_weight = weights(rng.choice([0.0, 0.3])), weights(rng.choice([0.0, 0.2]))
    if rows > 3:
        weight[:, 0], bench_weight[:, 1] = 0.0, 0.0
        weight[:, -1], bench_weight[:, -1] = 1 - weight[:, :-1].sum(axis=1), 1 - bench_weight[:, :-1].sum(axis=1)
    ret, bench_ret = rng.normal(0.0005, vol, shape), rng.normal(0.0005, vol, shape)
    ret[:, -1] = bench_ret[:, -1] = 0.0001
    names = [(f"strategy {rng.integers(2)}", f"sector {rng.integers(3)}", f"s{i}") for i in range(rows - 1)] + [("cash", "cash", "cash")]
    extra = rng.random() < 0.5
    trading = rng.normal(0, 0.001, shape) * (rng.random(shape) < 0.3) if extra else np.zeros(shape)
    currency = rng.normal(0, 0.01, shape) if extra else None
    absent = np.where(rng.random(shape) < 0.8, bench_ret, np.nan) if rng.random() < 0.5 else None
    return PositionTable(pd.RangeIndex(periods), pd.MultiIndex.from_tuples(names, names=["strategy", "sector", "symbol"]), weight, weight * ret, bench_weight,
                         bench_weight * bench_ret, trading, currency, absent)


def joined(x: np.ndarray, method: str) -> float:
    """Effects as they make up the excess."""
    return float(np.prod(1 + x) - 1 if method == "geometric" else np.sum(x))


def check_closes(table: PositionTable, by: tuple[str, ...], method: str, linking: str, policy: str | None, timing: bool) -> None:
    """Effects, periods and cells each sum (compound) to the excess, computed here from the returns alone."""
    try:
        a = attribute(table, by, method, linking, policy, timing)
    except LostAll as lost:  # a benchmark that is short can have geometric effects of a whole fund
        assert method == "geometric" and "the geometric effect" in str(lost) and linking in ("carino", "menchero")
        a = attribute(table, by, method, "grap", policy, timing)
    r, b = np.prod(1 + table.held.sum(1) + table.trading.sum(1)), np.prod(1 + table.bench_held.sum(1))
    excess = r / b - 1 if method == "geometric" else r - b
    bound = 1e-10 * max(1.0, abs(excess))
    assert abs(a.residual) < bound and abs(a.excess - excess) < bound
    assert abs(joined(a.effects.to_numpy(), method) - excess) < bound
    assert abs(joined(module.linked_sums(a).sum(axis=0), method) - excess) < bound
    blocks = module.effect_blocks(a.table, a.tree, method, a.interaction, timing)
    for e, (block, total) in enumerate(zip(blocks, a.totals)):  # the fast way, a part at a time, and the way that keeps every cell
        whole = block.single.sum(axis=1) if method == "geometric" else a.portfolio
        cells = link(block.single, whole, np.zeros(len(whole)) if method == "geometric" else a.benchmark, a.linking)
        np.testing.assert_allclose(cells.sum(axis=0), total, atol=bound, rtol=1e-9)
        np.testing.assert_allclose(block.single.sum(axis=1), a.single[:, e], atol=bound, rtol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), periods=st.integers(1, 12), rows=st.integers(2, 9))
def test_every_method_linking_level_and_policy_closes(seed, periods, rows):
    table = random_table(seed, periods, rows)
    for n, (by, linking) in enumerate(product(TREES, LINKINGS)):
        policy = POLICIES[(seed + n) % 4]
        check_closes(table, by, "brinson-fachler", linking, policy, timing=policy in ("separate", "selection") and periods > 1 and n % 2 == 0)
        check_closes(table, by, "bhb", linking, POLICIES[(seed + n + 1) % 4], timing=False)
        check_closes(table, by, "geometric", linking, None, timing=periods > 1 and n % 3 == 0)


@pytest.mark.parametrize("seed, periods, vol", [(1, 500, 0.01), (2, 500, 0.04), (3, 60, 0.15)])
def test_many_periods_close(seed, periods, vol):
    table = random_table(seed, periods, 9, vol)
    for linking, by in zip(LINKINGS, TREES[2:]):
        for method in METHODS:
            check_closes(table, by, method, linking, None, timing=method == "bhb")


def test_frames_of_a_tree_close():
    """Segments of a level with the allocations above it, cells and periods: each frame sums to the excess."""
    table = random_table(5, 7, 9)
    for by, linking in product(TREES[3:], ("carino", "frongello")):
        a = attribute(table, by, linking=linking)
        above = [a.segments(level)[f"allocation: {level}"].sum() for level in by[:-1]]
        assert sum(above) + a.segments()["total"].sum() == pytest.approx(a.excess, abs=1e-12)
        assert a.segments(by[0])["total"].sum() == pytest.approx(a.excess, abs=1e-12)
        assert a.by_period().to_numpy().sum() == pytest.approx(a.excess, abs=1e-12)
        assert sum(cells.to_numpy().sum() for cells in a.cells.values()) == pytest.approx(a.excess, abs=1e-12)
        assert a.by_period(single=True).sum(axis=1).to_numpy() == pytest.approx(a.portfolio - a.benchmark, abs=1e-12)


@pytest.mark.soak
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), periods=st.integers(1, 500), rows=st.integers(2, 40), vol=st.sampled_from([0.002, 0.02, 0.08]))
def test_all_of_it_closes_in_long_histories(seed, periods, rows, vol):
    table = random_table(seed, periods, rows, vol)
    for by, linking, policy in product(TREES, LINKINGS, POLICIES):
        timing = policy in ("separate", "selection") and periods > 1
        check_closes(table, by, "brinson-fachler", linking, policy, timing)
        check_closes(table, by, "bhb", linking, policy, timing)
    for by, linking in product(TREES, LINKINGS):
        check_closes(table, by, "geometric", linking, None, periods > 1)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), hood=st.booleans(), by=st.sampled_from(TREES))
def test_effects_are_those_of_the_naive_twin(seed, hood, by):
    table = random_table(seed, 3, 8)
    blocks = {b.effect: b.single for b in module.effect_blocks(table, module.tree_of(table, by), "bhb" if hood else "brinson-fachler", "separate", False)}
    a = attribute(table, by)
    key = lambda k: [name if isinstance(name, tuple) else (name,) for name in segment_names(a, k)]
    for t in range(3):
        slow = period_effects(table, t, by, hood)
        for k, level in enumerate(by):
            found = blocks["allocation" if len(by) == 1 else f"allocation: {level}"][t]
            assert found == pytest.approx([slow["allocation"][k][name] for name in key(k)], abs=1e-11), (level, t)
        for effect in ("selection", "interaction", "trading", "currency"):
            if effect in blocks:
                assert blocks[effect][t] == pytest.approx([slow[effect][name] for name in key(len(by) - 1)], abs=1e-11), (effect, t)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), periods=st.integers(1, 8), rows=st.integers(2, 9), by=st.sampled_from(TREES), method=st.sampled_from(list(METHODS)), linking=st.sampled_from(LINKINGS), policy=st.sampled_from(POLICIES))
def test_positions_sum_to_their_segments_in_every_period(seed, periods, rows, by, method, linking, policy):
    table = random_table(seed, periods, rows)
    try:
        a = attribute(table, by, method, linking, None if method == "geometric" else policy, timing=method != "geometric" and policy == "separate" and periods > 1)
        found = effect_rows(a)
    except LostAll:
        assert method == "geometric"
        return
    for effect, x in found.items():
        code, cells = a.tree[a.at[a.names.index(effect)]].code, a.cells[effect].to_numpy()
        sums = np.array([np.bincount(code, row, cells.shape[1]) for row in x])
        np.testing.assert_allclose(sums, cells, atol=1e-11, rtol=1e-9)
        assert effect_positions(a, effect)["effect"].sum() == pytest.approx(a.effects[effect], abs=1e-10)


def test_positions_that_do_not_close_are_never_shown(monkeypatch):
    """Negative control: a row whose share is a thousandth too large is refused."""
    a, honest = attribute(FIRST), rows_module._allocation_rows
    monkeypatch.setattr(rows_module, "_allocation_rows", lambda *given: (1.001 * honest(*given)[0], honest(*given)[1]))
    with pytest.raises(CheckFailed, match="allocation by position leaves 1.2e-05"):
        effect_rows(a)


def test_interaction_of_a_segment_that_the_benchmark_lacks_is_halved():
    """Neither allocation nor selection is more than rounding there; which of the two rounding favored decided before."""
    rng = np.random.default_rng(7)
    for _ in range(50):
        w, r, b = rng.dirichlet(np.ones(3)), rng.normal(0, 0.05, 3), rng.normal(0, 0.05, 3)
        rows = pd.DataFrame({"date": 0, "symbol": list("xyz"), "sector": list("xyz"), "weight": w, "ret": r, "bench_weight": [0.37, 0.63, 0.0], "bench_ret": b})
        alone = attribute(rows, interaction="proportional").segments().loc["z"]
        assert alone["allocation"] == pytest.approx(alone["selection"], abs=1e-15) and alone["total"] != 0


# ---- published examples

def test_bacon_first_quarter():
    """Bacon (2008), tables 5.1 to 5.7: excess 1.9 % arithmetic, 1.79 % geometric."""
    bhb, fachler, geometric = (attribute(FIRST, method=m) for m in ("bhb", "brinson-fachler", "geometric"))
    assert (round(bhb.excess, 4), round(geometric.excess, 4)) == (0.019, 0.0179)
    assert bhb.effects.round(4).tolist() == fachler.effects.round(4).tolist() == [-0.012, 0.03, 0.001]
    assert np.round(bhb.segments()[["allocation", "selection", "interaction"]], 4).to_numpy().tolist() == [[0, 0.04, 0], [-0.004, -0.002, -0.001], [-0.008, -0.008, 0.002]]
    assert np.round(fachler.segments()["allocation"], 4).tolist() == [0, -0.0104, -0.0016]
    assert attribute(FIRST, interaction="selection").effects.round(4).tolist() == [-0.012, 0.031]
    assert geometric.effects.round(4).tolist() == [-0.0113, 0.0295]
    assert np.round(geometric.segments()[["allocation", "selection"]], 4).to_numpy().tolist() == [[0, 0.038], [-0.0098, -0.0029], [-0.0015, -0.0057]]


BACON = {  # tables 8.2 to 8.5, printed with two digits of percent: allocation, selection by country (UK, Japan, US) and in total
    "carino": ([0.0165, -0.0060, 0.0015, 0.0120], [0.0804, 0.0018, 0.0385, 0.1207]),
    "menchero": ([0.0156, -0.0078, 0.0014, 0.0092], [0.0838, 0.0005, 0.0391, 0.1234]),
    "grap": ([0.0167, -0.0055, 0.0011, 0.0124], [0.0785, 0.0016, 0.0402, 0.1203]),
    "frongello": ([0.0167, -0.0055, 0.0011, 0.0124], [0.0785, 0.0016, 0.0402, 0.1203]),
}


@pytest.mark.parametrize("linking", LINKINGS)
def test_bacon_four_quarters(linking):
    a = attribute(bacon_rows(), linking=linking, interaction="selection")
    for effect, printed in zip(("allocation", "selection"), BACON[linking]):
        assert [*a.segments()[effect], a.effects[effect]] == pytest.approx(printed, abs=1.01e-4)  # the book sums rounded numbers
    assert a.excess == pytest.approx(0.132656, abs=5e-7)
    assert {"carino": 0.01195, "menchero": 0.00922}.get(linking, 0.01236) == pytest.approx(a.effects["allocation"], abs=5e-6)


QUARTERS = {  # allocation and selection of each quarter as they stand in the year
    "carino": ([-0.0109, -0.0051, 0.0373, -0.0094], [0.0280, 0.0172, 0.0426, 0.0329]),
    "menchero": ([-0.0119, -0.0049, 0.0360, -0.0099], [0.0307, 0.0168, 0.0411, 0.0348]),
    "grap": ([-0.0102, -0.0048, 0.0373, -0.0099], [0.0264, 0.0164, 0.0427, 0.0348]),
    "frongello": ([-0.0120, -0.0049, 0.0387, -0.0095], [0.0310, 0.0170, 0.0358, 0.0365]),
}


@pytest.mark.parametrize("linking", LINKINGS)
def test_bacon_quarters_in_the_year(linking):
    a = attribute(bacon_rows(), linking=linking, interaction="selection")
    for effect, printed in zip(("allocation", "selection"), QUARTERS[linking]):
        assert a.by_period()[effect].tolist() == pytest.approx(printed, abs=1.01e-4)


def test_bacon_geometric_year_and_notional_funds():
    """Table 8.6, and Davies and Laker."""
    a = attribute(bacon_rows(), method="geometric")
    assert (round(a.excess, 4), *a.effects.round(4)) == (0.1464, 0.0129, 0.1319)
    assert a.by_period(single=True)["selection"].tolist() == pytest.approx([0.0295, 0.0179, 0.044, 0.0347], abs=1e-4)
    assert notional_totals(attribute(bacon_rows())).round(4).tolist() == pytest.approx([0.0116, 0.1318, -0.0107], abs=1e-4)


def test_frongello_examples():
    """Frongello (2002): page 6 in both orders, table 1, table 3 with its derivation on page 12."""
    pair, r, b = np.array([[0.05, 0.05], [0.02, 0.03]]), np.array([0.2, 0.1]), np.array([0.1, 0.05])
    assert link(pair, r, b, "frongello").sum(axis=0) == pytest.approx([0.0765, 0.0885], abs=1e-15)
    assert link(pair[::-1], r[::-1], b[::-1], "frongello").sum(axis=0) == pytest.approx([0.077, 0.088], abs=1e-15)
    stress, r, b = np.array([[-0.04, 0.52], [-0.005, 0.215], [0.34, -0.36]]), np.array([0.33, 0.40, 0.07]), np.array([-0.15, 0.19, 0.09])
    assert link(stress, r, b, "frongello")[:, 0] == pytest.approx([-0.04, -0.00665 - 0.0076 + 0, 0.63308 - 0.0048825], abs=1e-12)
    assert link(stress, r, b, "frongello").sum(axis=0)[0] == pytest.approx(0.5739475, abs=1e-12) and compounded(r) - compounded(b) == pytest.approx(0.889805, abs=1e-12)
    assert [round(100 * link(stress, r, b, x).sum(axis=0)[0], 1) for x in LINKINGS] == [41.2, 38.8, 57.4, 57.4]
    for linking in LINKINGS:
        same = link(np.tile([0.006, 0.010], (3, 1)), np.full(3, 0.054), np.full(3, 0.038), linking).sum(axis=0)
        assert same / same.sum() == pytest.approx([0.375, 0.625], abs=1e-14)


# ---- linking

@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), periods=st.integers(1, 60))
def test_linking_identities(seed, periods):
    rng = np.random.default_rng(seed)
    r, b = rng.normal(0.001, 0.05, periods), rng.normal(0.001, 0.05, periods)
    effects = rng.normal(0, 0.02, (periods, 4))
    effects[:, -1] = r - b - effects[:, :-1].sum(axis=1)
    excess, order = compounded(r) - compounded(b), rng.permutation(periods)
    for linking in LINKINGS:
        linked = link(effects, r, b, linking)
        assert abs(linked.sum() - excess) < 1e-12 * max(1, abs(excess)) * periods
        if linking in ("carino", "menchero"):
            assert link(effects[order], r[order], b[order], linking).sum(axis=0) == pytest.approx(linked.sum(axis=0), abs=1e-12)
    assert link(effects, r, b, "frongello").sum(axis=0) == pytest.approx(link(effects, r, b, "grap").sum(axis=0), abs=1e-11)
    assert link(effects[:1], r[:1], b[:1], "menchero") == pytest.approx(effects[:1], abs=1e-15)


@pytest.mark.parametrize("linking", LINKINGS)
def test_equal_returns_are_no_division_by_zero(linking):
    r = np.array([0.1, -0.2, 0.05])
    assert np.isfinite(coefficients(r, r, linking)).all()
    near = coefficients(r, r + np.array([1e-13, -1e-13, 0.0]), linking)
    if linking != "menchero":  # whose correction is proportional to d / sum d^2: as small as the differences are, it is not
        assert near == pytest.approx(coefficients(r, r, linking), rel=1e-6)


# ---- what the table is

def test_wide_and_long_tables_are_the_same():
    rows = bacon_rows()
    wide = {c: rows.pivot(index="date", columns="symbol", values=c) for c in ("weight", "ret", "bench_weight", "bench_ret")}
    one, other = position_table(rows), wide_table(wide["weight"], wide["ret"][["US", "UK", "Japan"]], wide["bench_weight"], wide["bench_ret"], sectors={"UK": "UK", "US": "US", "Japan": "Japan"})
    assert attribute(one).segments().sort_index().to_numpy() == pytest.approx(attribute(other).segments().sort_index().to_numpy(), abs=1e-15)


def test_order_of_rows_does_not_matter():
    rows = bacon_rows()
    shuffled = attribute(rows.sample(frac=1, random_state=3)).segments().sort_index()
    assert shuffled.to_numpy() == pytest.approx(attribute(rows).segments().sort_index().to_numpy(), abs=1e-15)


@pytest.mark.parametrize("change, error, words", [
    (dict(weight=[0.4, 0.3, 0.2]), WeightsDoNotSum, "portfolio weights of 2007Q1 sum to 0.9, not to 1"),
    (dict(bench_weight=[0.4, 0.3, 0.4]), WeightsDoNotSum, "benchmark weights of 2007Q1 sum to 1.1, not to 1"),
    (dict(weight=[40, 30, 30]), MixedUnits, "sum to 100: these are percent"),
    (dict(bench_ret=[10.0, -4.0, 8.0]), MixedUnits, "benchmark returns have a median size of 8, returns of 0.06: percent beside decimals"),
    (dict(bench_weight=[0.0, 0.0, 0.0]), NoBenchmark, "the table has no benchmark"),
    (dict(ret=[-1.0, -1.0, -1.0]), LostAll, "the portfolio return 0 of 1 is -1: linking 'carino' takes its logarithm"),
    (dict(weight=[0.4, np.nan, 0.3]), Exception, "weight of Japan in 2007Q1 is nan"),
])
def test_bad_input_is_named(change, error, words):
    with pytest.raises(error, match=words):
        attribute(FIRST.assign(**change))


def test_period_without_benchmark_is_named():
    rows = bacon_rows()
    with pytest.raises(NoBenchmark, match="2007Q2 has no benchmark weights"):
        position_table(rows.assign(bench_weight=rows["bench_weight"].where(rows["date"] != pd.Period("2007Q2"), 0.0)))


def test_an_effect_that_does_not_close_is_never_shown(monkeypatch):
    """Negative control of the residual: an effect that is a thousandth too large is refused."""
    honest = module.effect_blocks
    def inflated(*args, **kwargs):
        blocks = honest(*args, **kwargs)
        return [module.Block(blocks[0].effect, blocks[0].level, 1.001 * blocks[0].single), *blocks[1:]]
    monkeypatch.setattr(module, "effect_blocks", inflated)
    with pytest.raises(CheckFailed, match="the effects leave 1.2e-05 of an excess of 0.019: nothing is shown"):
        attribute(FIRST)


def test_unknown_words_are_refused():
    for given, words in ((dict(method="brinson"), "no method 'brinson'"), (dict(linking="log"), "no linking 'log'"), (dict(interaction="mine"), "no interaction 'mine'"), (dict(by="country"), "no level 'country'")):
        with pytest.raises(InputError, match=words):
            attribute(FIRST, **given)
