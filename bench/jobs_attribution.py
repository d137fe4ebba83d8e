"""Attribution of a year of 500 stocks beside perfattr and NumPy. Errors: the largest difference of a linked effect of any segment."""
import numpy as np

from otsport.bench.harness import Job

DAYS, STOCKS, SECTORS, STRATEGIES = 252, 500, 11, 3
EFFECTS = ("allocation", "selection", "interaction")
PROMISED = 10.0  # ms


def _one_hot(code: np.ndarray) -> np.ndarray:
    """(n, m) of zeros and ones."""
    found = np.zeros((len(code), code.max() + 1))
    found[np.arange(len(code)), code] = 1.0
    return found


def _brinson(W, C, V, D, above, ratio):
    """Brinson-Fachler of segments below `above`, the parents' benchmark returns, with benchmark weights scaled by `ratio`."""
    b, r, v = D / V, C / W, V * ratio
    return (W - v) * (b - above), v * (r - b), (W - v) * (r - b)


def _numpy_levels(w, r, v, groups: list[np.ndarray], tree: list[np.ndarray]) -> list[np.ndarray]:
    """Linked effects by segment of each flat level, and of the tree: its allocations, and selection and interaction at the bottom."""
    held, bench = w * r, v * r
    R, B = held.sum(axis=1), bench.sum(axis=1)
    k = (np.log1p(R) - np.log1p(B)) / (R - B)
    whole, against = np.prod(1 + R) - 1, np.prod(1 + B) - 1
    c = k / ((np.log1p(whole) - np.log1p(against)) / (whole - against))
    sums = lambda code: (x if len(np.unique(code)) == len(code) else x @ _one_hot(code) for x in (w, held, v, bench))
    found = [np.array([c @ e for e in _brinson(*sums(code), B[:, None], 1.0)]) for code in groups]
    above, ratio, parent = B[:, None], np.ones((len(B), 1)), np.zeros(len(w[0]), dtype=int)
    for code in tree:
        W, C, V, D = sums(code)
        first = np.unique(code, return_index=True)[1]
        up = parent[first]
        effects = _brinson(W, C, V, D, above[:, up], ratio[:, up])
        found.append(c @ effects[0])
        above, ratio, parent = D / V, W / V, code
    return found + [c @ e for e in effects[1:]]


def attribution() -> Job:
    """Allocation, selection and interaction of 500 stocks over 252 days, linked by Carino, by strategy, by sector and by symbol, and in the tree of all three."""
    import pandas as pd

    from otsport.book.attribution import attribute
    from otsport.book.position_table import wide_table

    rng = np.random.default_rng(12)
    names, days = [f"S{i:03d}" for i in range(STOCKS)], pd.bdate_range("2024-01-02", periods=DAYS)
    draw = lambda: (lambda x: x / x.sum(axis=1, keepdims=True))(rng.random((DAYS, STOCKS)))
    w, v, r = draw(), draw(), rng.normal(0.0005, 0.015, (DAYS, STOCKS))
    strategy, sector = np.arange(STOCKS) % STRATEGIES, np.arange(STOCKS) // STRATEGIES % SECTORS
    weights, bench_weights, returns = (pd.DataFrame(x, days, names) for x in (w, v, r))
    by_sector, by_strategy = (dict(zip(names, [f"{what} {k:02d}" for k in code])) for what, code in (("sector", sector), ("strategy", strategy)))
    levels = ("strategy", "sector", "symbol")

    def ours() -> list:
        table = wide_table(weights, returns, bench_weights, sectors=by_sector, strategies=by_strategy)
        flat, tree = [attribute(table, level) for level in levels], attribute(table, levels)
        return [a.segments() for a in flat] + list(tree.totals)

    pair = strategy * SECTORS + sector

    def numpy_peer() -> list:
        return _numpy_levels(w, r, v, [strategy, sector, np.arange(STOCKS)], [strategy, pair, np.arange(STOCKS)])

    def rows(x: np.ndarray, code: np.ndarray, labels: list[str]) -> pd.DataFrame:
        W = x @ _one_hot(code)
        ret = (x * r) @ _one_hot(code) / W
        return pd.DataFrame({"identifier": labels * DAYS, "from_date": np.repeat(days, len(labels)), "thru_date": np.repeat(days, len(labels)), "quantity_of_days": 1,
                             "weight": W.ravel(), "return": ret.ravel()})

    sides = [(rows(w, code, labels), rows(v, code, labels)) for code, labels in
             ((strategy, sorted(set(by_strategy.values()))), (sector, sorted(set(by_sector.values()))), (np.arange(STOCKS), names))]

    def perfattr_peer() -> list:
        import perfattr

        method = perfattr.AttributionMethod.BRINSON_FACHLER_THREE_EFFECT
        found = [perfattr.calculate_attribution(p, b, method=method, reconciliation_tolerance=1e-9).overall_detail.set_index("identifier").sort_index() for p, b in sides]
        return [np.array([x[f"linked_{e}_effect"] for e in EFFECTS]) for x in found]

    order = pair[np.sort(np.unique(pair, return_index=True)[1])]  # ours stand in the order in which they first appear

    def error(found: list, theirs: list) -> float:
        found = [x[list(EFFECTS)].sort_index().to_numpy().T if isinstance(x, pd.DataFrame) else x for x in found]
        theirs = [*theirs[:4], theirs[4][order], *theirs[5:]] if len(theirs) > 3 else theirs
        return max(float(np.abs(np.subtract(a, b)).max()) for a, b in zip(found[: len(theirs)], theirs, strict=True))

    def promised() -> tuple[float, float]:
        import time

        best = np.inf
        for _ in range(15):
            start = time.perf_counter()
            ours()
            best = min(best, 1e3 * (time.perf_counter() - start))
        return PROMISED, best

    perfattr = "perfattr, three flat levels without the tree"
    return Job("attribution", "500 stocks x 252 days, 3 effects, 3 levels and their tree", ours, {"NumPy": numpy_peer, perfattr: perfattr_peer}, error, 1e-11,
               {perfattr: 23.0}, limits={"10 ms": promised})


JOBS = (attribution,)
