"""The six everyday tasks with other libraries, run and written down beside their code, for `nbs/howto/five_lines.ipynb`.

    uv venv peers && uv pip install --python peers/bin/python -e '.[bench]' holidays ib_async skfolio
    uv pip install --python peers/bin/python --no-deps optionlab     # it pins an old pandas that it does not need
    peers/bin/python bench/five_lines.py

It wants an environment of its own: ib_async and ib_insync cannot share one. The gateway is ours, a process that this script starts and ends.
"""
import ast
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "nbs" / "howto" / "five_lines.json"
SESSION, ACCOUNT = "2022-12-28", "DU123456"

PEERS = {  # task -> distribution, code, and the numbers that it ends with as an expression
    "open a book": ("ib_async", """
from ib_async import IB, util
ib = IB()
await ib.connectAsync("127.0.0.1", port, clientId=7)
positions = util.df([{"symbol": p.contract.localSymbol, "qty": p.position, "cost": p.avgCost} for p in ib.positions(account)])
cash = next(float(v.value) for v in ib.accountValues(account) if v.tag == "TotalCashBalance" and v.currency == "USD")
""", "dict(cash=cash)"),
    "place, cancel, fill": ("ib_async", """
from ib_async import LimitOrder, MarketOrder, Stock
share = Stock("KO", "SMART", "USD")
await ib.qualifyContractsAsync(share)
waiting = ib.placeOrder(share, LimitOrder("BUY", 100, 60.50, account=account, tif="DAY"))
ib.cancelOrder(waiting.order)
bought = ib.placeOrder(share, MarketOrder("BUY", 200, account=account, tif="DAY"))
while not (waiting.isDone() and bought.isDone()):
    await ib.reqCurrentTimeAsync()
fills = util.df([{"time": f.time, "qty": f.execution.shares, "price": f.execution.price, "fee": f.commissionReport.commission} for f in bought.fills])
""", "dict(states=[waiting.orderStatus.status, bought.orderStatus.status], qty=float(fills['qty'].sum()))"),
    "a chain": ("ib_async", """
from datetime import datetime
from ib_async import Option
(listed,) = await ib.reqSecDefOptParamsAsync("KO", "", "STK", share.conId)
today, (spot,) = await ib.reqCurrentTimeAsync(), await ib.reqTickersAsync(share)
days = {e: (datetime.strptime(e, "%Y%m%d").date() - today.date()).days for e in listed.expirations}
expiry = min(days, key=lambda e: abs(days[e] - 30))
strikes = [k for k in listed.strikes if abs(k / spot.midpoint() - 1) <= 0.2]
options = [Option("KO", expiry, k, r, "SMART") for r in "CP" for k in strikes]
known = [o for o in await ib.qualifyContractsAsync(*options) if o is not None]
tickers = await ib.reqTickersAsync(*known)
greeks = [(t, t.modelGreeks) for t in tickers if t.modelGreeks]
chain = util.df([{"strike": t.contract.strike, "right": t.contract.right, "bid": t.bid, "ask": t.ask, "vol": g.impliedVol, "delta": g.delta, "gamma": g.gamma, "vega": g.vega, "theta": g.theta} for t, g in greeks])
""", "dict(as_of=today.isoformat(), spot=spot.midpoint(), strikes=list(chain['strike']), rights=list(chain['right']), vols=list(chain['vol']), deltas=list(chain['delta']))"),
    "risk of positions": ("optionlab", """
from optionlab import Inputs, run_strategy
legs = [{"type": "call", "strike": 230, "premium": 8.20, "n": 500, "action": "buy"}, {"type": "call", "strike": 240, "premium": 4.40, "n": 500, "action": "sell"}]
inputs = Inputs(stock_price=224.31, volatility=0.25, interest_rate=0.05, min_stock=150, max_stock=320, days_to_target_date=63, discard_nonbusiness_days=False, strategy=legs)
result = run_strategy(inputs)
result
""", "dict(delta=result.delta, gamma=result.gamma, vega=result.vega, theta=result.theta, loss=result.minimum_return_in_the_domain,"
     " gain=result.maximum_return_in_the_domain, break_even=result.profit_ranges[0][0])"),
    "optimal weights": ("skfolio", """
from skfolio.moments import LedoitWolf
from skfolio.optimization import MeanRisk, ObjectiveFunction
from skfolio.prior import EmpiricalPrior
prior = EmpiricalPrior(covariance_estimator=LedoitWolf())
model = MeanRisk(ObjectiveFunction.MAXIMIZE_RATIO, prior_estimator=prior, max_weights=0.4)
weights = model.fit(returns).weights_
""", "dict(zip(returns.columns, map(float, weights)))"),
    "measures": ("quantstats", """
import quantstats as qs
table = qs.reports.metrics(returns["KO"], mode="full", display=False)
""", "dict(sharpe=float(qs.stats.sharpe(returns['KO'])), sortino=float(qs.stats.sortino(returns['KO'])), vol=float(qs.stats.volatility(returns['KO'])),"
     " max_drawdown=float(qs.stats.max_drawdown(returns['KO'])), profit_factor=float(qs.stats.profit_factor(returns['KO'])))"),
}


def lines(code: str) -> int:
    """Lines that say something: imports count, blank ones and comments do not."""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines())


async def run(code: str, space: dict) -> object:
    """Run code that may await, as a notebook does; the value of its last expression."""
    tree = ast.parse(code)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    for part, kind in ((tree, "exec"), (last, "eval")):
        if part is not None:
            found = eval(compile(part, "task", kind, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), space)
            found = await found if asyncio.iscoroutine(found) else found
    return found


BEGIN = {"place, cancel, fill": "15:00", "a chain": "16:00"}  # UTC, when a task is begun: the market has opened at 14:30


async def wait_until(ib, clock: str) -> None:
    """Move the simulated day on."""
    while f"{(now := await ib.reqCurrentTimeAsync()):%H:%M}" < clock:
        assert now.date().isoformat() == SESSION, now


async def answers(port: int) -> dict:
    """Every task with its code, its lines and the numbers that came out."""
    from otsport.data.samples import sample

    closes = sample("sp500_20_daily")[["AAPL", "JNJ", "KO", "WMT", "XOM"]].loc["2018":"2022"]
    space = {"port": port, "account": ACCOUNT, "asyncio": asyncio, "returns": closes.pct_change().dropna()}
    found = {}
    for task, (peer, code, numbers) in PEERS.items():
        if task in BEGIN:
            await wait_until(space["ib"], BEGIN[task])
        await run(code, space)
        found[task] = {"peer": peer, "version": version(peer), "code": code.strip(), "lines": lines(code), "numbers": await run(numbers, space)}
    space["ib"].disconnect()
    return found


def main() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "otsport", "gateway", "--session", SESSION, "--port", str(port), "--clock", "heartbeat"]
        gateway = subprocess.Popen(command, env=os.environ | {"OTSPORT_HOME": home}, stdout=subprocess.PIPE, text=True)
        try:
            print(gateway.stdout.readline().strip())
            found = asyncio.run(answers(port))
        finally:
            gateway.terminate()
            gateway.wait()
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    for task, row in found.items():
        print(f"{task}: {row['peer']} {row['version']}, {row['lines']} lines, {str(row['numbers'])[:160]}")


if __name__ == "__main__":
    main()
