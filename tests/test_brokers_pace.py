"""The pace at which messages leave: no second holds more than the rate, cancels go first, nothing is lost. The clock is a number."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otsport.brokers.ib_pace import Pacer


def order(n: int) -> str:
    return f"3\0{n}\0KO\0"


def cancel(n: int) -> str:
    return f"4\0001\0{n}\0"


def question(n: int) -> str:
    return f"9\0008\0{n}\0"


def run_out(pacer: Pacer, arrivals: list[tuple[float, str]]) -> list[tuple[float, str]]:
    "When each message leaves: they arrive at their times, and the pacer is asked when it said."
    left, now, coming = [], 0.0, sorted(arrivals, key=lambda pair: pair[0])
    while coming or pacer.waiting:
        due = now + pacer.wait(now) if pacer.waiting else coming[0][0]
        now = max(now, min(due, coming[0][0]) if coming else due)
        while coming and coming[0][0] <= now:
            pacer.add(coming.pop(0)[1])
        left += [(now, message) for message in pacer.release(now)]
    return left


def busiest(times: list[float], seconds: float) -> int:
    return max((sum(start <= t < start + seconds for t in times) for start in times), default=0)


KINDS = st.sampled_from([order, cancel, question])


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0, 5), KINDS, st.integers(0, 99)), max_size=120))
def test_no_second_holds_more_than_the_rate_and_nothing_is_lost(rate, wishes):
    arrivals = [(at, kind(n)) for at, kind, n in wishes]
    left = run_out(Pacer(rate), arrivals)
    assert sorted(m for _, m in left) == sorted(m for _, m in arrivals)
    assert busiest([t for t, _ in left], 1 - 1e-6) <= rate


def test_a_storm_of_the_default_leaves_room_for_jitter():
    "199 messages at once, TWS counts 50 in a second: even when the network squeezes a quarter of a second, 49 come at most."
    left = run_out(Pacer(40), [(0.0, question(n)) for n in range(199)])
    assert busiest([t for t, _ in left], 1.25) <= 49
    assert 5 < left[-1][0] < 6.5                                       # (199 - 4) / 35 seconds


def test_library_s_own_throttle_would_not_do():
    "Negative control: 45 at once and 45 more a second later are 90 within a second and a network's hiccup."
    times = [float(n // 45) for n in range(90)]
    assert busiest(times, 1.05) == 90


def test_no_limit_lets_everything_go_at_once_in_the_order_of_rank():
    pacer = Pacer(0)
    for message in (question(1), order(2), cancel(9)):
        pacer.add(message)
    assert pacer.seconds() == pacer.wait(0.0) == 0.0
    assert pacer.release(0.0) == [cancel(9), order(2), question(1)] and not pacer.waiting


def test_cancels_first_then_orders_then_questions_each_in_their_order():
    left = run_out(Pacer(40), [(0.0, m) for m in [*map(question, range(20)), *map(order, range(20)), *map(cancel, range(50, 60)), "58\0001\0"]])
    assert [m for _, m in left] == [*map(cancel, range(50, 60)), "58\0001\0", *map(order, range(20)), *map(question, range(20))]


def test_cancel_in_a_storm_leaves_at_once():
    "A token is kept for it."
    storm = [(n / 200, question(n)) for n in range(400)]
    left = dict((m, t) for t, m in run_out(Pacer(40), [*storm, (1.234, cancel(7))]))
    assert left[cancel(7)] == 1.234


def test_cancel_does_not_overtake_its_own_order():
    pacer = Pacer(40)
    pacer.release(0.0)
    pacer.pause(0.0, 1.0)
    for message in (order(1), order(7), cancel(7), cancel(8), order(17)):
        pacer.add(message)
    left = [m for _, m in run_out(pacer, [])]
    assert left == [cancel(8), order(1), order(7), cancel(7), order(17)]


def test_pause_holds_even_cancels():
    pacer = Pacer(40)
    pacer.release(10.0)
    pacer.pause(10.0, 1.0)
    pacer.add(cancel(1))
    assert pacer.release(10.9) == [] and 0.1 <= pacer.wait(10.9) < 0.2
    assert pacer.release(11.1) == [cancel(1)]


@pytest.mark.parametrize("rate, waiting, least, most", [(40, 35, 1.0, 1.2), (5, 8, 2.0, 2.5), (0, 100, 0.0, 0.0), (40, 0, 0.0, 0.0)])
def test_how_long_the_waiting_ones_take(rate, waiting, least, most):
    pacer = Pacer(rate)
    for n in range(waiting):
        pacer.add(question(n))
    told = pacer.seconds()
    assert least <= told <= most
    assert all(at <= told for at, _ in run_out(pacer, []))


def test_clock_that_stands_or_runs_back_gives_no_tokens():
    pacer = Pacer(8)
    for n in range(9):
        pacer.add(question(n))
    assert len(pacer.release(5.0)) == 1
    assert pacer.release(5.0) == pacer.release(4.0) == []


def test_cancel_in_a_storm_leaves_at_once_from_a_rate_of_32():
    storm = [(n / 200, question(n)) for n in range(400)]
    assert dict((m, t) for t, m in run_out(Pacer(32), [*storm, (1.234, cancel(7))]))[cancel(7)] == 1.234


def test_second_warning_holds_for_a_second_more_than_the_first():
    pacer = Pacer(40)
    pacer.pause(10.0, 1.0)
    pacer.pause(10.5, 1.0)
    pacer.add(cancel(1))
    assert pacer.release(11.9) == [] and pacer.release(12.1) == [cancel(1)]
