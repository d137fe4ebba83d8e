"""Brinson effects the slow and obvious way: one period, one segment and one formula at a time."""
from otsport.book.position_table import LEVELS, PositionTable

PAIR = 1e-3  # of the gross weight: a smaller net weight has no return


def nodes(table: PositionTable, t: int, by: tuple[str, ...]) -> dict:
    """What each segment of a level has in one period: portfolio and benchmark weight, contribution and gross weight."""
    found: dict = {}
    for i, row in enumerate(table.rows):
        key = tuple(row[LEVELS.index(level)] for level in by)
        w, v = table.weight[t, i], table.bench_weight[t, i]
        e = 0.0 if table.currency is None else table.currency[t, i]
        node = found.setdefault(key, dict(w=0.0, c=0.0, v=0.0, d=0.0, gross_w=0.0, gross_v=0.0, trading=0.0, currency=0.0))
        for name, x in dict(w=w, c=table.held[t, i] - w * e, v=v, d=table.bench_held[t, i] - v * e, gross_w=abs(w), gross_v=abs(v), trading=table.trading[t, i]).items():
            node[name] += x
        node["currency"] += (w - v) * (e - mean_currency(table, t))
    return found


def mean_currency(table: PositionTable, t: int) -> float:
    """Return of the benchmark's currencies in a period."""
    return 0.0 if table.currency is None else float(sum(v * e for v, e in zip(table.bench_weight[t], table.currency[t])))


def stand_in(table: PositionTable, t: int, by: tuple[str, ...], key: tuple, otherwise: float) -> float:
    """Return of a segment that the benchmark does not hold: the mean of what its rows say by the sizes of their weights, else that of the segment above."""
    rows = [i for i, row in enumerate(table.rows) if tuple(row[LEVELS.index(level)] for level in by) == key and table.weight[t, i]]
    if table.absent is None or not rows:
        return otherwise
    size = sum(abs(table.weight[t, i]) for i in rows)
    e = [0.0 if table.currency is None else table.currency[t, i] for i in rows]
    mean = sum(abs(table.weight[t, i]) * (table.absent[t, i] - x) for i, x in zip(rows, e)) / size
    return mean if mean == mean else otherwise


def period_effects(table: PositionTable, t: int, by: tuple[str, ...], hood: bool = False) -> dict:
    """Allocation of each level by segment, and of the lowest one selection, interaction, trading and currency, in one period."""
    above = {(): dict(w=1.0, v=1.0, b=sum(n["d"] for n in nodes(table, t, by).values()), known=True)}
    allocations, lowest = [], {}
    for k in range(1, len(by) + 1):
        level, allocation = nodes(table, t, by[:k]), {}
        for key, n in level.items():
            parent = above[key[:-1]]
            n["known"] = abs(n["v"]) > max(PAIR * n["gross_v"], 1e-12)
            n["b"] = n["d"] / n["v"] if n["known"] else stand_in(table, t, by[:k], key, parent["b"])
            n["active"] = n["w"] - (n["v"] * parent["w"] / parent["v"] if parent["known"] else 0.0)
            scale = parent["w"] / parent["v"] if parent["known"] else 0.0
            n["spread"] = n["b"] - (0.0 if hood and parent["known"] else parent["b"])
            allocation[key] = n["active"] * n["spread"]
            if not n["known"]:  # a benchmark's own pair: its contribution is not held
                allocation[key] = n["w"] * n["spread"] - scale * (n["d"] - n["v"] * (n["b"] - n["spread"]))
        allocations.append(allocation)
        above, lowest = {key: n for key, n in level.items()}, level
    selection, interaction = {}, {}
    for key, n in lowest.items():
        if abs(n["w"]) > max(PAIR * n["gross_w"], 1e-12):
            r = n["c"] / n["w"]
            interaction[key] = n["active"] * (r - n["b"])
            selection[key] = (n["w"] - n["active"]) * (r - n["b"])
        else:
            interaction[key], selection[key] = 0.0, n["c"] - n["w"] * n["b"]
    return dict(allocation=allocations, selection=selection, interaction=interaction, trading={k: n["trading"] for k, n in lowest.items()},
                currency={k: n["currency"] for k, n in lowest.items()})
