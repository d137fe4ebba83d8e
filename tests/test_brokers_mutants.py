"""Messages of the broker with anything wrong in them: the adapter never falls over, and nothing that cannot be true is handed out."""
import asyncio
import logging
from decimal import Decimal
from random import Random

import ib_insync
import pytest
from test_gateway_wire import ALL

from otsport.brokers.ib_ears import Market, Orders
from otsport.brokers.ib_line import Known, Line
from otsport.core.contracts import stock
from otsport.core.errors import OtsportError
from otsport.core.orders import Commission, Fill, ForeignOrder, OrderEvent, OrderState, Side, Unbookable
from otsport.core.settings import BrokerProfile
from otsport.gateway.wire import encode, split

VERSION, REF = 176, "20221215-core-001"
WEIRD = ["", "nan", "NaN", "inf", "-inf", "-1", "0", "1e400", "1.7976931348623157e308", "2147483647", "99999999999999999999", "-99999999999999999999", "0x10", "1,000.5", "١٢", "None", "True",
         "SOMETHING", "BAG", "FUT", "BOT", "SLD", "Inactive", "Filled", "Cancelled", "DU2", "U1", "20991231 25:61:61", "20221215 09:30:00 Mars/Phobos", "\x00".replace("\0", " "), "A" * 5000, "-0.0", "1e-320"]
COUNTED = ("openOrder", "orderStatus", "execDetails", "commissionReport", "completedOrder", "error", "tickPrice", "tickSize", "accountSummary", "managedAccounts", "marketDataType")


def mutated(random: Random, fields: list[str]) -> list[str]:
    "A message of which one to four fields, or its length, is not what it should be; its number is left."
    fields = list(fields)
    for _ in range(random.randrange(1, 5)):
        at = random.randrange(1, len(fields)) if len(fields) > 1 else 0
        match random.randrange(7):
            case 0 | 1 | 2:
                if at:
                    fields[at] = random.choice(WEIRD)
            case 3:
                del fields[at:]
            case 4:
                fields.insert(at or 1, random.choice(WEIRD))
            case 5:
                if at:
                    other = random.randrange(1, len(fields))
                    fields[at], fields[other] = fields[other], fields[at]
            case 6:
                if at:
                    fields[at] = "".join(chr(random.randrange(32, 0x2fff)) for _ in range(random.randrange(12)))
        if len(fields) < 2:
            break
    return fields


def line() -> Line:
    "A connection without a socket, which has sent one order."
    profile = BrokerProfile(accounts=("DU1",))
    made = Line(ib_insync, profile, Orders(profile), Market(profile), Known())
    ib = ib_insync.IB()
    ib.client.decoder.serverVersion = VERSION
    made.attach(ib)
    made.ib = ib
    made.orders.names.accounts[made.orders.names.learn(REF, 1, 5)] = "DU1"
    return made


def finite(value: Decimal) -> bool:
    return isinstance(value, Decimal) and value.is_finite()


def wrong(message) -> str:
    "Why a message that was handed out cannot be; blank when it can."
    match message:
        case Fill():
            good = finite(message.qty) and 0 < message.qty < 10**12 and finite(message.price) and 0 <= message.price < 10**12 and message.account == "DU1" and isinstance(message.side, Side)
            return "" if good and message.exec_id and message.ts.tzinfo is not None else f"a fill of {message}"
        case Commission():
            return "" if finite(message.amount) and abs(message.amount) < 10**9 and message.exec_id else f"a charge of {message}"
        case OrderEvent():
            return "" if isinstance(message.state, OrderState) and (message.filled_qty is None or finite(message.filled_qty)) else f"an event {message}"
        case ForeignOrder():
            return "" if finite(message.qty) and message.qty > 0 and message.account == "DU1" else f"a foreign order {message}"
        case Unbookable():
            return "" if message.why else "no reason"
    return f"{message!r}"


ANSWERS = {"execDetails": {"orderId": 5, "clientId": 1, "orderRef": REF}, "openOrder": {"clientId": 1, "orderRef": REF}, "orderStatus": {"clientId": 1}}


def originals() -> list[list[str]]:
    "Good messages, those that count most often."
    found = []
    for name, values in ALL.items():
        more = ANSWERS.get(name, {})
        found += [split(encode(VERSION, name, **values | more)[4:])] * (12 if name in COUNTED else 1)
    return found


def attack(seed: int, count: int) -> tuple[int, int, list[str]]:
    "So many mutated messages into one ear; those handed out, those complained of, and what cannot be."
    random, good, faults, handed, complaints = Random(seed), originals(), [], 0, 0
    logging.getLogger("ib_insync").setLevel(logging.CRITICAL)

    async def scene() -> None:
        nonlocal handed, complaints
        ear = line()
        for n in range(count):
            if n % 2000 == 0:
                ear = line()
            fields = mutated(random, random.choice(good))
            try:
                ear.ib.client.decoder.interpret(fields)
            except Exception as error:
                faults.append(f"{type(error).__name__}: {error}: {fields[:12]}")
            try:
                ear.check()
            except OtsportError:
                complaints += 1
            except Exception as error:
                faults.append(f"kept {type(error).__name__}: {error}: {fields[:30]}")
            handed += len(ear.orders.heard)
            faults.extend(f"{why} by {fields[:30]}" for m in ear.orders.heard if (why := wrong(m)))
            ear.orders.heard.clear()

    asyncio.run(scene())
    return handed, complaints, faults


def test_mutated_messages_break_nothing_and_book_nothing_impossible():
    handed, complaints, faults = attack(1, 20_000)
    assert faults == [] and handed > 500 and complaints > 100


@pytest.mark.soak
def test_a_million_mutated_messages():
    handed = complaints = 0
    for seed in range(50):
        more, told, faults = attack(1000 + seed, 20_000)
        assert faults == [], (seed, faults[:5])
        handed, complaints = handed + more, complaints + told
    print(f"1,000,000 messages, {handed:,} handed out, {complaints:,} complained of")


@pytest.mark.parametrize("name", ["execDetails", "openOrder", "orderStatus", "commissionReport", "completedOrder"])
def test_message_that_cannot_be_read_is_complained_of_and_not_passed_over(name):
    """A fill that the library only logs would be lost without a word."""
    async def scene():
        ear = line()
        whole = split(encode(VERSION, name, **ALL[name] | ANSWERS.get(name, {}))[4:])
        ear.ib.client.decoder.interpret(whole[:3])
        with pytest.raises(OtsportError, match="cannot be read"):
            ear.check()
        assert ear.link.reconcile

    logging.getLogger("ib_insync").setLevel(logging.CRITICAL)
    asyncio.run(scene())
