"""The gateway as its clients meet it: three unmodified libraries, several at once, killed ones, rude ones."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from datetime import date
from decimal import Decimal

import pytest
from gateway_support import ROOT, SESSION, ask, client, exchange, messages, opening, order, running

from otsport.core.calendars import session_close, session_open
from otsport.core.errors import BrokerError, InputError
from otsport.core.contracts import option, stock
from otsport.data.samples import history
from otsport.gateway import handlers, session, sockets
from otsport.gateway.journal import received_orders
from otsport.gateway.serve import open_exchange
from otsport.gateway.handlers import MAX_CLIENTS
from otsport.gateway.sockets import listen
from otsport.gateway.frames import PREFIX, frame

ACCOUNT = "DU123456"


def whole_day(script, *library, python=sys.executable):
    "What a client script saw on a fresh exchange."
    with running(exchange(ACCOUNT)) as server:
        done = client(script, *library, server.port, 3, ACCOUNT, python=python)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


EXPECTED = {
    "accounts": [ACCOUNT], "cash": "1000000.00", "time": "2022-12-15T14:00:00+00:00", "source": "MODELLED", "codes": [202], "cancelled": "Cancelled", "what_if": [0.0, True, 1.0, "USD"],
    "statuses": ["Filled", "Filled", "Cancelled", "Filled", "PreSubmitted", "Filled"], "parts": [True, 5000.0, 5000.0, 25.0], "open": [["day-5", "STP", 20.0]], "minutes": [156, 63.18], "first": "1990-03-29",
    "combo": [["BAG", 0.0, "BOT", 2.0], ["OPT", 65.0, "BOT", 2.0], ["OPT", 67.5, "SLD", 2.0]],
    "executions": [["day-1", "STK", "BOT"], ["day-2", "OPT", "SLD"], ["day-6", "BAG", "BOT"], ["day-6", "OPT", "BOT"], ["day-6", "OPT", "SLD"]],
    "completed": [["day-1", "Filled"], ["day-2", "Filled"], ["day-3", "Cancelled"], ["day-4", "Filled"], ["day-6", "Filled"]],
    "positions": [["KO", 5100.0], ["KO    230120C00065000", 1.0], ["KO    230120C00067500", -2.0]],
}  # fmt: skip


def check(seen, version):
    assert {k: seen[k] for k in EXPECTED} == EXPECTED and seen["version"] == version
    (ref, side, shares, price, fee), (ref2, side2, shares2, price2, fee2) = seen["fills"]
    assert (ref, side, shares, fee, ref2, side2, shares2, fee2) == ("day-1", "BOT", 100.0, 1.0, "day-2", "SLD", 1.0, 1.0)
    assert abs(price - seen["quote"][1]) < 0.5 and 0 < price2 < 2
    closes = history().closes(session_close(SESSION), ["KO"], 6).iloc[:-2, 0]  # the four before yesterday's
    assert [(day, close) for day, *_, close in seen["bars"]] == [(str(day.date()), round(close, 2)) for day, close in closes.items()]
    vol, delta, gamma, vega, theta, under = seen["greeks"]
    assert 0 < delta < 0.5 < under and gamma > 0 and vega > 0 > theta and 0.1 < vol < 0.4
    return {k: v for k, v in seen.items() if k not in ("library", "version")}


@pytest.fixture(scope="module")
def of_ib_insync():
    return check(whole_day("async_client.py", "ib_insync"), 176)


def test_ib_insync_trades_a_whole_day(of_ib_insync):
    assert len(of_ib_insync["profit"]) == 3


def test_ib_async_trades_the_same_day(ib_async_python, of_ib_insync):
    assert check(whole_day("async_client.py", "ib_async", python=ib_async_python), 178) == of_ib_insync


def test_ibapi_trades_the_same_day(of_ib_insync):
    assert check(whole_day("ibapi_client.py"), 157) == of_ib_insync


@pytest.mark.parametrize("script, mute", [(("async_client.py", "ib_insync"), "accountUpdateMultiEnd"), (("ibapi_client.py",), "positionEnd")])
def test_missing_end_message_is_noticed(script, mute, monkeypatch):
    send = session.Session.send
    monkeypatch.setattr(session.Session, "send", lambda self, message, **values: None if message == mute else send(self, message, **values))
    monkeypatch.setenv("PATIENCE", "2")  # seconds that a client waits for what does not come
    with running(exchange(ACCOUNT)) as server:
        done = client(*script, server.port, 3, ACCOUNT)
    assert done.returncode != 0 and not done.stdout.strip()


# Raw bytes.


class Raw:
    "A client of plain bytes; `hear` reads what has come."

    def __init__(self, port, client_id=1, version=176, start=True):
        self.version, self.sock = version, socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.settimeout(10)
        if start:
            self.say(opening(client_id, version))
            self.until("error", 3)

    def say(self, *pieces):
        for piece in pieces:
            self.sock.sendall(piece)

    def until(self, name, count=1):
        "Read until a message came `count` times; all that came."
        data = b""
        while sum(n == name for n, _ in messages(data, self.version)) < count:
            more = self.sock.recv(1 << 16)
            if not more:
                raise ConnectionError(f"closed before {name}: {messages(data, self.version)}")
            data += more
        return messages(data, self.version)

    def rest(self):
        "Everything until the server closes."
        data = b""
        while more := self.sock.recv(1 << 16):
            data += more
        return messages(data, self.version)

    def beat(self, count=1):
        for _ in range(count):
            self.say(ask(self.version, "reqCurrentTime"))
            last = self.until("currentTime")
        return last


def codes(heard):
    return [v["code"] for n, v in heard if n == "error"]


def test_time_is_told_once_then_steps():
    with running(exchange(ACCOUNT)) as server:
        raw = Raw(server.port)
        told = [raw.beat()[-1][1]["time"] for _ in range(3)]
        again = Raw(server.port, 2).beat()[-1][1]["time"]
    opened = int(session_open(SESSION).timestamp())
    assert told == [opened - 1800, opened - 1500, opened - 1200] and again == told[-1]


def test_only_the_lowest_client_id_that_asks_moves_the_clock():
    with running(exchange(ACCOUNT)) as server:
        first, second = Raw(server.port, 1), Raw(server.port, 7)
        start = first.beat()[-1][1]["time"]
        assert {second.beat()[-1][1]["time"] for _ in range(4)} == {start}
        assert first.beat()[-1][1]["time"] == start + 300
        first.sock.close()
        time.sleep(0.2)
        assert second.beat()[-1][1]["time"] == start + 600


def test_step_messages_come_before_the_time():
    with running(exchange(ACCOUNT)) as server:
        raw = Raw(server.port)
        raw.beat()
        raw.say(ask(176, "reqPositions"), ask(176, "reqAccountUpdates", subscribe=True, account=ACCOUNT), order(7))
        assert [v["status"] for n, v in raw.until("orderStatus") if n in ("openOrder", "orderStatus")] == ["PreSubmitted", "PreSubmitted"]
        raw.beat(5)
        names = [n for n, _ in raw.beat()]  # the open
    trading = [n for n in names if n in ("openOrder", "orderStatus", "execDetails", "commissionReport", "currentTime")]
    assert trading == ["openOrder", "orderStatus", "execDetails", "openOrder", "orderStatus", "commissionReport", "currentTime"]
    assert names.count("position") == 1 and names.count("portfolioValue") >= 1 and names[-1] == "currentTime"


def test_orders_belong_to_their_client():
    with running(exchange(ACCOUNT)) as server:
        one, two = Raw(server.port, 1), Raw(server.port, 2)
        one.say(order(7, limit="20.00"))
        one.until("orderStatus")
        two.say(ask(176, "cancelOrder", orderId=7), ask(176, "reqOpenOrders"))
        heard = two.until("openOrderEnd")
        assert codes(heard) == [10147] and not [n for n, _ in heard if n == "openOrder"]
        two.say(ask(176, "reqAllOpenOrders"))
        assert [(v["clientId"], v["orderId"], v["orderRef"]) for n, v in two.until("openOrderEnd") if n == "openOrder"] == [(1, 7, "ref-7")]
        two.say(order(8, limit="20.00"), ask(176, "reqIds"))
        assert [v["orderId"] for n, v in two.until("nextValidId") if n == "nextValidId"] == [9]
        one.say(ask(176, "cancelOrder", orderId=7))
        assert [v.get("status", v.get("code")) for n, v in one.until("error")] == ["Cancelled", "Cancelled", 202]


def test_refused_order_is_an_error_then_inactive():
    with running(exchange(ACCOUNT)) as server:
        raw = Raw(server.port)
        raw.say(order(7, side="SELL"))
        heard = raw.until("orderStatus")
        assert [(n, v.get("status", v.get("code"))) for n, v in heard] == [("error", 201), ("openOrder", "Inactive"), ("orderStatus", "Inactive")]


@pytest.mark.parametrize(
    "more, code",
    [({}, 321), ({"account": "U7654321"}, 321), ({"account": ACCOUNT, "symbol": "NOSUCH"}, 200), ({"account": ACCOUNT, "secType": "FUT"}, 200), ({"account": ACCOUNT, "orderType": "TRAIL"}, 387),
     ({"account": ACCOUNT, "qty": Decimal("0.5")}, 10318), ({"account": ACCOUNT, "qty": Decimal(0)}, 434), ({"account": ACCOUNT, "allOrNone": True}, 201), ({"account": ACCOUNT, "parentId": 99}, 10006),
     ({"account": ACCOUNT, "secType": "BAG", "legs": [], "legPrices": [], "routing": []}, 321), ({"account": ACCOUNT, "conditions": 1}, 201), ({"account": ACCOUNT, "side": "SSHORT"}, 201),
     ({"account": ACCOUNT, "orderType": "LMT", "limitPrice": Decimal("62.505")}, 110), ({"account": ACCOUNT, "tif": "IOC"}, 321)],
)  # fmt: skip
def test_order_that_must_not_enter(more, code):
    served = exchange(ACCOUNT, "DU999999")
    with running(served) as server:
        raw = Raw(server.port)
        raw.say(order(7, **{"account": ""} | more), ask(176, "reqAllOpenOrders"))
        heard = raw.until("openOrderEnd")
    assert codes(heard) == [code] and [v["reqId"] for n, v in heard if n == "error"] == [7]
    assert not served.open_orders() and not served.executions()


def test_account_requests_name_an_account_that_is_served():
    with running(exchange(ACCOUNT, "DU999999")) as server:
        raw = Raw(server.port)
        raw.say(ask(176, "reqAccountUpdates", subscribe=True), ask(176, "reqAccountUpdatesMulti", reqId=5, account="U1"), ask(176, "reqPositionsMulti", reqId=6, account="DU999999"))
        heard = raw.until("positionMultiEnd")
        assert [(v["reqId"], v["code"]) for n, v in heard if n == "error"] == [(-1, 321), (5, 321)]
        raw.say(ask(176, "reqAccountSummary", reqId=7, group="All", tags="NetLiquidation,BuyingPower"))
        assert [(v["account"], v["tag"]) for n, v in raw.until("accountSummaryEnd") if n == "accountSummary"] == [(a, t) for a in (ACCOUNT, "DU999999") for t in ("NetLiquidation", "BuyingPower")]


def test_partial_option_specifications_and_unknown_contracts():
    served = exchange(ACCOUNT)
    with running(served) as server:
        raw = Raw(server.port)
        expiry = served.chain("KO").expiries[0]

        def details(**asked):
            raw.say(ask(176, "reqContractDetails", reqId=5, **asked), ask(176, "reqIds"))
            return [v for n, v in raw.until("nextValidId") if n in ("contractDetails", "error")]

        whole = details(symbol="KO", secType="OPT")
        calls = details(symbol="KO", secType="OPT", right="CALL", expiry=expiry.strftime("%Y%m"))
        assert {v["expiry"] for v in calls} == {expiry.strftime("%Y%m%d")} and {v["right"] for v in calls} == {"C"} and len(whole) > 2 * len(calls)
        (one,) = details(conId=calls[0]["conId"], exchange="SMART")
        assert one["localSymbol"] == calls[0]["localSymbol"] and one["underConId"] == served.con_id(stock("KO"))
        for bad in ({"symbol": "XYZ", "secType": "STK"}, {"symbol": "KO", "secType": "STK", "currency": "EUR"}, {"conId": 2**30}, {"symbol": "KO", "secType": "OPT", "expiry": "20221232"}, {}):
            assert [v["code"] for v in details(**bad)] == [200], bad


def test_snapshot_ends_and_streams_are_cancelled():
    with running(exchange(ACCOUNT)) as server:
        raw = Raw(server.port)
        raw.beat()
        raw.say(ask(176, "reqMktData", reqId=5, symbol="KO", secType="STK", snapshot=True))
        heard = raw.until("tickSnapshotEnd")
        assert {v["tickType"] for n, v in heard if n == "tickPrice"} == {1, 2, 4, 9}
        raw.say(ask(176, "reqMktData", reqId=6, symbol="KO", secType="STK"))
        raw.until("tickString")
        assert {v["reqId"] for n, v in raw.beat() if n == "tickPrice"} == {6}
        raw.say(ask(176, "reqMktData", reqId=6, symbol="KO", secType="STK"), ask(176, "cancelMktData", reqId=6), ask(176, "cancelMktData", reqId=6))
        assert codes(raw.until("error", 2)) == [102, 300]
        assert not [n for n, _ in raw.beat() if n == "tickPrice"]


def test_option_that_expires_leaves_positions_and_quotes():
    served = exchange(ACCOUNT, session=date(2022, 12, 16))
    call = option("KO", date(2022, 12, 16), max(served.chain("KO").strikes), "C")  # far out of the money: ends worthless
    about = {"symbol": "KO", "secType": "OPT", "expiry": "20221216", "strike": call.strike, "right": "C"}
    with running(served) as server:
        raw = Raw(server.port)
        raw.beat(7)  # the open
        raw.say(ask(176, "reqPositions"), ask(176, "reqMktData", reqId=9, **about), order(8, qty=1, limit="0.05", **about))
        raw.until("position")
        heard = []
        while served.session == date(2022, 12, 16):
            heard += raw.beat()
    assert [v["qty"] for n, v in heard if n == "position"] == [Decimal(0)]
    assert [v["reqId"] for n, v in heard if n == "error" and v["code"] == 200] == [9] and not served.holdings(ACCOUNT)


def test_second_client_with_the_same_id_is_turned_away():
    with running(exchange(ACCOUNT)) as server:
        first, second = Raw(server.port, 4), Raw(server.port, start=False)
        second.say(opening(4))
        assert codes(second.rest()) == [326]
        assert first.beat()
        first.sock.close()
        time.sleep(0.2)
        assert Raw(server.port, 4).beat()


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\n\r\n", "no prefix": frame(b"v157..176"), "huge": PREFIX + b"\xff\xff\xff\xff",
    "no start": PREFIX + frame(b"v157..176") + frame(b"61\x001\x00"), "empty": PREFIX + b"\0\0\0\0", "twice": opening(9) + ask(176, "startApi", clientId=9), "not utf-8": opening(9) + frame(b"\xff\xfe\x00"),
    "short": opening(9) + frame(b"3\x001\x00"), "long": opening(9) + frame(b"49\x001\x002\x00"), "text for number": opening(9) + frame(b"4\x001\x00x\x00\x00"), "no nul": opening(9) + frame(b"49\x001"), "no number": opening(9) + frame(b"\x00\x00"),
}  # fmt: skip


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_closes_that_client_only(name, caplog):
    with running(exchange(ACCOUNT)) as server:
        good, bad = Raw(server.port, 1), Raw(server.port, start=False)
        bad.say(GARBAGE[name])
        bad.sock.settimeout(10)
        try:
            while bad.sock.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        assert good.beat()
        assert Raw(server.port, 9).beat()
    assert any("is closed" in r.getMessage() and r.levelname == "WARNING" for r in caplog.records)


def test_orders_before_garbage_count():
    served = exchange(ACCOUNT)
    with running(served) as server:
        raw = Raw(server.port, start=False)
        raw.say(opening(9) + order(1, limit="20.00") + frame(b"junk"))
        raw.rest()
    assert [u.ticket.order_ref for u in served.open_orders()] == ["ref-1"]


async def write_and_give_up(line):
    "What a careless server does: a failed write ends the connection."
    loop, out = asyncio.get_running_loop(), line.session.out
    while out or not line.ended:
        if not out:
            line.wake.clear()
            await line.wake.wait()
            continue
        data = bytes(out)
        out.clear()
        try:
            await loop.sock_sendall(line.sock, data)
        except OSError:
            line.sock.close()
            return


def killed_while_busy(served, monkeypatch):
    """A client sends 200 orders and is killed while the gateway is busy with a step, so that the next thing the gateway does
    with that client is a write that fails; gives the orders that entered, and what a second client of the same id is told of them."""
    late = {}

    def busy(gateway, session, asked):
        late["process"].stdin.write("go\n")
        late["process"].stdin.flush()
        late["process"].wait(20)
        gateway.step()
        session.send("marketRule", ruleId=asked["ruleId"], increments=[])

    monkeypatch.setitem(handlers.HANDLERS, "reqMarketRule", busy)
    with running(served) as server:
        other = Raw(server.port, 2)
        script = [sys.executable, str(ROOT / "tests" / "clients" / "late_order.py"), str(server.port), "5", "200"]
        with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as late["process"]:
            assert late["process"].stdout.readline() == "connected\n"
            other.say(ask(176, "reqMarketRule", ruleId=26))
            other.until("marketRule")
        assert late["process"].returncode == -signal.SIGKILL
        again = connect_again(server.port, 5)
        again.say(ask(176, "reqOpenOrders"))
        told = [v["orderRef"] for n, v in again.until("openOrderEnd") if n == "openOrder"]
    return [u.ticket.order_ref for u in served.open_orders()], told


def connect_again(port, client_id):
    "As an adapter does: try again while the id is in use."
    for _ in range(100):
        raw = Raw(port, start=False)
        raw.say(opening(client_id))
        if codes(raw.until("error")) != [326]:
            return raw
        time.sleep(0.02)
    raise TimeoutError(f"client id {client_id} was never free again")


def test_killed_client_leaves_its_last_orders(tmp_path, monkeypatch):
    journal = tmp_path / "gateway.jsonl"
    served = exchange(ACCOUNT, journal=journal)
    entered, told = killed_while_busy(served, monkeypatch)
    served.close()
    assert entered == told == [f"ref-{i}" for i in range(1, 201)]
    assert len(received_orders(journal)) == 200


def test_killed_client_of_a_careless_server_loses_orders(monkeypatch):
    monkeypatch.setattr(sockets.Line, "write", write_and_give_up)
    entered, told = killed_while_busy(exchange(ACCOUNT), monkeypatch)
    assert entered == told == []


def test_client_that_does_not_read_is_cut_off(monkeypatch, caplog):
    monkeypatch.setattr(sockets, "MAX_BACKLOG", 100)
    ours, theirs = socket.socketpair()
    line = sockets.Line(ours, session.Session("deaf"))
    line.session.out += b"x" * 101
    sockets.nudge(line)
    assert not line.deaf  # it has just taken something: it reads
    line.taken_at -= sockets.STALL_SECONDS + 1
    sockets.nudge(line)
    assert line.deaf and theirs.recv(1) == b"" and "does not read: 101 bytes wait for it" in caplog.text
    ours.close(), theirs.close()


def test_client_that_waits_for_nothing_is_no_stalled_one(monkeypatch):
    monkeypatch.setattr(sockets, "MAX_BACKLOG", 100)
    ours, theirs = socket.socketpair()
    line = sockets.Line(ours, session.Session("idle"))
    line.session.out += b"x" * 100
    line.taken_at -= sockets.STALL_SECONDS + 1
    sockets.nudge(line)
    assert not line.deaf
    ours.close(), theirs.close()


def test_client_that_reads_late_gets_its_whole_report(monkeypatch):
    monkeypatch.setattr(sockets, "MAX_BACKLOG", 10_000)
    with running(exchange(ACCOUNT)) as server:
        slow = Raw(server.port)
        slow.say(ask(176, "reqContractDetails", reqId=5, symbol="KO", secType="OPT"))
        assert sum(n == "contractDetails" for n, _ in slow.until("contractDetailsEnd")) > 50


def test_client_beyond_the_places_is_told_why():
    with running(exchange(ACCOUNT)) as server:
        held = [Raw(server.port, i) for i in range(MAX_CLIENTS)]
        late = Raw(server.port, start=False)
        late.say(opening(99))
        assert codes(late.rest()) == [320]
        held[0].say(frame(b"junk"))
        held[0].rest()
        assert connect_again(server.port, 0).beat()


def test_slow_connections_shut_nobody_out():
    with running(exchange(ACCOUNT)) as server:
        first = Raw(server.port, 1)
        slow = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(200)]
        for sock in slow[::2]:
            with suppress(OSError):  # the oldest were let go already
                sock.sendall(PREFIX[:2])
        assert Raw(server.port, 2).beat() and first.beat()
        waiting = [line for line in tuple(server.lines) if line.session.client_id is None and not line.session.closing]
        assert len(waiting) <= sockets.MAX_WAITING
        for sock in slow:
            sock.close()


def test_client_that_is_closed_is_told_why():
    with running(exchange(ACCOUNT)) as server:
        raw = Raw(server.port)
        raw.say(frame(b"49\x001\x002\x00"))
        (name, told), = raw.rest()
    assert name == "error" and told["code"] == 320 and "fields too many" in told["text"] and "the connection is closed" in told["text"]


def test_paced_clock_steps_by_itself():
    with running(exchange(ACCOUNT), clock="paced", seconds_per_step=0.05) as server:
        raw = Raw(server.port)
        first = raw.beat()[-1][1]["time"]
        time.sleep(0.5)
        assert raw.beat()[-1][1]["time"] > first


def test_busy_port_says_what_to_do():
    taken = listen("127.0.0.1", 0)
    with pytest.raises(BrokerError, match="is in use: stop the program that has it, or give another"):
        listen("127.0.0.1", taken.getsockname()[1])
    taken.close()


# The command's function.

RUN = "import sys; from datetime import date; from decimal import Decimal; from otsport.gateway.serve import run_gateway; run_gateway(date(2022, 12, 15), {'DU123456': Decimal(1000000)}, int(sys.argv[1]), 1, sys.argv[2], 0.05, *sys.argv[3:])"


def started(home, port, clock="heartbeat", more=()):
    process = subprocess.Popen([sys.executable, "-c", RUN, str(port), clock, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OTSPORT_HOME": str(home)})
    return process, process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_run_gateway_says_ready_and_stops(number, tmp_path):
    process, line = started(tmp_path, 0)
    port = int(line.split(",")[0].rsplit(":", 1)[1])
    assert line.startswith("simulated gateway ready on 127.0.0.1:") and "2022-12-15" in line and ACCOUNT in line and "heartbeat" in line and "modelled quotes" in line
    raw = Raw(port)
    raw.say(order(7, limit="20.00"))
    raw.until("orderStatus")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    assert [r.ticket.order_ref for r in received_orders(tmp_path / "gateway" / "simulated.jsonl")] == ["ref-7"]


EARLY = """import signal, sys
from datetime import date
from decimal import Decimal
import otsport.gateway.serve as serve
serve.open_exchange = lambda *a: signal.raise_signal(int(sys.argv[1]))
serve.run_gateway(date(2022, 12, 15), {'DU1': Decimal(1)}, 0)
print('ended')"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_while_prices_are_loaded_ends_it_quietly(number):
    done = subprocess.run([sys.executable, "-c", EARLY, str(int(number))], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_address_that_others_reach_is_said_aloud(tmp_path):
    process, line = started(tmp_path, 0, more=["0.0.0.0"])
    assert line.startswith("simulated gateway ready on 0.0.0.0:")
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err.startswith("warning: the gateway listens on 0.0.0.0: the protocol has no password") and "--host 127.0.0.1" in err


@pytest.mark.parametrize("name", ["../../x", "", "a/b", "a b", "x" * 65])
def test_journal_has_a_plain_name(name):
    with pytest.raises(InputError, match="no name of a journal"):
        open_exchange(SESSION, {ACCOUNT: Decimal(1)}, 1, name)


def test_run_gateway_killed_and_started_again_knows_its_orders(tmp_path):
    process, line = started(tmp_path, 0)
    raw = Raw(int(line.split(",")[0].rsplit(":", 1)[1]))
    raw.beat(3)
    raw.say(order(7, limit="20.00"))
    raw.until("orderStatus")
    process.kill()
    process.communicate()
    process, line = started(tmp_path, 0)
    again = Raw(int(line.split(",")[0].rsplit(":", 1)[1]))
    assert again.beat()[-1][1]["time"] == int(session_open(SESSION).timestamp()) - 1200
    again.say(ask(176, "reqOpenOrders"))
    assert [v["orderRef"] for n, v in again.until("openOrderEnd") if n == "openOrder"] == ["ref-7"]
    process.terminate()
    process.communicate(timeout=20)
