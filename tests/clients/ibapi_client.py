"""Trade one morning through the unmodified official ibapi 9.81; prints one JSON line of what it saw.

usage: ibapi_client.py PORT CLIENT_ID ACCOUNT
"""

import json
import logging
import os
import queue
import sys
import threading
import time
import traceback
from datetime import datetime, timezone

from ibapi.client import EClient
from ibapi.contract import Contract
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
        "securityDefinitionOptionParameterEnd", "completedOrdersEnd", "currentTime", "nextValidId"}  # fmt: skip


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


def order(side, qty, ref, limit=None):
    made = Order()
    made.__dict__.update(action=side, totalQuantity=qty, orderType="MKT" if limit is None else "LMT", account=ACCOUNT, orderRef=ref, tif="DAY", eTradeOnly=False, firmQuoteOnly=False)
    if limit is not None:
        made.lmtPrice = limit
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
    "Contracts, chain, streaming and snapshot quotes."
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
    app.answer("tickSnapshotEnd", app.reqMktData, 5, call, "", True, False, [])
    bid = {c[1]: c[2] for c in app.calls["tickPrice"] if c[0] == 5}[1]
    assert 0 < [c[4] for c in app.calls["tickOptionComputation"] if c[0] == 5][0] < 1  # delta
    seen["quote"] = [prices[1], prices[2], sizes[0], prices[4]]
    return share, call, bid


def trade(app, seen, share, call, bid):
    "A stock at market, an option at a limit, a resting order that is changed and cancelled."
    first = app.calls["nextValidId"][0][0]
    app.placeOrder(first, share, order("BUY", 100, "morning-1"))
    app.until(first, "Filled")
    app.placeOrder(first + 1, call, order("SELL", 1, "morning-2", round(bid * 0.9, 1)))
    app.until(first + 1, "Filled")
    app.placeOrder(first + 2, share, order("BUY", 10, "morning-3", 20.0))
    app.until(first + 2, "Submitted")
    app.placeOrder(first + 2, share, order("BUY", 10, "morning-3", 21.0))
    app.beat()
    assert [c[2].lmtPrice for c in app.calls["openOrder"] if c[0] == first + 2][-1] == 21.0
    app.cancelOrder(first + 2)
    app.until(first + 2, "Cancelled")
    seen["statuses"] = [app.status(first + i) for i in range(3)]
    fees = {c[0].execId: c[0].commission for c in app.calls["commissionReport"]}
    seen["fills"] = [[e.orderRef, e.side, e.shares, e.price, fees[e.execId]] for _, _, e in app.calls["execDetails"]]


def reports(app, seen, share):
    "What the gateway says when it is asked again."
    latest = {c[1].localSymbol: c[2] for c in app.calls["position"]}
    seen["positions"] = sorted([name, qty] for name, qty in latest.items() if qty)
    assert latest == {c[0].localSymbol: c[1] for c in app.calls["updatePortfolio"]}
    app.answer("execDetailsEnd", app.reqExecutions, 7, ExecutionFilter())
    seen["executions"] = len([c for c in app.calls["execDetails"] if c[0] == 7])
    app.answer("completedOrdersEnd", app.reqCompletedOrders, False)
    seen["completed"] = sorted([c[1].orderRef, c[2].status] for c in app.calls["completedOrder"])
    before = len(app.calls["openOrder"])
    app.answer("openOrderEnd", app.reqAllOpenOrders)
    seen["open"] = len(app.calls["openOrder"]) - before
    app.reqHistoricalData(8, share, "", "5 D", "1 day", "TRADES", 1, 1, False, [])  # not served: an error, not silence
    app.beat()


def main():
    app, seen = App(), {"library": "ibapi"}
    app.connect("127.0.0.1", PORT, CLIENT_ID)
    assert app.isConnected(), "not connected"
    seen["version"] = app.serverVersion()
    reader = threading.Thread(target=app.run, daemon=True)
    reader.start()
    app.answer("nextValidId", lambda: None)
    account(app, seen)
    seen["time"] = app.beat().isoformat()
    share, call, bid = look(app, seen)
    trade(app, seen, share, call, bid)
    reports(app, seen, share)
    assert not complaints, complaints
    app.disconnect()
    reader.join(SECONDS)
    print(json.dumps(seen | {"codes": sorted(app.codes - {2104, 2106, 2158})}))


try:
    main()
except BaseException:
    traceback.print_exc()
    os._exit(1)  # the reader thread of ibapi would keep the process alive
