"""Trade one morning through an unmodified ib_insync or ib_async; prints one JSON line of what it saw.

usage: async_client.py ib_insync|ib_async PORT CLIENT_ID ACCOUNT
"""

import asyncio
import importlib
import json
import logging
import os
import sys

LIBRARY, PORT, CLIENT_ID, ACCOUNT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
SECONDS = float(os.environ.get("PATIENCE", 30))  # patience for one answer, not a measurement
lib = importlib.import_module(LIBRARY)
complaints = []  # requests without their End message while it connects, and messages that it cannot decode


class Collect(logging.Handler):
    def emit(self, record):
        complaints.append(record.getMessage())


def soon(awaitable):
    return asyncio.wait_for(awaitable, SECONDS)


async def beat(ib, count=1):
    "Ask for the time; with the heartbeat clock each question after the first is a step."
    for _ in range(count):
        now = await soon(ib.reqCurrentTimeAsync())
    return now


async def until(ib, done):
    "Beat until `done()`, at most a session."
    for _ in range(100):
        if done():
            return
        await beat(ib)
    raise TimeoutError(f"not done after 100 steps: {ib.trades()}")


async def connect(ib, seen):
    for part in ("ib", "Decoder"):
        logging.getLogger(f"{LIBRARY}.{part}").addHandler(Collect(logging.ERROR))
    await ib.connectAsync("127.0.0.1", PORT, clientId=CLIENT_ID, timeout=SECONDS)
    assert not complaints, complaints
    seen["version"], seen["accounts"] = ib.client.serverVersion(), ib.managedAccounts()
    values = {v.tag: v.value for v in ib.accountValues(ACCOUNT)}
    summary = {v.tag: v.value for v in await soon(ib.accountSummaryAsync()) if v.account == ACCOUNT}
    assert summary["NetLiquidation"] == values["NetLiquidation"], summary
    seen["cash"] = values["TotalCashValue"]
    seen["time"] = (await beat(ib)).isoformat()


async def look(ib, seen):
    "Contracts, chain, streaming and snapshot quotes."
    share = lib.Stock("KO", "SMART", "USD")
    await soon(ib.qualifyContractsAsync(share))
    (chain,) = await soon(ib.reqSecDefOptParamsAsync("KO", "", "STK", share.conId))
    expiry = sorted(chain.expirations)[1]
    calls = await soon(ib.reqContractDetailsAsync(lib.Option("KO", expiry, right="C", exchange="SMART")))
    assert {d.contract.lastTradeDateOrContractMonth for d in calls} == {expiry} and len(calls) > 5, calls
    ticker = ib.reqMktData(share)
    await beat(ib, 2)
    ticks = len(ticker.ticks) + 1
    assert 0 < ticker.bid < ticker.ask and ticker.close > 0 and ticks > 1, ticker
    strike = min((d.contract.strike for d in calls), key=lambda k: abs(k - ticker.last * 1.04))
    call = next(d.contract for d in calls if d.contract.strike == strike)
    (quote,) = await soon(ib.reqTickersAsync(call))
    assert 0 < quote.bid <= quote.ask and 0 < quote.modelGreeks.delta < 1, quote
    seen["quote"] = [ticker.bid, ticker.ask, ticker.bidSize, ticker.last]
    return share, call, quote


async def trade(ib, seen, share, call, quote):
    "A stock at market, an option at a limit, a resting order that is changed and cancelled."
    buy = ib.placeOrder(share, lib.MarketOrder("BUY", 100, account=ACCOUNT, orderRef="morning-1", tif="DAY"))
    await until(ib, buy.isDone)
    sell = ib.placeOrder(call, lib.LimitOrder("SELL", 1, round(quote.bid * 0.9, 1), account=ACCOUNT, orderRef="morning-2", tif="DAY"))
    await until(ib, sell.isDone)
    resting = ib.placeOrder(share, lib.LimitOrder("BUY", 10, 20.0, account=ACCOUNT, orderRef="morning-3", tif="DAY"))
    await beat(ib)
    resting.order.lmtPrice = 21.0
    ib.placeOrder(share, resting.order)
    await beat(ib)
    assert resting.orderStatus.status == "Submitted" and resting.order.lmtPrice == 21.0, resting
    ib.cancelOrder(resting.order)
    await beat(ib)
    seen["statuses"] = [t.orderStatus.status for t in (buy, sell, resting)]
    seen["fills"] = [[f.execution.orderRef, f.execution.side, f.execution.shares, f.execution.price, f.commissionReport.commission] for t in (buy, sell) for f in t.fills]


async def reports(ib, seen, share):
    "What the gateway says when it is asked again."
    seen["positions"] = sorted([p.contract.localSymbol, p.position] for p in ib.positions(ACCOUNT))
    assert seen["positions"] == sorted([p.contract.localSymbol, p.position] for p in ib.portfolio() if p.account == ACCOUNT)
    seen["executions"] = len(await soon(ib.reqExecutionsAsync()))
    seen["completed"] = sorted([t.order.orderRef, t.orderStatus.status] for t in await soon(ib.reqCompletedOrdersAsync(False)))
    seen["open"] = len(await soon(ib.reqAllOpenOrdersAsync()))
    bars = await soon(ib.reqHistoricalDataAsync(share, "", "5 D", "1 day", "TRADES", True))  # not served: an error, not silence
    assert not bars, bars


async def main():
    ib, seen, codes = lib.IB(), {"library": LIBRARY}, set()
    ib.errorEvent += lambda req_id, code, text, contract: codes.add(code)
    await connect(ib, seen)
    share, call, quote = await look(ib, seen)
    await trade(ib, seen, share, call, quote)
    await reports(ib, seen, share)
    assert not complaints, complaints
    ib.disconnect()
    print(json.dumps(seen | {"codes": sorted(codes - {2104, 2106, 2158})}))


asyncio.run(main())
