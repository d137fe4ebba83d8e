"""Trade one day through an unmodified ib_insync or ib_async; prints one JSON line of what it saw.

usage: async_client.py ib_insync|ib_async PORT CLIENT_ID ACCOUNT
"""

import asyncio
import importlib
import json
import logging
import math
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
    "Contracts, chain, streaming and snapshot quotes, Greeks."
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
    higher = next(d.contract for d in sorted(calls, key=lambda d: d.contract.strike) if d.contract.strike > strike)
    (quote,) = await soon(ib.reqTickersAsync(call))
    assert 0 < quote.bid <= quote.ask and 0 < quote.modelGreeks.delta < 1, quote
    assert quote.bidGreeks.impliedVol < quote.modelGreeks.impliedVol < quote.askGreeks.impliedVol and quote.modelGreeks.gamma > 0 > quote.modelGreeks.theta, quote
    seen["quote"], seen["source"] = [ticker.bid, ticker.ask, ticker.bidSize, ticker.last], ticker.bboExchange
    seen["greeks"] = [round(getattr(quote.modelGreeks, n), 6) for n in ("impliedVol", "delta", "gamma", "vega", "theta", "undPrice")]
    return share, call, higher, quote


async def history(ib, seen, share):
    "Bars: days, five minutes, and since when."
    days = await soon(ib.reqHistoricalDataAsync(share, "", "5 D", "1 day", "TRADES", True))
    short = await soon(ib.reqHistoricalDataAsync(share, "", "2 D", "5 mins", "TRADES", True, 2))
    head = await soon(ib.reqHeadTimeStampAsync(share, "TRADES", True, 1))
    assert all(b.low <= min(b.open, b.close) <= max(b.open, b.close) <= b.high for b in [*days, *short]), days
    seen["bars"] = [[str(b.date), b.open, b.high, b.low, b.close] for b in days[:-1]]
    seen["minutes"], seen["first"] = [len(short), short[0].close], head.isoformat()[:10]


async def ask_if(ib, seen, share):
    "What an order would do."
    order = lib.MarketOrder("BUY", 100, account=ACCOUNT, tif="DAY")
    state = await soon(ib.whatIfOrderAsync(share, order))
    seen["what_if"] = [float(state.initMarginBefore), float(state.initMarginAfter) > 0, float(state.commission), state.commissionCurrency]


async def trade(ib, seen, share, call, higher, quote):
    "A stock at market, an option at a limit, a resting order that is changed and cancelled, a fill in parts, a stop, a combination."
    buy = ib.placeOrder(share, lib.MarketOrder("BUY", 100, account=ACCOUNT, orderRef="day-1", tif="DAY"))
    await until(ib, buy.isDone)
    sell = ib.placeOrder(call, lib.LimitOrder("SELL", 1, round(quote.bid * 0.9, 1), account=ACCOUNT, orderRef="day-2", tif="DAY"))
    await until(ib, sell.isDone)
    resting = ib.placeOrder(share, lib.LimitOrder("BUY", 10, 20.0, account=ACCOUNT, orderRef="day-3", tif="DAY"))
    await beat(ib)
    resting.order.lmtPrice = 21.0
    ib.placeOrder(share, resting.order)
    await beat(ib)
    assert resting.orderStatus.status == "Submitted" and resting.order.lmtPrice == 21.0, resting
    ib.cancelOrder(resting.order)
    await beat(ib)
    large = ib.placeOrder(share, lib.MarketOrder("BUY", 5000, account=ACCOUNT, orderRef="day-4", tif="DAY"))
    await beat(ib)
    assert large.orderStatus.status == "Submitted" and 0 < large.filled() < 5000, large
    await until(ib, large.isDone)
    stop = ib.placeOrder(share, lib.StopOrder("SELL", 100, 20.0, account=ACCOUNT, orderRef="day-5", tif="GTC"))
    spread = lib.Contract(symbol="KO", secType="BAG", exchange="SMART", currency="USD",
                          comboLegs=[lib.ComboLeg(conId=c.conId, ratio=1, action=side, exchange="SMART") for c, side in ((call, "BUY"), (higher, "SELL"))])
    combo = ib.placeOrder(spread, lib.MarketOrder("BUY", 2, account=ACCOUNT, orderRef="day-6", tif="DAY"))
    await until(ib, combo.isDone)
    await beat(ib)
    seen["statuses"] = [t.orderStatus.status for t in (buy, sell, resting, large, stop, combo)]
    seen["fills"] = [[f.execution.orderRef, f.execution.side, f.execution.shares, f.execution.price, f.commissionReport.commission] for t in (buy, sell) for f in t.fills]
    parts = [f.execution for f in large.fills]
    seen["parts"] = [len(parts) > 2, sum(p.shares for p in parts), parts[-1].cumQty, sum(f.commissionReport.commission for f in large.fills)]
    seen["combo"] = [[f.contract.secType, f.contract.strike, f.execution.side, f.execution.shares] for f in combo.fills]
    whole, *legs = [f.execution.price for f in combo.fills]
    assert math.isclose(whole, legs[0] - legs[1]) and combo.orderStatus.avgFillPrice == whole, combo


async def profit(ib, seen, share):
    "Profit of the day, of the account and of the stock."
    account, single = ib.reqPnL(ACCOUNT), ib.reqPnLSingle(ACCOUNT, "", share.conId)
    await beat(ib)
    assert not math.isnan(account.dailyPnL) and single.position == 5100 and single.value > 0, (account, single)
    seen["profit"] = [round(account.dailyPnL, 2), round(single.dailyPnL, 2), round(single.unrealizedPnL, 2)]
    ib.cancelPnL(ACCOUNT)
    ib.cancelPnLSingle(ACCOUNT, "", share.conId)


async def reports(ib, seen):
    "What the gateway says when it is asked again."
    seen["positions"] = sorted([p.contract.localSymbol, p.position] for p in ib.positions(ACCOUNT))
    assert seen["positions"] == sorted([p.contract.localSymbol, p.position] for p in ib.portfolio() if p.account == ACCOUNT)
    trades = await soon(ib.reqExecutionsAsync())
    seen["executions"] = sorted([f.execution.orderRef, f.contract.secType, f.execution.side] for f in trades if f.execution.orderRef != "day-4")
    assert len({f.execution.execId for f in trades}) == len(trades)
    seen["completed"] = sorted([t.order.orderRef, t.orderStatus.status] for t in await soon(ib.reqCompletedOrdersAsync(False)))
    seen["open"] = [[t.order.orderRef, t.order.orderType, t.order.auxPrice] for t in await soon(ib.reqAllOpenOrdersAsync())]


async def again(ib, seen):
    "A line that is cut and made anew finds everything."
    known = {k: seen[k] for k in ("positions", "executions", "completed", "open")}
    ib.disconnect()
    fresh = lib.IB()
    await fresh.connectAsync("127.0.0.1", PORT, clientId=CLIENT_ID, timeout=SECONDS)
    await reports(fresh, seen)
    assert known == {k: seen[k] for k in known}, (known, seen)
    (stop,) = fresh.openTrades()
    fresh.cancelOrder(stop.order)  # its own order, of the connection before
    await beat(fresh, 2)
    seen["cancelled"] = stop.orderStatus.status
    fresh.disconnect()


async def main():
    ib, seen, codes = lib.IB(), {"library": LIBRARY}, set()
    ib.errorEvent += lambda req_id, code, text, contract: codes.add(code)
    await connect(ib, seen)
    share, call, higher, quote = await look(ib, seen)
    await history(ib, seen, share)
    await ask_if(ib, seen, share)
    await trade(ib, seen, share, call, higher, quote)
    await profit(ib, seen, share)
    await reports(ib, seen)
    await again(ib, seen)
    assert not complaints, complaints
    print(json.dumps(seen | {"codes": sorted(codes - {2104, 2106, 2158})}))


asyncio.run(main())
