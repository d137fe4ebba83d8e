"""What is heard of orders, quotes and the line, from hand-made messages: no socket, no clock."""
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import permutations

import ib_insync
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otsport.brokers import ib_ears
from otsport.brokers.ib_ears import EXEC_ID, Link, Market, Names, Orders, Ticks, conclude, hear_order_error, read_execution_time
from otsport.core.contracts import option, stock
from otsport.core.errors import AccountNotServed, DataError
from otsport.core.orders import Commission, Fill, Order, OrderEvent, OrderRecord, OrderState, Side, fold
from otsport.core.settings import BrokerCode, BrokerProfile

S = OrderState
NOW = datetime(2022, 12, 28, 15, tzinfo=timezone.utc)
REF = "20221228-core-001"
PROFILE = BrokerProfile(accounts=("DU1",))
UNSET_DOUBLE = 1.7976931348623157e308


def orders(profile: BrokerProfile = PROFILE) -> Orders:
    "Ears that know order 7 of client 1, written for DU1."
    made = Orders(profile)
    made.names.accounts[made.names.learn(REF, 1, 7)] = "DU1"
    return made


def opened(ears: Orders, status: str = "Submitted", **more) -> None:
    about = {"orderId": 7, "clientId": 1, "permId": 100001, "orderRef": REF, "account": "DU1"} | more
    ib_ears.hear_open_order(ears, about["orderId"], ib_insync.Stock("KO"), ib_insync.Order(**about), ib_insync.OrderState(status=status))


def status(ears: Orders, word: str = "Submitted", filled: float = 0.0, order_id: int = 7, perm_id: int = 100001, client_id: int = 1) -> None:
    ib_ears.hear_status(ears, order_id, word, filled, 100.0 - filled, 0.0, perm_id, 0, 0.0, client_id, "", 0.0)


def completed(ears: Orders, word: str = "Cancelled", reason: str = "", filled: float = 0.0, **more) -> None:
    about = {"permId": 100001, "orderRef": REF, "account": "DU1", "filledQuantity": filled} | more
    ib_ears.hear_completed(ears, ib_insync.Stock("KO"), ib_insync.Order(**about), ib_insync.OrderState(status=word, completedStatus=reason))


def execution(ears: Orders, n: int = 1, contract: ib_insync.Contract | None = None, **more) -> None:
    about = dict(execId=f"0000e1a7.{n:04d}.01", time=NOW, acctNumber="DU1", side="BOT", shares=50.0, price=62.61, permId=100001, clientId=1, orderId=7, orderRef=REF)
    ib_ears.hear_execution(ears, -1, contract or ib_insync.Contract(secType="STK", symbol="KO", currency="USD"), ib_insync.Execution(**about | more))


def charge(ears: Orders, n: int = 1, amount: float = 1.0, gain: float = UNSET_DOUBLE) -> None:
    ib_ears.hear_commission(ears, ib_insync.CommissionReport(execId=f"0000e1a7.{n:04d}.01", commission=amount, currency="USD", realizedPNL=gain))


def states(ears: Orders, ref: str = REF) -> list[OrderState]:
    return [m.state for m in ears.heard if isinstance(m, OrderEvent) and m.order_ref == ref]


def record(ears: Orders) -> OrderRecord:
    "Where the order of 100 shares stands after all that was handed out."
    order = Order(REF, "DU1", "core", stock("KO"), Side.BUY, Decimal(100))
    own = [m if isinstance(m, Fill) else OrderEvent(REF, m.state, NOW, m.filled_qty, m.perm_id, m.message, m.code) for m in ears.heard if not isinstance(m, Commission)]
    return fold(OrderRecord(order, NOW.date(), S.SENT), own)


# ---------------------------------------------------------------- names

def test_names_of_an_order():
    names = Names(1)
    names.learn(REF, 1, 7, 100001)
    names.learn("theirs", 2, 7, 100002)
    assert [names.find(1, 7, 0), names.find(0, 0, 100001), names.find(2, 7, 0), names.find(3, 7, 0)] == [REF, REF, "theirs", "external:0"]
    assert names.own == {REF: 7}
    names.begin()
    assert names.find(1, 7, 100001) == "external:100001" and names.own == {} == names.accounts


@pytest.mark.parametrize("unset", [0, -1, 2**31 - 1])
def test_order_typed_by_hand_has_no_number(unset):
    "0, -1 of a liquidation, and the library's 'no value' are no order ids: two such orders are not one."
    ears = orders()
    for perm in (5, 6):
        opened(ears, orderId=unset, clientId=0, permId=perm, orderRef="")
    assert {m.order_ref for m in ears.heard} == {"external:5", "external:6"}


def test_fill_of_another_process_is_named_by_its_reference_or_its_perm_id():
    ears = orders()
    opened(ears, clientId=4, orderId=9, permId=555, orderRef="earlier")
    execution(ears, 1, clientId=4, orderId=9, permId=555, orderRef="")
    execution(ears, 2, clientId=0, orderId=0, permId=555, orderRef="")
    execution(ears, 3, clientId=0, orderId=0, permId=777, orderRef="")
    assert [m.order_ref for m in ears.heard if isinstance(m, Fill)] == ["earlier", "earlier", "external:777"]


def test_events_carry_their_perm_id():
    "Also an error, whose message has none; two numbers of one reference come out as two."
    ears = orders()
    opened(ears)
    hear_order_error(ears, 7, 399, "held")
    completed(ears)
    opened(ears, clientId=2, orderId=3, permId=100002)
    assert [m.perm_id for m in ears.heard] == [100001, 100001, 100001, 100002]
    assert {m.order_ref for m in ears.heard} == {REF}


# ---------------------------------------------------------------- codes and status words

@pytest.mark.parametrize("said, end", [
    ((201, "Inactive"), S.REJECTED), (("Inactive", 201), S.REJECTED), (("PreSubmitted", "Inactive", 201), S.REJECTED), (("PreSubmitted", 201, "Inactive"), S.REJECTED),
    (("PendingSubmit", 321), S.REJECTED), ((478,), S.REJECTED), ((460,), S.REJECTED), (("PendingSubmit", 478), S.REJECTED), ((10289, "Inactive"), S.REJECTED),
    (("Inactive", 10329), S.REJECTED), ((463, "Inactive"), S.REJECTED), (("Submitted", 201), S.WORKING), (("Submitted", "Inactive"), S.UNKNOWN),
    (("Submitted", 201, "Inactive"), S.REJECTED), (("Submitted", 201, "Cancelled"), S.CANCELLED), (("Submitted", 10148), S.WORKING), (("Submitted", 10147), S.WORKING),
    (("Submitted", 161), S.WORKING), (("Submitted", 10311), S.WORKING), (("PreSubmitted", 10311, "Submitted"), S.WORKING), (("Submitted", 12345), S.WORKING),
    (("PreSubmitted", 404), S.ACCEPTED), (("Submitted", 10349), S.WORKING), (("Submitted", 399), S.WORKING), (("Submitted", "PendingCancel", 10148), S.PENDING_CANCEL),
    (("Submitted", "PendingCancel", 202, "Cancelled"), S.CANCELLED), ((12345,), S.SENT), (("Inactive", 12345), S.UNKNOWN), (("Submitted", 110), S.WORKING),
])  # fmt: skip
def test_state_after_words_and_codes(said, end):
    ears = orders()
    for word in said:
        status(ears, word) if isinstance(word, str) else hear_order_error(ears, 7, word, "reason")
    assert record(ears).state is end


@given(st.lists(st.sampled_from([399, 404, 10311, 10349, 2109, 10147, 10148, 161, 201, 478, 12345, 99, 110]), max_size=8))
def test_no_code_takes_a_working_order_to_unknown(codes):
    ears = orders()
    opened(ears)
    for code in codes:
        hear_order_error(ears, 7, code, "reason")
    assert record(ears).state is S.WORKING


def test_refusal_keeps_its_words_cause_and_next_step():
    ears = orders()
    hear_order_error(ears, 7, 478, "Parameters in request conflicts")
    assert ears.heard[-1].message.startswith("Parameters in request conflicts (the description contradicts")
    assert ears.heard[-1].code == "IB_478"


def test_code_of_the_user_settles_what_the_table_does_not_hold():
    own = PROFILE.model_copy(update={"codes": (BrokerCode(code=12345, meaning="refused", cause="closed to us", step="ask the desk"),)})
    ears = orders(own)
    status(ears, "Inactive")
    hear_order_error(ears, 7, 12345, "no")
    assert states(ears)[-1] is S.REJECTED and "closed to us" in ears.heard[-1].message and ears.heard[-1].code == "IB_12345"


def test_error_of_another_request_or_client_is_no_word_on_the_order():
    ears = orders()
    ears.names.learn("theirs", 2, 8)
    for number in (-1, 6, 8):
        hear_order_error(ears, number, 201, "no")
    assert ears.heard == [] and ears.doubts == set()


# ---------------------------------------------------------------- doubts

@pytest.mark.parametrize("before, code, doubt", [
    ("Submitted", 12345, True), ("Submitted", 10147, True), ("Submitted", 10148, True), ("Submitted", 201, True), ("", 12345, True), ("", 201, False),
    ("Submitted", 399, False), ("Submitted", 10311, False), ("Submitted", 202, False), ("Filled", 10148, False), ("Cancelled", 201, False),
])  # fmt: skip
def test_what_is_open_is_asked(before, code, doubt):
    ears = orders()
    if before:
        status(ears, before)
    hear_order_error(ears, 7, code, "reason")
    assert ears.doubts == ({REF} if doubt else set())


def test_parked_order_is_asked_once_and_not_again_by_the_answer():
    ears = orders()
    status(ears, "Inactive")
    assert ears.doubts == {REF}
    ears.doubts.clear()
    with ears.gathering():
        opened(ears, "Inactive")
    assert ears.doubts == set() and states(ears)[-1] is S.UNKNOWN
    hear_order_error(ears, 7, 201, "no")
    status(ears, "Inactive")
    assert ears.doubts == set() and states(ears)[-1] is S.REJECTED


@pytest.mark.parametrize("said, answer, end", [
    (("Submitted", 12345), "open", S.WORKING),            # it works on
    (("Submitted", 10148), "done", S.CANCELLED),          # its end had not been heard
    (("Submitted", 12345), "nothing", S.UNKNOWN),         # it lived, and is gone: the user must look
    ((12345,), "nothing", S.REJECTED),                    # it never lived, and is not there
    ((12345,), "open", S.WORKING),                        # a harmless code
    (("Submitted", "Inactive", 12345), "nothing", S.REJECTED),
    (("Submitted", "Inactive"), "nothing", S.UNKNOWN),    # parked without a word
    (("Submitted", "Inactive"), "refused", S.REJECTED),   # listed as done, with the broker's reason
    (("Submitted", 10147), "fill", S.PARTIALLY_FILLED),
])  # fmt: skip
def test_answer_of_the_broker_settles_a_doubt(said, answer, end):
    ears = orders()
    for word in said:
        status(ears, word) if isinstance(word, str) else hear_order_error(ears, 7, word, "reason")
    with ears.gathering():
        {"open": lambda: opened(ears), "done": lambda: completed(ears), "refused": lambda: completed(ears, "Inactive", "Rejected"), "nothing": lambda: None, "fill": lambda: execution(ears)}[answer]()
    conclude(ears, REF)
    assert record(ears).state is end
    if answer == "nothing":
        objection = next((f"IB_{word}" for word in said if not isinstance(word, str)), "NOT_LISTED")
        assert record(ears).code == (objection if end is S.REJECTED else "NOT_LISTED")
        assert "lists the order neither as working nor as done" in record(ears).message


def test_answer_to_an_earlier_question_does_not_settle():
    ears = orders()
    with ears.gathering():
        opened(ears)
    hear_order_error(ears, 7, 12345, "reason")
    with ears.gathering():
        pass
    conclude(ears, REF)
    assert states(ears)[-1] is S.UNKNOWN


def test_error_within_the_answer_is_no_listing():
    ears = orders()
    hear_order_error(ears, 7, 12345, "reason")
    with ears.gathering():
        hear_order_error(ears, 7, 12345, "again")
    conclude(ears, REF)
    assert states(ears)[-1] is S.REJECTED


# ---------------------------------------------------------------- each thing once

def test_what_was_said_before_is_not_handed_out_again():
    ears = orders()
    for _ in range(3):
        opened(ears)
        status(ears)
        execution(ears)
        charge(ears)
        status(ears, filled=50.0)
        hear_order_error(ears, 7, 399, "held")
    assert len([m for m in ears.heard if isinstance(m, Fill)]) == 1 == len([m for m in ears.heard if isinstance(m, Commission)])
    assert [(m.state, m.filled_qty) for m in ears.heard if isinstance(m, OrderEvent)] == [(S.WORKING, None), (S.WORKING, 50), (S.WORKING, None)]


def test_state_that_comes_back_after_another_is_handed_out():
    ears = orders()
    status(ears, "Submitted")
    status(ears, "Inactive")
    status(ears, "Submitted")
    assert states(ears) == [S.WORKING, S.UNKNOWN, S.WORKING]


def test_report_holds_all_that_was_said_in_answer():
    ears = orders()
    opened(ears)
    execution(ears)
    with ears.gathering() as first, ears.gathering() as second:
        opened(ears)
        execution(ears)
    opened(ears)
    assert [type(m) for m in first] == [OrderEvent, Fill] and first == second and len(ears.heard) == 2


def test_corrected_charge_of_an_execution_is_handed_out():
    ears = orders()
    for amount in (1.0, 1.0, 0.7934):
        charge(ears, 1, amount)
    assert [m.amount for m in ears.heard] == [Decimal(1), Decimal("0.7934")]


MESSAGES = {
    "open": lambda e: opened(e), "held": lambda e: status(e, "PreSubmitted"), "works": lambda e: status(e), "part": lambda e: status(e, filled=50.0),
    "fill": lambda e: execution(e, 1), "rest": lambda e: execution(e, 2), "done": lambda e: status(e, "Filled", 100.0),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_once_in_any_order_gives_the_same_end_as_everything_twice(seed):
    chosen = list(permutations(MESSAGES, 7))[seed * 101]
    ears = orders()
    for name in chosen + chosen[::-1]:
        MESSAGES[name](ears)
    assert (record(ears).state, record(ears).filled_qty) == (S.FILLED, 100)


# ---------------------------------------------------------------- other accounts, combinations

def test_other_account_of_the_login_is_passed_over():
    "Its order of the same reference, its future, its zone-less execution, its charge: nothing is heard, nothing stops."
    ears = orders()
    opened(ears, account="DU2", clientId=5, orderId=7, permId=9)
    status(ears, "Submitted", order_id=7, client_id=5, perm_id=9)
    completed(ears, account="DU2", permId=9, orderRef=REF)
    execution(ears, 1, ib_insync.Contract(secType="FUT", symbol="ES"), acctNumber="DU2")
    charge(ears, 1)
    assert ears.heard == [] and ears.names.accounts[REF] == "DU1" and ears.names.own == {REF: 7}
    opened(ears)
    assert states(ears) == [S.WORKING]


def test_order_that_comes_back_on_another_account_is_an_error():
    ears = orders()
    for account in ("DU2", "U7654321"):
        with pytest.raises(AccountNotServed, match=f"written for account DU1 and is held by the broker on {account}"):
            opened(ears, account=account)


def test_two_accounts_of_the_profile_are_both_heard():
    ears = orders(BrokerProfile(accounts=("DU1", "DU2")))
    opened(ears, account="DU2", orderId=8, orderRef="second", permId=2)
    assert states(ears, "second") == [S.WORKING] and ears.names.accounts["second"] == "DU2"


def test_combination_is_booked_by_its_legs_alone():
    ears = orders()
    execution(ears, 1, ib_insync.Contract(secType="BAG", symbol="KO"), orderRef="")
    charge(ears, 1, 0.0)
    for n, right in ((2, "C"), (3, "P")):
        leg = ib_insync.Contract(secType="OPT", symbol="KO", localSymbol=f"KO    230120{right}00060000", multiplier="100", currency="USD")
        for _ in range(2):
            execution(ears, n, leg, orderRef="")
        charge(ears, n)
    assert [m.contract.key for m in ears.heard if isinstance(m, Fill)] == ["KO 20230120 C 60", "KO 20230120 P 60"]
    assert [m.exec_id for m in ears.heard if isinstance(m, Commission)] == ["0000e1a7.0002.01", "0000e1a7.0003.01"]


def test_what_if_is_no_order():
    ears = orders()
    opened(ears, whatIf=True)
    assert ears.heard == []


@pytest.mark.parametrize("word, reason, filled, state", [
    ("Filled", "Filled Size: 100", 100.0, S.FILLED), ("Cancelled", "by the client", 0.0, S.CANCELLED), ("Cancelled", "the session ended", 0.0, S.EXPIRED),
    ("Inactive", "Rejected by the exchange", 0.0, S.REJECTED), ("Cancelled", "", UNSET_DOUBLE, S.CANCELLED),
])  # fmt: skip
def test_completed_order_has_its_end_and_its_reason(word, reason, filled, state):
    ears = orders()
    completed(ears, word, reason, filled)
    [event] = ears.heard
    assert (event.state, event.perm_id, event.message) == (state, 100001, "" if word == "Filled" else reason)
    assert event.filled_qty == (None if filled == UNSET_DOUBLE else filled)
    assert event.code == ("IB_REJECTED" if state is S.REJECTED else "")


# ---------------------------------------------------------------- times of executions

def fields(time: str, account: str = "DU1") -> list[str]:
    made = ["11", "-1", "7", "1", "KO", "STK", "", "0", "", "", "SMART", "USD", "KO", "KO", "0000e1a7.0001.01", time, account, "SMART", "BOT"]
    return made


@pytest.mark.parametrize("time, zone", [("20221228  15:00:00", "America/New_York"), ("20221228 15:00:00 US/Eastern", ""), ("20221228 15:00:00 US/Eastern", "Asia/Tokyo"), ("20221228-20:00:00", "")])
def test_execution_time_is_brought_to_utc(time, zone):
    ears, message = orders(PROFILE.model_copy(update={"tws_zone": zone})), fields(time)
    assert read_execution_time(ears, message) and message[15] == "20221228-20:00:00"


def test_execution_time_without_a_zone_is_refused_by_name():
    with pytest.raises(DataError, match="execution 0000e1a7.0001.01 of account DU1 is not booked: .* set tws_zone"):
        read_execution_time(orders(), fields("20221228  15:00:00"))
    others = orders()
    assert not read_execution_time(others, fields("20221228  15:00:00", "DU2"))
    assert others.skipped == {fields("20221228  15:00:00", "DU2")[EXEC_ID]}  # its commission is nobody's here either


# ---------------------------------------------------------------- quotes

def test_ticks_become_a_quote():
    ticks = Ticks(stock("KO"))
    for kind, price, size in ((1, 62.60, 300), (2, 62.62, 500), (4, 62.61, 7), (9, 62.50, 0), (6, 70.0, 0)):
        ticks.price(kind, price, size)
    ticks.size(0, 400)
    ticks.size(3, 600)
    ticks.size(8, 99)
    quote = ticks.quote(NOW)
    assert (quote.bid, quote.ask, quote.bid_size, quote.ask_size, quote.last, quote.close, quote.source, quote.ts) == (62.60, 62.62, 400, 600, 62.61, 62.50, "live", NOW)


@pytest.mark.parametrize("price", [-1.0, 0.0])
def test_price_of_zero_or_below_is_none(price):
    ticks = Ticks(stock("KO"))
    ticks.price(1, price, 0)
    assert ticks.quote(NOW).bid != ticks.quote(NOW).bid


@pytest.mark.parametrize("kind", [1, 66])
def test_option_that_nobody_bids_for_is_told_from_one_whose_bid_is_not_known(kind):
    call = option("KO", date(2023, 1, 20), 60, "C")
    bid_after = lambda kind, price: (lambda ticks: (ticks.price(kind, price, 0), ticks.quote(NOW).bid)[1])(Ticks(call))
    assert bid_after(kind, 0.0) == 0 and bid_after(kind, -1.0) != bid_after(kind, -1.0)
    ask = Ticks(call)
    ask.price(kind + 1, 0.0, 0)
    assert ask.quote(NOW).ask != ask.quote(NOW).ask  # nobody asks nothing


@pytest.mark.parametrize("kind, delayed", [(1, False), (4, False), (66, True), (67, True), (68, True), (75, True)])
def test_delayed_ticks_say_so(kind, delayed):
    ticks = Ticks(stock("KO"))
    ticks.price(kind, 62.60, 300)
    assert ticks.quote(NOW).source == ("delayed" if delayed else "live")


@pytest.mark.parametrize("number, source", [(1, "live"), (2, "frozen"), (3, "delayed"), (4, "delayed-frozen"), (9, "type 9")])
def test_source_of_a_quote_by_the_type_that_the_broker_names(number, source):
    market = Market(PROFILE)
    market.ticks[5] = Ticks(stock("KO"))
    market.data_type(5, number)
    market.data_type(6, 3)
    market.price(5, 68, 62.60, 300)
    assert market.ticks[5].source == ("delayed" if source == "live" else source)


@pytest.mark.parametrize("code, taken, lives, again, source", [
    (10167, True, True, False, "live"), (10090, True, True, False, "live"), (2104, True, True, False, "live"), (10197, False, True, False, "frozen"),
    (354, False, False, True, None), (10168, False, False, True, None), (10089, False, False, True, None), (200, False, False, False, None), (12345, False, False, False, None),
])  # fmt: skip
def test_error_of_a_subscription(code, taken, lives, again, source):
    market = Market(PROFILE)
    market.ticks[5] = Ticks(stock("KO"), watched=True)
    assert market.error(5, code, "reason") is taken
    assert (len(market.watched()), market.refused) == (int(lives), [stock("KO")] if again else [])
    assert not lives or market.watched()[0].source == source
    assert market.error(6, code, "of nobody") is False


def test_error_of_a_snapshot_is_the_library_s_to_raise():
    market = Market(PROFILE)
    market.ticks[5] = Ticks(stock("KO"))
    assert market.error(5, 354, "no") is False and market.ticks[5].contract == stock("KO") and market.refused == []


def test_quote_has_the_time_of_the_heartbeat_after_it():
    market = Market(PROFILE)
    market.ticks[5] = Ticks(stock("KO"), watched=True)
    assert market.price(5, 1, 62.60, 300.0) and not market.price(6, 1, 62.60, 300.0)
    market.beat(NOW)
    assert market.ticks[5].ts == NOW
    market.beat(NOW + timedelta(minutes=1))
    assert market.ticks[5].ts == NOW                       # nothing was heard of it since
    assert market.size(5, 0, 400.0)
    market.beat(NOW + timedelta(minutes=2))
    assert market.ticks[5].ts == NOW + timedelta(minutes=2)


# ---------------------------------------------------------------- the line

@pytest.mark.parametrize("codes, down, resubscribe, reconcile", [
    ((1100,), True, False, False), ((2110,), True, False, False), ((1100, 1102), False, False, True), ((1100, 1101), False, True, True), ((1101, 1102), False, True, True),
    ((2104, 2106, 201), False, False, False), ((1100, 2104), True, False, False),
])  # fmt: skip
def test_line_of_the_broker(codes, down, resubscribe, reconcile):
    link = Link()
    for code in codes:
        link.error(-1, code, "words")
    assert (bool(link.down), link.resubscribe, link.reconcile, link.in_use) == (down, resubscribe, reconcile, "")


def test_client_id_in_use_is_kept_in_the_broker_s_words():
    link = Link()
    link.error(-1, 326, "already in use")
    assert link.in_use == "already in use"


def test_ear_that_fails_is_told_and_the_library_hears_the_message_all_the_same():
    heard, failed = [], []
    speaker = type("Speaker", (), {"say": lambda self, text: heard.append(text)})()

    def ear(text):
        if text == "bad":
            raise DataError("no")
        return text == "mine"

    ib_ears.tap(speaker, "say", ear, failed.append)
    for text in ("good", "bad", "mine"):
        speaker.say(text)
    assert heard == ["good", "bad"] and [str(e) for e in failed] == ["no"]
