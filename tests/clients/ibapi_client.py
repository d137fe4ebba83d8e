"""Trade one day through the unmodified official ibapi 9.81; prints one JSON line of what it saw.

usage: ibapi_client.py PORT CLIENT_ID ACCOUNT
"""

import json
import logging
import math
import os
import queue
import sys
import threading
import time
import traceback
from datetime import datetime, timezone

from ibapi.client import EClient
from ibapi.contract import ComboLeg, Contract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.wrapper import EWrapper

PORT, CLIENT_ID, ACCOUNT = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
SECONDS = float(os.environ.get("PATIENCE", 30))  # patience for one answer, not a measurement
complaints = []  # what the library cannot decode


class Collect(logging.Handler):
    def emit(self, record):
        complaints.append(record.getMessage())


logging.getLogger().addHandler(Collect(logging.ERROR))
ENDS = {"positionEnd", "openOrderEnd", "accountDownloadEnd", "contractDetailsEnd", "execDetailsEnd", "tickSnapshotEnd", "accountSummaryEnd", "accountUpdateMultiEnd",
        "securityDefinitionOptionParameterEnd", "completedOrdersEnd", "currentTime", "nextValidId", "historicalDataEnd", "headTimestamp", "pnl", "pnlSingle"}  # fmt: skip


class App(EWrapper, EClient):
    "Keeps every callback by name."

    def __init__(self):
        EClient.__init__(self, self)
        self.calls, self.ended, self.codes = {}, queue.Queue(), set()

    def __getattribute__(self, name):
        method = object.__getattribute__(self, name)
        if not (hasattr(EWrapper, name) and callable(method)) or name.startswith("_") or name == "logAnswer":
            return method

        def note(*args):
            self.calls.setdefault(name, []).append(args)
            if name == "error":
                self.codes.add(args[1])
            if name in ENDS:
                self.ended.put(name)
            return None

        return note

    def answer(self, end, send, *args):
        "Send a request and wait for its end."
        send(*args)
        deadline = time.monotonic() + SECONDS
        while (name := self.ended.get(timeout=max(0.01, deadline - time.monotonic()))) != end:
            pass

    def beat(self, count=1):
        for _ in range(count):
            self.answer("currentTime", self.reqCurrentTime)
        return datetime.fromtimestamp(self.calls["currentTime"][-1][0], timezone.utc)

    def status(self, order_id):
        said = [call for call in self.calls.get("orderStatus", []) if call[0] == order_id]
        return said[-1][1] if said else None

    def until(self, order_id, status):
        for _ in range(100):
            if self.status(order_id) == status:
                return
            self.beat()
        raise TimeoutError(f"order {order_id} is {self.status(order_id)} after 100 steps")


def contract(**fields):
    made = Contract()
    made.__dict__.update({"symbol": "KO", "exchange": "SMART", "currency": "USD"} | fields)
    return made


def order(side, qty, ref, limit=None, **more):
    made = Order()
    made.__dict__.update(action=side, totalQuantity=qty, orderType="MKT" if limit is None else "LMT", account=ACCOUNT, orderRef=ref, tif="DAY", eTradeOnly=False, firmQuoteOnly=False)
    made.__dict__.update(more)
    if limit is not None:
        made.lmtPrice = limit
    return made


def leg(con_id, side):
    made = ComboLeg()
    made.__dict__.update(conId=con_id, ratio=1, action=side, exchange="SMART")
    return made


def account(app, seen):
    app.answer("positionEnd", app.reqPositions)
    app.answer("openOrderEnd", app.reqAllOpenOrders)
    app.answer("accountDownloadEnd", app.reqAccountUpdates, True, ACCOUNT)
    app.answer("accountSummaryEnd", app.reqAccountSummary, 9001, "All", "NetLiquidation,TotalCashValue,BuyingPower")
    values = {call[0]: call[1] for call in app.calls["updateAccountValue"]}
    assert {call[2]: call[3] for call in app.calls["accountSummary"]} == {tag: values[tag] for tag in ("NetLiquidation", "TotalCashValue", "BuyingPower")}
    seen["cash"], seen["accounts"] = values["TotalCashValue"], app.calls["managedAccounts"][0][0].split(",")


def look(app, seen):
    "Contracts, chain, streaming and snapshot quotes, Greeks."
    app.answer("contractDetailsEnd", app.reqContractDetails, 1, contract(secType="STK"))
    share = app.calls["contractDetails"][-1][1].contract
    app.answer("securityDefinitionOptionParameterEnd", app.reqSecDefOptParams, 2, "KO", "", "STK", share.conId)
    _, exchange, _, _, _, expiries, _ = app.calls["securityDefinitionOptionParameter"][0]
    app.answer("contractDetailsEnd", app.reqContractDetails, 3, contract(secType="OPT", right="C", exchange=exchange, lastTradeDateOrContractMonth=sorted(expiries)[1]))
    calls = [call[1].contract for call in app.calls["contractDetails"] if call[0] == 3]
    app.reqMktData(4, share, "", False, False, [])
    app.beat(2)
    prices = {call[1]: call[2] for call in app.calls["tickPrice"] if call[0] == 4}
    sizes = {call[1]: call[2] for call in app.calls["tickSize"] if call[0] == 4}
    assert 0 < prices[1] < prices[2] and prices[9] > 0 and sizes[0] > 0 and len(app.calls["tickPrice"]) > 4, prices
    call = min(calls, key=lambda c: abs(c.strike - prices[4] * 1.04))
    higher = min((c for c in calls if c.strike > call.strike), key=lambda c: c.strike)
    app.answer("tickSnapshotEnd", app.reqMktData, 5, call, "", True, False, [])
    bid = {c[1]: c[2] for c in app.calls["tickPrice"] if c[0] == 5}[1]
    greeks = {c[1]: c for c in app.calls["tickOptionComputation"] if c[0] == 5}
    assert greeks[10][3] < greeks[13][3] < greeks[11][3], greeks
    vol, delta, _, _, gamma, vega, theta, under = greeks[13][3:]
    seen["greeks"] = [round(x, 6) for x in (vol, delta, gamma, vega, theta, under)]
    seen["quote"], seen["source"] = [prices[1], prices[2], sizes[0], prices[4]], app.calls["tickReqParams"][0][2]
    return share, call, higher, bid


def bars(app, req_id):
    return [c[1] for c in app.calls["historicalData"] if c[0] == req_id]


def history(app, seen, share):
    "Bars: days, five minutes, and since when."
    app.answer("historicalDataEnd", app.reqHistoricalData, 11, share, "", "5 D", "1 day", "TRADES", 1, 1, False, [])
    app.answer("historicalDataEnd", app.reqHistoricalData, 12, share, "", "2 D", "5 mins", "TRADES", 1, 2, False, [])
    app.answer("headTimestamp", app.reqHeadTimeStamp, 13, share, "TRADES", 1, 1)
    seen["bars"] = [[f"{b.date[:4]}-{b.date[4:6]}-{b.date[6:]}", b.open, b.high, b.low, b.close] for b in bars(app, 11)[:-1]]
    first = app.calls["headTimestamp"][0][1]
    seen["minutes"], seen["first"] = [len(bars(app, 12)), bars(app, 12)[0].close], f"{first[:4]}-{first[4:6]}-{first[6:8]}"


def ask_if(app, seen, share, first):
    "What an order would do."
    app.placeOrder(first, share, order("BUY", 100, "", whatIf=True))
    app.beat()
    state = [c[3] for c in app.calls["openOrder"] if c[0] == first][-1]
    seen["what_if"] = [float(state.initMarginBefore), float(state.initMarginAfter) > 0, float(state.commission), state.commissionCurrency]


def trade(app, seen, share, call, higher, bid, first):
    "A stock at market, an option at a limit, a resting order that is changed and cancelled, a fill in parts, a stop, a combination."
    app.placeOrder(first, share, order("BUY", 100, "day-1"))
    app.until(first, "Filled")
    app.placeOrder(first + 1, call, order("SELL", 1, "day-2", round(bid * 0.9, 1)))
    app.until(first + 1, "Filled")
    app.placeOrder(first + 2, share, order("BUY", 10, "day-3", 20.0))
    app.until(first + 2, "Submitted")
    app.placeOrder(first + 2, share, order("BUY", 10, "day-3", 21.0))
    app.beat()
    assert [c[2].lmtPrice for c in app.calls["openOrder"] if c[0] == first + 2][-1] == 21.0
    app.cancelOrder(first + 2)
    app.until(first + 2, "Cancelled")
    app.placeOrder(first + 3, share, order("BUY", 5000, "day-4"))
    app.beat()
    assert 0 < [c[2] for c in app.calls["orderStatus"] if c[0] == first + 3][-1] < 5000
    app.until(first + 3, "Filled")
    app.placeOrder(first + 4, share, order("SELL", 100, "day-5", orderType="STP", auxPrice=20.0, tif="GTC"))
    spread = contract(secType="BAG", comboLegs=[leg(call.conId, "BUY"), leg(higher.conId, "SELL")])
    app.placeOrder(first + 5, spread, order("BUY", 2, "day-6"))
    app.until(first + 5, "Filled")
    app.beat()
    seen["statuses"] = [app.status(first + i) for i in range(6)]
    fees = {c[0].execId: c[0].commission for c in app.calls["commissionReport"]}
    of = lambda *refs: [(c[1], c[2]) for c in app.calls["execDetails"] if c[2].orderRef in refs]
    seen["fills"] = [[e.orderRef, e.side, e.shares, e.price, fees[e.execId]] for _, e in of("day-1", "day-2")]
    parts = [e for _, e in of("day-4")]
    seen["parts"] = [len(parts) > 2, sum(p.shares for p in parts), parts[-1].cumQty, sum(fees[p.execId] for p in parts)]
    seen["combo"] = [[c.secType, c.strike, e.side, e.shares] for c, e in of("day-6")]
    whole, *legs = [e.price for _, e in of("day-6")]
    assert math.isclose(whole, legs[0] - legs[1]), legs


def profit(app, seen, share):
    "Profit of the day, of the account and of the stock."
    app.answer("pnl", app.reqPnL, 21, ACCOUNT, "")
    app.answer("pnlSingle", app.reqPnLSingle, 22, ACCOUNT, "", share.conId)
    app.beat()
    account, single = app.calls["pnl"][-1], app.calls["pnlSingle"][-1]
    assert single[1] == 5100 and single[5] > 0, single
    seen["profit"] = [round(account[1], 2), round(single[2], 2), round(single[3], 2)]
    app.cancelPnL(21)
    app.cancelPnLSingle(22)


def reports(app, seen):
    "What the gateway says when it is asked again."
    app.calls["position"], app.calls["openOrder"], app.calls["completedOrder"] = [], [], []
    app.cancelPositions()
    app.answer("positionEnd", app.reqPositions)
    latest = {c[1].localSymbol: c[2] for c in app.calls["position"]}
    seen["positions"] = sorted([name, qty] for name, qty in latest.items() if qty)
    before = len(app.calls.get("execDetails", []))
    app.answer("execDetailsEnd", app.reqExecutions, 7, ExecutionFilter())
    trades = [(c[1], c[2]) for c in app.calls["execDetails"][before:] if c[0] == 7]
    seen["executions"] = sorted([e.orderRef, c.secType, e.side] for c, e in trades if e.orderRef != "day-4")
    assert len({e.execId for _, e in trades}) == len(trades)
    app.answer("completedOrdersEnd", app.reqCompletedOrders, False)
    seen["completed"] = sorted([c[1].orderRef, c[2].status] for c in app.calls["completedOrder"])
    app.answer("openOrderEnd", app.reqAllOpenOrders)
    seen["open"] = [[c[2].orderRef, c[2].orderType, c[2].auxPrice] for c in app.calls["openOrder"]]


def connected():
    "An app on a line of its own, and its reader; tried again while the line before, which ibapi closes late, has the client id."
    for _ in range(100):
        app = App()
        app.connect("127.0.0.1", PORT, CLIENT_ID)
        reader = threading.Thread(target=app.run, daemon=True)
        reader.start()
        deadline = time.monotonic() + SECONDS
        while "nextValidId" not in app.calls and 326 not in app.codes and time.monotonic() < deadline:
            time.sleep(0.02)
        if "nextValidId" in app.calls:
            app.ended.queue.clear()
            return app, reader
        app.disconnect()
        time.sleep(0.1)
    raise TimeoutError("the client id was never free again")


def again(app, reader, seen):
    "A line that is cut and made anew finds everything."
    known = {k: seen[k] for k in ("positions", "executions", "completed", "open")}
    app.disconnect()
    reader.join(SECONDS)
    fresh, reader = connected()
    reports(fresh, seen)
    assert known == {k: seen[k] for k in known}, (known, seen)
    (stop,) = [c[0] for c in fresh.calls["openOrder"]]
    fresh.cancelOrder(stop)  # its own order, of the connection before
    fresh.beat(2)
    seen["cancelled"] = fresh.status(stop)
    fresh.disconnect()
    reader.join(SECONDS)


def main():
    seen = {"library": "ibapi"}
    app, reader = connected()
    seen["version"] = app.serverVersion()
    account(app, seen)
    seen["time"] = app.beat().isoformat()
    share, call, higher, bid = look(app, seen)
    history(app, seen, share)
    first = app.calls["nextValidId"][0][0]
    ask_if(app, seen, share, first)
    trade(app, seen, share, call, higher, bid, first)
    profit(app, seen, share)
    reports(app, seen)
    codes = set(app.codes)
    again(app, reader, seen)
    assert not complaints, complaints
    print(json.dumps(seen | {"codes": sorted(codes - {2104, 2106, 2158})}))


try:
    main()
except BaseException:
    traceback.print_exc()
    os._exit(1)  # the reader thread of ibapi would keep the process alive
