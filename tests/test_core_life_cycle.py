"""The life of an order: one end whatever the order of its messages, and nothing lost on the way."""
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otsport.brokers.protocol import check_may_trade, check_served
from otsport.core.contracts import option, stock
from otsport.core.errors import AccountNotServed, IllegalTransition, InputError
from otsport.core.orders import (
    TRANSITIONS, Fill, Order, OrderEvent, OrderRecord, OrderState, OrderType, Side, fold, is_correction, missing_qty, next_state,
)
from otsport.core.settings import BrokerProfile, account_mode

NOW = datetime(2022, 12, 28, 15, tzinfo=timezone.utc)
ORDER = Order("20221228-core-001", "DU123456", "core", stock("KO"), Side.BUY, Decimal(100))
CREATED = OrderRecord(ORDER, date(2022, 12, 28), OrderState.CREATED)
S = OrderState


def said(state: OrderState, filled: int | None = None, message: str = "", perm_id: int = 100001, code: str = "") -> OrderEvent:
    return OrderEvent(ORDER.order_ref, state, NOW, None if filled is None else Decimal(filled), perm_id, message, code)


def fill(qty: int, n: int) -> Fill:
    return Fill(f"0000e1a7.000186a1.{n:04d}.01", ORDER.order_ref, "DU123456", ORDER.contract, Side.BUY, Decimal(qty), Decimal("62.61"), NOW, 100001)


@st.composite
def histories(draw):
    "A legal history: acknowledged, some executions with their statuses, then one end (or none), and the end it must have."
    cuts = sorted(draw(st.sets(st.integers(1, 100), max_size=4)))
    messages, done = draw(st.sampled_from([[], [said(S.SENT)], [said(S.SENT), said(S.ACCEPTED)], [said(S.ACCEPTED), said(S.WORKING)]])), 0
    for n, cum in enumerate(cuts):
        state = S.FILLED if cum == 100 else S.PARTIALLY_FILLED
        messages = messages + [fill(cum - done, n), said(state, cum)]
        done = cum
    if done == 100:
        return messages, S.FILLED, 100
    ends = {
        S.CANCELLED: [said(S.PENDING_CANCEL, done), said(S.CANCELLED, done)],
        S.EXPIRED: [said(S.CANCELLED, done), said(S.EXPIRED, done)],
        S.REJECTED: [said(S.CANCELLED, done), said(S.REJECTED, done, "201 no")],
        None: [],
    }
    end = draw(st.sampled_from(list(ends)))
    messages = messages + ends[end]
    line = [S.CREATED, S.SENT, S.ACCEPTED, S.WORKING, S.PARTIALLY_FILLED]
    reached = max([m.state for m in messages if isinstance(m, OrderEvent) and m.state in line] + [S.CREATED], key=line.index)
    return messages, end or reached, done


@given(histories(), st.data())
def test_history_any_order_and_number_of_copies_ends_the_same(history, data):
    messages, state, qty = history
    copies = [m for m in messages for _ in range(data.draw(st.integers(1, 3)))]
    end = fold(CREATED, data.draw(st.permutations(copies)))
    assert (end.state, end.filled_qty) == (state, qty)
    assert end.perm_id == (100001 if messages else 0)
    assert not messages or fold(CREATED, messages).message == end.message


@given(histories(), st.data())
def test_history_never_lowers_state_or_quantity(history, data):
    record, seen = CREATED, set()
    for message in data.draw(st.permutations(history[0] * 2)):
        if isinstance(message, Fill) and message.exec_id in seen:
            continue
        seen.add(getattr(message, "exec_id", None))
        after = next_state(record, message)
        assert after.filled_qty >= record.filled_qty
        assert after.state is record.state or after.state in TRANSITIONS[record.state]
        assert after.state.done or not record.state.done
        record = after


def test_history_control_last_word_wins_depends_on_the_order():
    "Negative control: the naive rule (the last status counts, every fill message adds) fails what the property demands."
    def naive(messages):
        state, qty = S.CREATED, Decimal(0)
        for m in messages:
            state, qty = (state, qty + m.qty) if isinstance(m, Fill) else (m.state, qty)
        return state, qty

    messages = [said(S.WORKING), fill(100, 1), said(S.FILLED, 100)]
    assert naive(messages) != naive(messages[::-1])
    assert naive(messages + messages) != naive(messages)


@given(st.sampled_from([s for s in S if s is not S.CREATED]), st.integers(1, 150))
def test_fill_books_in_whatever_state(state, qty):
    after = next_state(replace(CREATED, state=state), fill(qty, 1))
    assert after.filled_qty == qty
    assert after.state is S.FILLED or qty < 100


@pytest.mark.parametrize("state", [s for s in S if s.done and s is not S.DENIED])
def test_done_state_ignores_late_status(state):
    record = replace(CREATED, state=state, perm_id=100001, message="kept")
    for late in (S.SENT, S.ACCEPTED, S.WORKING, S.PARTIALLY_FILLED, S.PENDING_CANCEL, S.UNKNOWN):
        assert next_state(record, said(late, 50, "late")) == record


def test_filled_status_before_its_execution_is_short():
    record = next_state(CREATED, said(S.FILLED, 100))
    assert (record.state, record.filled_qty, missing_qty(record)) == (S.FILLED, 0, 100)
    assert missing_qty(next_state(record, fill(100, 1))) == 0


def test_rejection_keeps_its_reason_when_followed_by_cancelled():
    record = fold(CREATED, [said(S.REJECTED, message="insufficient funds", code="IB_201"), said(S.CANCELLED, message="later", code="IB_202")])
    assert (record.state, record.message, record.code) == (S.REJECTED, "insufficient funds", "IB_201")
    assert record.said == "IB_201: insufficient funds"


def test_code_and_words_are_of_one_remark():
    """A code never stands beside the words of another remark, whichever of the two is blank."""
    notice = fold(CREATED, [said(S.WORKING, message="held", code="IB_399")])
    assert (notice.message, notice.code) == ("held", "IB_399")
    for message, code in (("why", ""), ("", "IB_201"), ("why", "IB_201")):
        record = fold(notice, [said(S.REJECTED, message=message, code=code)])
        assert (record.message, record.code) == (message, code)


def test_message_of_a_working_order_is_kept_without_changing_state():
    record = fold(CREATED, [said(S.WORKING), said(S.SENT, message="399: held until the open")])
    assert (record.state, record.message) == (S.WORKING, "399: held until the open")


def test_unknown_is_left_by_the_next_word_and_keeps_fills():
    record = fold(CREATED, [said(S.WORKING), fill(60, 1), said(S.UNKNOWN)])
    assert (record.state, record.filled_qty) == (S.UNKNOWN, 60)
    assert next_state(record, said(S.CANCELLED, 60)).state is S.CANCELLED
    assert next_state(record, said(S.ACCEPTED)).state is S.PARTIALLY_FILLED


def test_denied_order_known_to_the_broker_is_illegal():
    denied = next_state(CREATED, said(S.DENIED, perm_id=0))
    assert next_state(denied, said(S.DENIED, perm_id=0)) == denied
    for state in (S.SENT, S.WORKING, S.FILLED, S.CANCELLED):
        with pytest.raises(IllegalTransition, match="left without leave"):
            next_state(denied, said(state))
    with pytest.raises(IllegalTransition, match="cannot be denied"):
        next_state(replace(CREATED, state=S.SENT), said(S.DENIED))


def test_two_broker_numbers_of_one_reference_are_illegal():
    record = next_state(CREATED, said(S.WORKING))
    with pytest.raises(IllegalTransition, match="sent twice"):
        next_state(record, said(S.WORKING, perm_id=100002))
    assert next_state(record, said(S.FILLED, perm_id=0)).perm_id == 100001


def test_message_of_another_order_is_refused():
    with pytest.raises(InputError, match="was given to order"):
        next_state(CREATED, replace(fill(1, 1), order_ref="20221228-core-002"))


def test_table_has_a_row_for_each_state_and_no_way_back():
    assert set(TRANSITIONS) == set(S)
    ranked = [s for s in S if s not in (S.UNKNOWN, S.DENIED)]
    assert not any(a in TRANSITIONS[b] and b in TRANSITIONS[a] for a in ranked for b in ranked)


LEGAL = {  # written by hand: what may follow each state
    "created": "sent accepted working partially_filled pending_cancel cancelled expired rejected filled denied",
    "denied": "",
    "sent": "accepted working partially_filled pending_cancel cancelled expired rejected filled unknown",
    "accepted": "working partially_filled pending_cancel cancelled expired rejected filled unknown",
    "working": "partially_filled pending_cancel cancelled expired rejected filled unknown",
    "partially_filled": "pending_cancel cancelled expired rejected filled unknown",
    "pending_cancel": "cancelled expired rejected filled unknown",
    "unknown": "sent accepted working partially_filled pending_cancel cancelled expired rejected filled",
    "cancelled": "expired rejected filled",
    "expired": "rejected filled",
    "rejected": "filled",
    "filled": "",
}


@pytest.mark.parametrize("before, after", [(a, b) for a in S for b in S])
def test_transition_is_legal_or_changes_nothing(before, after):
    record = replace(CREATED, state=before)
    legal = after in LEGAL[before].split()
    assert (after in TRANSITIONS[before]) is legal
    illegal_denial = after is S.DENIED and before not in (S.CREATED, S.DENIED)
    if illegal_denial or (before is S.DENIED and after is not S.DENIED):
        with pytest.raises(IllegalTransition):
            next_state(record, said(after))
    else:
        assert next_state(record, said(after)).state is (after if legal else before)


@given(st.sampled_from([S.REJECTED, S.CANCELLED, S.EXPIRED, S.FILLED]), st.lists(st.sampled_from([s for s in S if s is not S.DENIED]), max_size=12))
def test_order_that_has_ended_never_stands_where_it_could_leave_again(end, words):
    "Whatever comes later: created, sent and unknown are what a restart may send."
    record = fold(replace(CREATED, state=end), [said(word) for word in words])
    assert record.state.done


@given(histories(), st.lists(st.tuples(st.integers(0, 20), st.sampled_from([S.UNKNOWN, S.SENT])), max_size=3), st.data())
def test_doubts_on_the_way_do_not_change_the_end(history, doubts, data):
    "A lost line in the middle is forgotten by the next word of the broker."
    messages, state, qty = history
    for at, word in doubts:
        messages = messages[: at % (len(messages) + 1)] + [said(word)] + messages[at % (len(messages) + 1) :]
    end = fold(CREATED, [*messages, *history[0]])
    assert (end.filled_qty, end.state.done) == (qty, state.done) and (end.state is state or not state.done)


@pytest.mark.parametrize("account, mode", [("DU123456", "paper"), ("DF1", "paper"), ("U7654321", "live"), ("F12", "live")])
def test_account_mode_by_prefix(account, mode):
    assert account_mode(account) == mode


@pytest.mark.parametrize("account", ["", " ", "DU", "X1", "du123456", "DU12 ", "UDU1", "SIM101"])
def test_account_mode_unknown_form(account):
    with pytest.raises(AccountNotServed):
        account_mode(account)


def test_served_accounts_must_contain_the_profile_and_agree_in_mode():
    profile = BrokerProfile(accounts=("DU1", "DU2"))
    assert check_served(profile, ["DU1", "DU2", "DU3"]) == ("DU1", "DU2", "DU3")
    for served in (["DU1"], [], ["DU1", "DU2", "U3"]):
        with pytest.raises(AccountNotServed):
            check_served(profile, served)
    with pytest.raises(AccountNotServed, match="is paper, profile 'x' is live"):
        check_served(BrokerProfile(name="x", mode="live", accounts=("DU1",)), ["DU1"])


@pytest.mark.parametrize("profile, served, account, why", [
    ({}, ["DU1"], "DU2", "'DU2' is not one of profile 'simulated' .DU1."), ({}, ["DU1"], "", "'' is not one of profile"), ({}, ["DU2"], "DU1", "is not served by this session, which serves DU2"),
    ({}, [], "DU1", "serves none"), ({"mode": "live"}, ["DU1"], "DU1", "DU1 is paper, profile 'simulated' is live"), ({"accounts": ("U7",)}, ["U7"], "U7", "U7 is live, profile 'simulated' is paper"),
    ({"mode": "live", "accounts": ("U7",)}, ["U7"], "U7", "U7 is live and not armed through this connection"), ({"mode": "live", "accounts": ("F7",)}, ["F7"], "F7", "F7 is live and not armed"),
    ({"accounts": ("SIM1",)}, ["SIM1"], "SIM1", "has no known form"),
])  # fmt: skip
def test_adapter_trades_on_no_other_account(profile, served, account, why):
    with pytest.raises(AccountNotServed, match=why):
        check_may_trade(BrokerProfile(**{"accounts": ("DU1",)} | profile), served, account)
    check_may_trade(BrokerProfile(accounts=("DU1", "DU2")), ["DU1", "DU2"], "DU2")


def test_correction_is_told_by_its_last_digits():
    assert [is_correction(e) for e in ("a.b.01", "a.b.02", "a.b.10", "plain", "12")] == [False, True, True, False, False]


def test_order_takes_words_and_integers_for_what_they_say():
    made = Order("x", "DU1", "core", stock("KO"), "SELL", 100, "LMT", "62.70", waits_for=["y"])
    assert made.side is Side.SELL and made.order_type is OrderType.LIMIT and made.waits_for == ("y",)
    assert (made.signed_qty, made.limit_price) == (-100, Decimal("62.70")) and type(made.qty) is Decimal
    assert hash(made) == hash(replace(made))


@pytest.mark.parametrize("change, words", [
    ({"contract": "KO"}, "is no contract"), ({"side": "HOLD"}, "sides are BUY and SELL"), ({"order_type": "STOP"}, "types MKT, LMT"), ({"qty": True}, "a bool"), ({"qty": 1.0}, "a float"),
    ({"qty": "many"}, "is no finite number"), ({"qty": 0}, "not a positive whole number"), ({"qty": -1}, "not a positive whole number"), ({"qty": "1.5"}, "not a positive whole number"),
    ({"limit_price": 5}, "MKT with limit price 5"), ({"order_type": "LMT"}, "LMT with limit price None"), ({"account": ""}, "account is blank"), ({"waits_for": ["x"]}, "waits for itself"),
    ({"not_before": datetime(2022, 12, 28)}, "no time zone"),
])
def test_order_that_is_none_is_refused_by_name(change, words):
    with pytest.raises(InputError, match=words):
        Order(**{"order_ref": "x", "account": "DU1", "portfolio": "core", "contract": stock("KO"), "side": Side.BUY, "qty": 100} | change)


def test_status_that_tells_a_fill_moves_an_order_to_partly_filled_and_none_does_not():
    assert next_state(CREATED, said(S.WORKING, 0)).state is S.WORKING
    assert next_state(CREATED, said(S.WORKING, 5)).state is S.PARTIALLY_FILLED
    assert next_state(CREATED, said(S.WORKING)).state is S.WORKING


def test_cash_of_a_fill_counts_the_multiplier_and_the_side():
    call = replace(fill(2, 1), contract=option("KO", date(2023, 1, 20), "65", "C"), price=Decimal("1.05"))
    assert call.cash == -210 and replace(call, side=Side.SELL).cash == 210 and replace(call, side=Side.SELL).signed_qty == -2


def test_number_of_the_broker_comes_with_the_first_message_that_has_it():
    assert next_state(CREATED, fill(40, 1)).perm_id == 100001
    assert next_state(replace(CREATED, perm_id=7), fill(40, 1)).perm_id == 7


def test_instant_of_an_order_is_kept_in_utc():
    local = datetime(2022, 12, 28, 16, tzinfo=timezone(timedelta(hours=1)))
    assert replace(ORDER, not_before=local).not_before.tzinfo is timezone.utc
