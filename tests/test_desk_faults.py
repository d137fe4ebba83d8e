"""Everything that goes wrong at a broker, by seeds: nothing lost, nothing doubled, nothing on another account, positions, cash and working orders those of the gateway.

A naive adapter that believes the library's `trade.orderStatus` goes through the same, and must fail."""
import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from fault_support import Naive, Ours, quick_pauses, run_seed
from otsport.gateway.faults import Fault, fault

OFTEN = {"times": 0, "chance": 0.4}


def nth(seed: int, most: int = 4) -> int:
    return 1 + Random(f"nth {seed}").randrange(most)


SCENARIOS: dict[str, tuple[Callable[[int], tuple[Fault, ...]], dict]] = {
    "nothing goes wrong": (lambda s: (), {}),
    "the gateway dies before it takes an order": (lambda s: (fault("kill", on="placeOrder", nth=nth(s), when="before"),), {}),
    "the gateway dies before it answers an order": (lambda s: (fault("kill", on="placeOrder", nth=nth(s), when="after"),), {}),
    "the gateway dies after a fill": (lambda s: (fault("kill", on="execDetails", nth=nth(s), when="before"),), {}),
    "we die before an order leaves": (lambda s: (), {"crash": "committed"}),
    "we die after an order has left": (lambda s: (), {"crash": "sent"}),
    "the line breaks before an order is taken": (lambda s: (fault("disconnect", on="placeOrder", nth=nth(s), when="before"),), {}),
    "the line breaks after an order was taken": (lambda s: (fault("disconnect", on="placeOrder", nth=nth(s), when="after"),), {}),
    "refused for a while": (lambda s: (fault("refuse", on="placeOrder", nth=nth(s), seconds=0.3),), {}),
    "half open": (lambda s: (fault("half_open", on="placeOrder", nth=nth(s), seconds=1.5, then=("cut", "heal")[s % 2]),), {}),
    "doubled and out of order": (lambda s: tuple(f for name in ("execDetails", "orderStatus", "openOrder", "commissionReport")
                                                 for f in (fault("duplicate", on=name, **OFTEN), fault("reorder", on=name, **OFTEN))), {}),
    "the commission before its execution": (lambda s: (fault("early", on="commissionReport", times=0),), {}),
    "a late commission": (lambda s: (fault("delay", on="commissionReport", steps=2, times=0, chance=0.6),), {}),
    "lost news": (lambda s: tuple(fault("lose", on=name, **OFTEN) for name in ("execDetails", "orderStatus", "openOrder", "commissionReport")), {}),
    "a corrected price": (lambda s: (fault("correct", on="execDetails", nth=nth(s, 2), price=59.5),), {}),
    "a corrected quantity": (lambda s: (fault("correct", on="execDetails", nth=nth(s, 2), qty=1, refill=bool(s % 2)),), {}),
    "fifty parts": (lambda s: (fault("partial", on="placeOrder", parts=50, times=0, spread=("burst", "steps")[s % 2]),), {}),
    "a silent fill": (lambda s: (fault("silent_fill", nth=nth(s, 3), on="execDetails"),), {}),
    "1100, then 1101": (lambda s: (fault("outage", on="placeOrder", nth=nth(s), seconds=0.2, back="1101", fills=("lost", "late")[s % 2], orders=("held", "refused")[s // 2 % 2]),), {}),
    "1100, then 1102": (lambda s: (fault("outage", on="placeOrder", nth=nth(s), seconds=0.2, back="1102", fills=("lost", "late")[s % 2], orders=("held", "refused")[s // 2 % 2]),), {}),
    "pacing": (lambda s: (fault("pacing", limit=50, strikes=1),), {"paced": True, "actions": 25}),
    "a clock that is off": (lambda s: (fault("clock_skew", on="placeOrder", nth=nth(s), seconds=Random(s).choice((-7200, -90, 90, 1800))),), {}),
    "codes that inform, on orders that live": (lambda s: tuple(fault("error", on="openOrder", times=0, chance=0.3, code=c, text="held until the open") for c in (399, 404, 2109, 10349)), {}),
    "a code of next year": (lambda s: (fault("error", on="orderStatus", times=0, chance=0.3, code=19999, text="something new"),), {}),
    "a change that is refused": (lambda s: (fault("refuse_modify", on="placeOrder", times=0, chance=0.7), fault("refuse_cancel", on="cancelOrder", times=0, chance=0.5)), {"modifies": True}),
    "an order id that is used": (lambda s: (fault("reuse_id", on="nextValidId", times=0, id=1), fault("disconnect", on="placeOrder", nth=nth(s), when="after")), {}),
    "an order by hand": (lambda s: (fault("manual_order", on="execDetails", nth=nth(s, 2), contract="KO", side=("BUY", "SELL")[s % 2], qty=1, told=("owner", "everyone")[s // 2 % 2]),), {}),
    "a liquidation": (lambda s: (fault("liquidate", on="execDetails", nth=nth(s, 2), contract="KO", **({} if s % 2 else {"qty": 1})),), {}),
    "a question without an answer": (lambda s: (fault("ignore", on="reqCurrentTime", nth=1 + nth(s)),), {}),
}  # fmt: skip


def faults_of(make, name: str, seed: int) -> list[str]:
    """A seed of a scenario in a folder of its own: what did not agree."""
    plan, more = SCENARIOS[name]
    with tempfile.TemporaryDirectory() as home:
        return asyncio.run(asyncio.wait_for(run_seed(Path(home), make, plan(seed), seed, **more), 120))


@pytest.mark.parametrize("name", SCENARIOS)
def test_desk_agrees_with_the_gateway_whatever_went_wrong(name, monkeypatch):
    quick_pauses(monkeypatch)
    seed = list(SCENARIOS).index(name)
    assert faults_of(Ours, name, seed) == []


@pytest.mark.soak
@pytest.mark.parametrize("name", SCENARIOS)
def test_desk_agrees_with_the_gateway_over_a_hundred_seeds(name, monkeypatch):
    quick_pauses(monkeypatch)
    wrong = {seed: found for seed in range(100) if (found := faults_of(Ours, name, seed))}
    assert wrong == {}


NAIVE = ("the gateway dies before it answers an order", "the commission before its execution", "a corrected price", "a silent fill", "codes that inform, on orders that live",
         "an order by hand", "a liquidation", "a change that is refused")


def test_naive_adapter_fails_where_ours_does_not(monkeypatch):
    """Negative control: the suite notices. Without a fault the naive one agrees as well."""
    assert faults_of(Naive, "nothing goes wrong", 0) == []
    failed = {name for name in NAIVE if faults_of(Naive, name, list(SCENARIOS).index(name))}
    assert len(failed) >= 5, failed
