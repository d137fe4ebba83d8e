"""Limits on Greeks and losses from book.yaml to the plan, the wire, the notebook, the panel and the report; without them nothing changes."""
import asyncio
from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Decimal

import pytest

import otsport
from otsport.app.folder import new_folder, read_folder
from otsport.analytics.bound_use import BROKEN, KEPT, MAY_BREAK
from otsport.core.books import Lot, Position
from otsport.core.constraints import GreekBound, LossBound
from otsport.core.contracts import Quote, option, stock
from otsport.core.errors import DataError, FolderError, InputError
from otsport.core.intent import Signal, SignalType
from otsport.core.orders import Side
from otsport.core.settings import Limits, Settings
from otsport.data.plain import plain, revive
from otsport.data.samples import history
from otsport.desk import report
from otsport.desk.day import example_days
from otsport.desk.lab import OpenBook
from otsport.desk.outbox import _also_quoted
from otsport.desk.plan import Mandate, Plan, known_after, plan_overlay, plan_stocks
from otsport.panels.day import risk_section
from otsport.panels.positions import effect_html, looked_at, positions_panel
from otsport.desk.what_if import what_if
from otsport.strategy.protocol import StockStrategy, Timing
from otsport.strategy.strategies import Momentum
from trading_support import gateway

AS_OF, DAY = datetime(2022, 12, 27, 21, tzinfo=timezone.utc), date(2022, 12, 28)
PAST = history().past(AS_OF)
NAV = Decimal(1_000_000)
PUT = option("KO", date(2023, 1, 20), Decimal("62.5"), "P")
SHORT = {PUT.key: Position("DU123456", "main", PUT, (Lot(Decimal(-20), Decimal("1.2"), AS_OF),), strategy="puts")}
MARKS = {PUT.key: Decimal("1.10")}


def planned(positions=None, marks=None, cash=NAV, **limits) -> Plan:
    mandate = Mandate("DU123456", "main", NAV, Settings(limits=Limits(**limits)), (Momentum(top=8),))
    return plan_stocks(PAST, DAY, mandate, positions or {}, cash, marks or {})


# ---------------------------------------------------------------- the plan

def test_without_limits_a_plan_says_nothing_and_wide_ones_change_nothing():
    bare, wide = planned(), planned(greeks=[{"greek": "delta", "high": 5, "unit": "nav"}], stress={"most": 1, "unit": "nav"})
    assert bare.greek_bounds == bare.loss_bounds == () and wide.greek_bounds == (GreekBound("delta", None, 5e6),)
    assert (wide.targets, wide.orders, wide.decisions) == (bare.targets, bare.orders, bare.decisions) and revive(Plan, plain(wide)) == wide


@pytest.mark.parametrize("limits, code, most", [({"greeks": [{"greek": "delta", "high": 0.12, "unit": "nav"}]}, "DELTA", 120_000), ({"stress": {"most": 24_000}}, "STRESS_LOSS", 120_000)])
def test_a_tight_limit_clips_with_code_and_numbers_and_orders_follow(limits, code, most):
    bare, tight = planned(), planned(**limits)
    value = lambda plan: sum(o.qty * o.limit_price for o in plan.orders) / Decimal("1.02")  # limits lie 2 % above the close
    assert value(bare) > most > value(tight) > most * Decimal("0.7")
    assert {code} <= {d.code for d in tight.decisions} and all(d.after < d.before for d in tight.decisions if d.code == code)
    assert [o.order_ref for o in tight.orders] == sorted({o.order_ref for o in tight.orders}) and code in {s.code for t in tight.targets for s in t.steps}
    assert sum(t.weight for t in tight.targets) <= 0.95 * most / 1e6 + 1e-9  # a twentieth is left for the night


def test_a_put_that_is_short_takes_of_the_room_and_one_that_is_long_gives():
    limits = {"greeks": [{"greek": "delta", "high": 60_000}]}
    room = {}
    for qty in (-20, 0, 20):
        held = {PUT.key: replace(SHORT[PUT.key], lots=(Lot(Decimal(qty), Decimal("1.2"), AS_OF),))} if qty else {}
        room[qty] = sum(t.weight for t in planned(held, MARKS if qty else {}, **limits).targets)
    assert room[-20] < room[0] < room[20]


class Puts(StockStrategy):
    """Sells so many puts, or a spread of them."""
    name, timing = "puts", Timing(after_orders=True)

    def __init__(self, *legs):
        self.legs = legs

    def signals(self, known):
        made = [Signal(f"s{i}", "puts", c, kind, 0.9, 0.1, 0.05, known.past.as_of, contracts=n, combo="puts#1" if len(self.legs) > 1 else "") for i, (c, kind, n) in enumerate(self.legs)]
        return tuple(made), ()


def wished(*legs, **limits):
    plan = planned(**limits)
    known = replace(known_after(plan, PAST, {}, {}), quotes={c.key: Quote(c, AS_OF, *prices, last=prices[0]) for c, prices in ((PUT, (1.09, 1.11)), (LOW, (0.39, 0.41)))})
    return plan_overlay(plan, Puts(*legs), known, Settings(limits=Limits(**limits), sizing={"base_size": 0.15}))


LOW = option("KO", date(2023, 1, 20), Decimal(60), "P")


def test_options_are_cut_before_the_open_and_a_spread_to_its_worst_stage():
    bare = wished((PUT, SignalType.SELL_PUT, 8))
    assert [w.qty for w in bare.wishes] == [8]
    cut = wished((PUT, SignalType.SELL_PUT, 8), greeks=[{"greek": "vega", "low": -20}])
    (told,) = [d for d in cut.decisions if d.code == "VEGA"]
    assert 0 < cut.wishes[0].qty < 8 and (told.before, told.after) == (8.0, float(cut.wishes[0].qty))
    none = wished((PUT, SignalType.SELL_PUT, 8), stress={"most": 1})
    assert none.wishes == () and "STRESS_LOSS" in {d.code for d in none.decisions}


# ---------------------------------------------------------------- the wire, and a book in a notebook

LIMITS = {"greeks": [{"greek": "delta", "high": 9_000}, {"greek": "vega", "low": -1_000}], "stress": {"most": 50_000}}


def in_lab(doing, limits):
    async def day():
        async with gateway() as (server, exchange):
            plain_book = otsport.open_book(capital=100_000, account="DU1", port=server.port)
            rules = plain_book.place.settings
            async with OpenBook(replace(plain_book.place, settings=rules.model_copy(update={"limits": Limits(**limits)}))) as book:
                for _ in range(2):
                    await book.refresh()
                await doing(book, exchange)
    asyncio.run(day())


def test_gate_holds_the_book_to_its_limits_over_the_wire_and_the_notebook_tells_their_use(home):
    async def doing(book, exchange):
        await book.fills_since(await book.buy("KO", 100), seconds=5)
        assert [u.state for u in book.limits.uses] == [KEPT, KEPT, KEPT] and 5_800 < book.limits.uses[0].measured < 6_200
        refused = await book.buy("KO", 60)
        assert (refused.accepted, refused.code) == (False, "DELTA") and "would fit" in refused.message and len(exchange.state.orders) == 1
        resting = await book.buy("KO", 40, limit=55)
        assert resting.accepted and book.limits.uses[0].worst == pytest.approx(1.4 * book.limits.uses[0].measured)
        assert (await book.buy("KO", 41, limit=55)).code == "DELTA"  # what rests may fill
        panel = positions_panel(book)
        assert "Limits on the whole book: 0 of 3 broken" in panel.children[0].value
        panel.controls.trade.value = "200 KO"
        assert "Limits on the whole book: 1 of 3 broken" in panel.changes.value
    in_lab(doing, LIMITS)


def test_a_book_that_is_over_may_sell_by_hand_and_not_buy(home):
    async def doing(book, exchange):
        await book.fills_since(await book.buy("KO", 100), seconds=5)
        book.seat.place = replace(book.place, settings=book.place.settings.model_copy(update={"limits": Limits(greeks=[{"greek": "delta", "high": 1_000}])}))
        book._desk.mandate = replace(book._desk.mandate, settings=book.place.settings)
        assert book.limits.uses[0].state == BROKEN and (await book.buy("KO", 1)).code == "DELTA" and (await book.sell("KO", 50)).accepted
    in_lab(doing, LIMITS)


def test_a_hedge_comes_from_the_real_chain_to_where_the_limits_want_it_and_is_not_sent(home):
    limits = {"greeks": [{"greek": "delta", "high": 9_000, "hedge_high": 4_000}]}

    async def doing(book, exchange):
        await book.fills_since(await book.buy("KO", 100), seconds=5)
        found = await book.hedge("KO", width=0.1)
        assert found.before[0].code == "DELTA" and found.after[0].accepted and found.after[0].before <= 4_000 and found.trades and len(exchange.state.orders) == 1
        with pytest.raises(DataError, match="contract XYZ"):
            await book.hedge("XYZ")
    in_lab(doing, limits)


def test_a_book_without_limits_says_what_to_write(home):
    async def doing(book, exchange):
        with pytest.raises(InputError, match="write `greeks:` or `stress:` under `limits:`"):
            book.limits
    in_lab(doing, {})


def test_a_contract_that_the_broker_does_not_list_leaves_the_others_their_quotes(caplog):
    class Broker:
        async def quotes(self, contracts):
            if PUT in contracts:
                raise DataError("KO 20230120 P 62.5 is not listed")
            return {c.key: Quote(c, AS_OF, 1, 2) for c in contracts}
    found = asyncio.run(_also_quoted(Broker(), [stock("KO"), PUT, LOW]))
    assert set(found) == {"KO", LOW.key} and "is not listed" in caplog.text and asyncio.run(_also_quoted(Broker(), [])) == {}


# ---------------------------------------------------------------- the report and the panels

@pytest.fixture(scope="module")
def days():
    prices = history()
    (day,) = example_days(prices, prices.last)[-1:]
    bounds = dict(greek_bounds=(GreekBound("delta", None, 1_000.0), GreekBound("vega", -1e6, 1e6)), loss_bounds=(LossBound(1e6),))
    return day, replace(day, plan=replace(day.plan, **bounds))


def test_report_and_panels_show_the_use_of_limits_and_nothing_without_them(days):
    bare, limited = days
    assert report.limits_table(bare) is None and "Limits on the whole book" not in risk_section(bare)
    html = report.limits_table(limited).html
    assert "1 of 3 broken" in html and BROKEN in html and "delta at most 1,000 dollars" in html and html in risk_section(limited)
    seen, none = looked_at(limited), looked_at(bare)
    assert [u.state for u in seen.limits.uses] == [BROKEN, KEPT, KEPT] and none.limits is None and none.bounds == ()
    effect = what_if(seen.risk, "-100 KO", seen.cash)
    assert "Limits on the whole book" in effect_html(effect, 0, seen.bounds) and "Limits on the whole book" not in effect_html(effect)
    assert MAY_BREAK not in html


# ---------------------------------------------------------------- book.yaml

def written(folder, text):
    file = folder / "book.yaml"
    file.write_text(file.read_text().replace("  max_premium: 0.01", f"{text}\n  max_premium: 0.01", 1))
    return read_folder(folder)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    new_folder(tmp_path / "desk")
    return tmp_path / "desk"


def test_book_yaml_says_limits_and_a_day_is_kept_by_them(folder):
    before = dict(read_folder(folder).rules)
    found = written(folder, "  greeks:\n    - {greek: delta, high: 0.5, unit: nav, hedge_high: 0.4}\n    - {greek: gamma, symbol: KO, unit: shares, low: -90}\n  stress: {most: 0.2, unit: nav, days: [0]}")
    limits = found.own_settings(found.broker()).limits
    assert limits.greeks[0].hedge_high == 0.4 and limits.stress.days == (0.0,) and limits.max_premium == 0.01
    assert "greeks" not in before["limits"] and "delta high 0.5" in dict(found.rules)["limits"].replace("unit nav ", "") and "stress most 0.2" in dict(found.rules)["limits"]


@pytest.mark.parametrize("text, words", [
    ("  greeks:\n    - {greek: delta, high: 1, symbol: KOO}", r"greeks\[1\].symbol = 'KOO': KOO is not in the universe: did you mean KO"),
    ("  greeks:\n    - {greek: dleta, high: 1}", r"line \d+: limits.greeks\[1\].greek = 'dleta'"), ("  greeks: []", "limits.greeks: there is nothing in it"),
    ("  greeks:\n    - {greek: delta, high: 1, symbl: KO}", r"greeks\[1\].symbl.*did you mean symbol"), ("  stress: {most: 5, unit: nav}", "limits.stress.*more than there is"),
    ("  greeks: {greek: delta, high: 1}", "limits.greeks: it is a list: write a list of"), ("  stress: 50000", "limits.stress = 50000: it is a block of lines .*write {most: 50000}"),
    ("  stress: {unit: nav}", "the field most is missing"), ("  greeks:\n    - {greek: vega, low: 5, high: 1}", r"limits.greeks\[1\].*rise in this order"),
])  # fmt: skip
def test_a_wrong_limit_is_told_with_its_line_and_rule(folder, text, words):
    with pytest.raises(FolderError, match=words):
        written(folder, text)


def test_what_is_wrong_in_a_list_is_told_once(folder):
    with pytest.raises(FolderError) as told:
        written(folder, "  greeks:\n    - {greek: delta, high: 50k}\n  stress: {most: 5, spots: [-20]}")
    assert str(told.value).count("line ") == 2 and "nothing in it" not in str(told.value)
