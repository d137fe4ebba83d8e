"""Each method of sizing from the words of book.yaml to orders: what the session knows, what it trades, and which rule bound."""
import asyncio
from datetime import date
from decimal import Decimal

import pytest

from desk_support import PORTFOLIO, Buys, desk_on, gateway, mandate, prices
from otsport.app.folder import new_folder, read_folder
from otsport.core.books import Lot, Position
from otsport.core.calendars import session_close, sessions_between
from otsport.core.contracts import stock
from otsport.core.errors import FolderError
from otsport.core.settings import Limits, Settings, Sizing
from otsport.data.samples import history
from otsport.desk.plan import Mandate, net_value, plan_stocks, read_plan
from otsport.desk.session import trade_day
from otsport.portfolio.size_steps import METHODS
from otsport.portfolio.sizing import arithmetic
from otsport.strategy.strategies import Momentum

SESSION = date(2022, 12, 28)
PAST = history().past(session_close(date(2022, 12, 27)))
BOOK = {"base_size": 0.10, "max_portfolio_risk": 0.05}


def plan(positions=(), **sizing):
    held = {p.contract.key: p for p in positions}
    marks = {key: p.avg_price for key, p in held.items()}
    rules = Mandate("DU123456", "main", Decimal(10**6), Settings(sizing=Sizing(**BOOK | sizing)), (Momentum(),), objective="sizes")
    return plan_stocks(PAST, SESSION, rules, held, Decimal(10**6) - net_value(Decimal(0), held, marks), marks)


@pytest.mark.parametrize("method", METHODS)
def test_plan_of_real_prices_by_each_method(method):
    found = plan(method=method, max_position_risk=0.05)
    assert found.orders and found.caps and len({d.subject for d in found.decisions}) >= len(found.caps)
    for target in found.caps:
        assert arithmetic(target).lines[-1].after == target.weight > 0
    bound = {s.code for t in found.targets for s in t.steps if s.code}
    told = " ".join(d.message for d in found.decisions)
    assert all(s.name in told for t in found.targets for s in t.steps if s.code) and bound & {d.code for d in found.decisions} or not bound  # the decisions tell every rule that bound


def test_methods_differ_by_what_they_look_at():
    flat, calm, parity = ({t.contract.symbol: t.weight for t in plan(method=m).caps} for m in ("fixed_percent", "volatility", "risk_parity"))
    assert len(set(flat.values())) == 1 and calm["RRC"] < calm["PEP"] and parity["RRC"] < parity["PEP"]
    assert sum(parity.values()) == pytest.approx(sum(flat.values()), rel=0.2)


def test_book_that_is_held_shapes_the_next_sizes():
    shares = Position("DU123456", "main", stock("XOM"), (Lot(Decimal(3000), Decimal("108.68"), PAST.as_of),))
    one, other = ({t.contract.symbol: t.weight for t in plan(held, method="fixed_percent", max_position_risk=1.0, max_portfolio_risk=1.0, adjust=("concentration", "correlation")).caps} for held in ((), (shares,)))
    assert one["PEP"] == pytest.approx(0.10) and other["CVX"] < other["PEP"] < one["PEP"] * 0.3  # one stock has an index of 1, and CVX moves with it


def test_regime_comes_from_the_vol_of_the_universe_and_limits_hold_the_sizes_where_they_are_asked_to():
    halved = plan(method="fixed_percent", adjust=("regime",), regimes={"calm": 1.0, "normal": 0.5, "turbulent": 0.1}, max_position_risk=1.0, max_portfolio_risk=1.0)
    vol = PAST.returns(sessions=21).mean(axis=1).std() * 252**0.5
    assert [t.weight for t in halved.caps] == pytest.approx([0.10 if vol < 0.20 else 0.05] * len(halved.caps))
    wild = plan(method="fixed_percent", adjust=("regime",), regimes={"calm": 0.5, "normal": 0.25}, max_position_risk=1.0, max_portfolio_risk=1.0)
    assert [t.weight for t in wild.caps] == pytest.approx([0.05 if vol < 0.20 else 0.025] * len(wild.caps))
    inside = plan(method="fixed_percent", base_size=0.2, max_position_risk=1.0, max_portfolio_risk=1.0, within_limits=True)
    by_sector = {}
    for t in inside.caps:
        by_sector[PAST.sectors[t.contract.symbol]] = by_sector.get(PAST.sectors[t.contract.symbol], 0.0) + t.weight
    assert max(by_sector.values()) <= Limits().max_sector_weight + 1e-12 and sum(by_sector.values()) <= 1 + 1e-12
    assert {"MAX_POSITION", "CASH"} <= {s.code for t in inside.caps for s in t.steps}


def test_sessions_trade_by_each_method_or_say_why_not(tmp_path):
    days, found = sessions_between(date(2022, 12, 15), date(2022, 12, 20)), {}

    async def trade():
        async with gateway() as (server, _):
            for day, method in zip(days, ("kelly", "fixed_dollar", "risk_parity", "optimal_f"), strict=True):
                rules = Sizing(method=method, base_size=0.1 + 0.05 * (day.day % 2), max_position_risk=0.02, max_portfolio_risk=0.05, dollars=30_000)
                async with desk_on(server.port, tmp_path, strategies=(Buys(),), sizing=rules, limits=mandate(1).settings.limits, objective="sizes") as desk:
                    await trade_day(desk, day)
                    p = read_plan(desk.store.plan(PORTFOLIO, day))
                    found[method] = p, len(list(desk.store.orders(PORTFOLIO, day)))

    asyncio.run(trade())
    assert prices().symbols == ("KO",)
    for method, (p, orders) in found.items():
        codes = {d.code for d in p.decisions}
        if method == "optimal_f":
            assert not p.caps and "NO_TRADES" in codes  # 700 sessions are no five years, and the plan says so
        else:
            assert p.caps[0].steps and (orders or codes - {"OK"}), method
    assert found["kelly"][0].caps[0].steps[-1].code == "POSITION_RISK" and sum(n for _, n in found.values()) >= 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    made = new_folder(tmp_path / "desk").path

    def written(text):
        book = made / "book.yaml"
        book.write_text(book.read_text().replace("sizing:\n", f"sizing:\n{text}\n", 1))
        return made
    return written


def test_book_file_says_method_adjustments_and_parameters(folder):
    f = read_folder(folder("  method: kelly\n  kelly_fraction: 0.5\n  adjust: [volatility, regime]\n  regimes: {calm: 1.0, normal: 0.9, turbulent: 0.4}\n  within_limits: true"))
    rules = f.own_settings(f.broker()).sizing
    assert (rules.method, rules.kelly_fraction, rules.adjust, rules.regimes["turbulent"], rules.within_limits) == ("kelly", 0.5, ("volatility", "regime"), 0.4, True)
    assert dict(f.rules)["sizing"] == "method kelly, min_confidence 0.6, max_position_risk 0.005, kelly_fraction 0.5, adjust volatility regime, regimes calm 1 normal 0.9 turbulent 0.4, within_limits True"


@pytest.mark.parametrize("text, words", [
    ("  method: kely", "book.yaml, line {}: sizing.method = 'kely': did you mean kelly? input should be 'confidence' or"),
    ("  adjust: [regim]", "line {}: sizing.adjust: there is no 'regim': did you mean regime? input should be some of"), ("  kelly_fraction: 25", "line {}: sizing.kelly_fraction = 25: input should be less than or equal to 1: write a share"),
    ("  target_vol: -0.2", "line {}: sizing.target_vol = -0.2: input should be greater than 0: write an annual decimal"), ("  kely_fraction: 0.25", "sizing.kely_fraction = 0.25: there is no such field here: did you mean kelly_fraction?"),
    ("  adjust: [confidence]", "take confidence out of adjust"), ("  dollars: .inf", "sizing.dollars = inf: input should be a finite number: write dollars"),
    ("  regimes: {calm: -1}", "line {}: sizing.regimes.calm = -1: input should be greater than or equal to 0"), ("  unbounded_loss: hope", "sizing.unbounded_loss = 'hope': input should be 'refuse' or 'stress'"),
])
def test_book_file_names_line_field_rule_and_nearest(folder, text, words):
    made = folder(text)
    line = 1 + (made / "book.yaml").read_text().splitlines().index(text)
    with pytest.raises(FolderError) as error:
        read_folder(made)
    assert words.format(line) in str(error.value)
