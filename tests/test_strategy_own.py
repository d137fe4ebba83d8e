"""A strategy of the user's own: fifteen lines to a traded day, options by words, and every way in which it can fail named with its line."""
import asyncio
import json
from datetime import date
from decimal import Decimal

import psutil
import pytest

from desk_support import LIMITS, NEXT_DAY, PORTFOLIO, SIZING, THURSDAY, Buys, desk_on, gateway, prices, sent, trade_sessions
from otsport.core.calendars import previous_session, session_close
from otsport.core.errors import StrategyError
from otsport.core.orders import OrderState, Side
from otsport.desk.session import trade_day
from otsport.strategy.apart import OwnStrategy, cut_off
from otsport.strategy.by_word import OptionWords
from otsport.strategy.protocol import Known

EXAMPLE = '''#| export
from otsport.strategy.words import buy


def calm_buyer(known, most=0.02):
    "Stocks whose daily moves of a quarter were small."
    moves = known.returns(sessions=63).std()
    return [buy(s, confidence=0.9, expected_return=0.1, max_loss=0.05, why=f"moves of {moves[s]:.2%} a day") for s in moves[moves < most].index]
'''
WORDS = "from otsport.strategy.words import *\nimport os, time, math\nfrom datetime import timedelta\n"


def known(session=THURSDAY) -> Known:
    past = prices().past(session_close(previous_session(session)))
    return Known(session, past, {s: float(p) for s, p in past.closes(sessions=1).iloc[-1].items()}, {})


def own(tmp_path, body: str, name="mine", seconds=20.0, **given) -> OwnStrategy:
    """A strategy of a file whose first lines are the imports; its body begins in line 4."""
    path = tmp_path / "mine.py"
    path.write_text(WORDS + body)
    return OwnStrategy(path, name, name, given, seconds)


def test_fifteen_lines_trade_a_day_through_the_gateway(tmp_path):
    assert len(EXAMPLE.splitlines()) <= 15
    cells = [{"cell_type": "markdown", "source": ["text"]}, {"cell_type": "code", "source": EXAMPLE.splitlines(keepends=True)},
             {"cell_type": "code", "source": ["raise RuntimeError('a cell for looking is not run')"]}]
    (tmp_path / "mine.ipynb").write_text(json.dumps({"cells": cells}))
    (plan,), orders, held, _ = trade_sessions(tmp_path, [OwnStrategy(tmp_path / "mine.ipynb", "calm_buyer", "calm", {"most": 0.05})])
    assert [(r.order.strategy, r.order.side, r.order.contract.key, r.state) for r in orders] == [("calm", Side.BUY, "KO", OrderState.FILLED)]
    assert plan.signals[0].reason.startswith("moves of 0.") and held["KO"].strategy == "calm" and held["KO"].qty == 500


def test_an_object_of_the_protocol_and_a_file_beside_it(tmp_path):
    (tmp_path / "beside.py").write_text("SYMBOL = 'KO'\n")
    body = "import beside\nclass Mine:\n    def __init__(self, confidence): self.confidence = confidence\n    def signals(self, known): return [buy(beside.SYMBOL, confidence=self.confidence)]\n"
    mine = own(tmp_path, body, "Mine", confidence=0.9)
    signals, refused = mine.signals(known())
    mine.stop()
    assert [(s.contract.key, s.confidence, s.strategy_id) for s in signals] == [("KO", 0.9, "Mine")] and refused == ()


LATER = "known.past._history.closes(known.as_of + timedelta(days=1))"
FAILING = [  # what the user writes, the code, and the place and words that name it
    ("def mine(known):\n    return [buy('KO')] * (1 // 0)", "STRATEGY_RAISED", "mine.py, line 5: return [buy('KO')] * (1 // 0): it raised ZeroDivisionError"),
    ("def mine(known):\n    return None", "STRATEGY_ANSWER", "mine.py, line 4: it gave back None (NoneType): give back a list of wishes"),
    ("def mine(known):\n    return ['KO']", "STRATEGY_ANSWER", "line 4: it gave back 'KO' (str) in its list"),
    ("def mine(known):\n    return 'KO'", "STRATEGY_ANSWER", "it gave back 'KO' (str): give back a list"),
    ("def mine(known):\n    return [buy('KOO')]", "STRATEGY_ANSWER", "it wishes for KOO, which this book does not trade: did you mean KO?"),
    ("def mine(known):\n    return [buy('KO', confidence=math.nan)]", "STRATEGY_ANSWER", "line 5: return [buy('KO', confidence=math.nan)]: confidence is nan: give a number from 0 to 1"),
    ("def mine(known):\n    return [sell_put('KO', delta=25)]", "STRATEGY_ANSWER", "line 5: return [sell_put('KO', delta=25)]: delta is 25"),
    ("def mine(known):\n    return nothing_here", "STRATEGY_RAISED", "line 5: return nothing_here: it raised NameError"),
    ("def mine(known):\n    return [", "STRATEGY_RAISED", "mine.py, line 5: return [: it raised SyntaxError"),
    ("def other(known):\n    return []", "STRATEGY_ANSWER", "defines no 'mine'"),
    ("def mine(known, days):\n    return []", "STRATEGY_ANSWER", "it needs days: give a value under `with:`"),
    ("def mine(known):\n    return os._exit(3)", "STRATEGY_RAISED", "its process ended with code 3"),
    ("def mine(known):\n    raise SystemExit", "STRATEGY_RAISED", "line 5: raise SystemExit: it raised SystemExit"),
    (f"def mine(known):\n    return [buy({LATER}.iloc[-1].idxmax())]", "LOOK_AHEAD", f"line 5: return [buy({LATER}.iloc[-1].idxmax())]: prices as of 2022-12-15"),
    ("from otsport.data.samples import history\ndef mine(known):\n    p = history()\n    return [buy(p.closes(known.as_of + timedelta(1)).iloc[-1].idxmax())]", "LOOK_AHEAD", "mine.py, line 7: return [buy(p.closes("),
    ("def mine(known):\n    return [buy('KO')] if known.closes().loc['2022-12-15', 'KO'] > 1 else []", "LOOK_AHEAD", "line 5: return [buy('KO')] if known.closes().loc['2022-12-15'"),
    ("from otsport.data.samples import history\nFUTURE = history().closes(known_from := __import__('datetime').datetime(2022, 12, 20, tzinfo=__import__('datetime').timezone.utc))\ndef mine(known):\n    return []",
     "LOOK_AHEAD", "it read prices while its file was loaded"),
    ("def mine(known):\n    while True:\n        pass", "STRATEGY_TIME", "it did not answer within 1 s"),
    ("def mine(known):\n    while True:\n        try:\n            time.sleep(60)\n        except BaseException:\n            pass", "STRATEGY_TIME", "mine.py, line 7: it did not answer within 1 s"),
]


@pytest.mark.parametrize("body, code, words", FAILING, ids=[f"{i}-{code}" for i, (_, code, _) in enumerate(FAILING)])
def test_what_fails_is_stopped_and_named(tmp_path, body, code, words):
    mine = own(tmp_path, body, seconds=1.0 if code == "STRATEGY_TIME" else 20.0)
    with pytest.raises(StrategyError) as caught:
        mine.signals(known())
    assert str(caught.value).startswith(f"{code}: strategy mine was stopped at mine.py") and words in str(caught.value), str(caught.value)
    assert mine.child.process is None


def test_the_future_is_not_in_the_process():
    cut = cut_off(known())
    assert cut.past._history.last == date(2022, 12, 14) and cut.past._history.index_table.last == date(2022, 12, 14)
    assert known().past._history.last > THURSDAY


def test_a_strategy_that_never_ends_leaves_no_process_and_the_next_question_a_new_one(tmp_path):
    """Its own process and the one that it started are gone; asked again, it answers."""
    (tmp_path / "stop").touch()
    body = "import subprocess\ndef mine(known):\n    if os.path.exists('stop'):\n        open('pid', 'w').write(str(subprocess.Popen(['sleep', '600']).pid))\n" \
           "        while True:\n            pass\n    return [buy('KO')]"
    mine, before = own(tmp_path, body, seconds=1.5), set(psutil.Process().children(recursive=True))
    with pytest.raises(StrategyError, match="STRATEGY_TIME"):
        mine.signals(known())
    assert set(psutil.Process().children(recursive=True)) <= before and not running(int((tmp_path / "pid").read_text()))
    (tmp_path / "stop").unlink()
    assert len(mine.signals(known())[0]) == 1
    pid = mine.child.process.pid
    mine.stop()
    assert not psutil.pid_exists(pid)


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_day_goes_on_without_a_strategy_that_fails(tmp_path):
    mine = own(tmp_path, "def mine(known):\n    return [buy('KO')] * (1 // 0)")
    (plan,), orders, _, _ = trade_sessions(tmp_path, [Buys(), mine], on_strategy_error="go_on")
    (told,) = [d for d in plan.decisions if d.code == "STRATEGY_RAISED"]
    assert told.subject == "mine" and "mine.py, line 5" in told.message and not told.accepted
    assert [(r.order.strategy, r.state) for r in orders] == [("buys", OrderState.FILLED)]


def test_a_folder_that_says_stop_plans_nothing(tmp_path):
    mine = own(tmp_path, "def mine(known):\n    return [buy('KO')] * (1 // 0)")

    async def day():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path, strategies=(Buys(), mine), on_strategy_error="stop") as desk:
            with pytest.raises(StrategyError, match="mine.py, line 5"):
                await trade_day(desk, THURSDAY)
            assert sent(exchange) == [] and desk.store.plan(PORTFOLIO, THURSDAY) is None and desk.store.orders(PORTFOLIO, THURSDAY) == []
    asyncio.run(day())


def test_what_a_failing_strategy_holds_stays(tmp_path):
    """Silence is no wish to sell: on the second day it fails, and its 500 shares are kept; one that wishes for nothing sells them."""
    body = "def mine(known):\n    if os.path.exists('fail'):\n        raise ValueError('broken')\n    return [] if os.path.exists('empty') else [buy('KO', confidence=.9)]"
    for word, left in (("fail", {"KO": 500}), ("empty", {})):
        home = tmp_path / word
        home.mkdir()
        mine = own(home, body)
        plans, _, held, _ = trade_sessions(home, [mine], (THURSDAY, NEXT_DAY), before=lambda i, home=home, word=word: (home / word).touch() if i else None, on_strategy_error="go_on")
        assert {k: int(p.qty) for k, p in held.items()} == left, word
        assert ([d.code for d in plans[1].decisions if d.subject in ("mine", "KO")] == ["STRATEGY_RAISED", "STRATEGY_STOPPED"]) is (word == "fail")


# Options

def with_options(tmp_path, body):
    mine = own(tmp_path, body)
    return [mine, OptionWords(mine)]


def test_a_put_is_sold_against_cash_and_held_once(tmp_path):
    limits = replace_limits(max_position_weight=0.3)
    plans, orders, held, _ = trade_sessions(tmp_path, with_options(tmp_path, "def mine(known):\n    return [sell_put('KO', delta=.25, days=30, contracts=9)]"), (THURSDAY, NEXT_DAY), limits=limits)
    (order,) = [r.order for r in orders]
    assert (order.side, order.contract.right, order.contract.strike, order.qty, order.strategy) == (Side.SELL, "P", Decimal(55), 3, "mine")  # 20 % of 100,000 dollars at 55
    assert [(p.contract.key, p.qty) for p in held.values()] == [(order.contract.key, Decimal(-3))]
    assert [d.code for d in plans[0].decisions if d.subject == order.contract.key] == ["SIZE"]
    assert [d.code for d in plans[1].decisions] == ["HELD"] and plans[1].wishes == ()


def replace_limits(**more):
    return LIMITS.model_copy(update=more)


def test_calls_and_puts_are_bought_within_the_premium_budget(tmp_path):
    body = "def mine(known):\n    return [buy_call('KO', delta=.3, days=20), buy_put('KO', delta=.3, days=20, contracts=2)]"
    (plan,), orders, held, _ = trade_sessions(tmp_path, with_options(tmp_path, body))
    assert sorted((r.order.contract.right.value, r.order.side.value, int(r.order.qty)) for r in orders) == [("C", "BUY", 7), ("P", "BUY", 2)]  # 1,000 dollars at a limit of about 1.35
    paid = sum(r.order.qty * r.order.limit_price * 100 for r in orders if r.order.contract.right == "C")
    assert paid <= Decimal("0.01") * plan.nav and all(p.qty > 0 for p in held.values())


def test_a_put_fills_the_rest_of_the_position_limit(tmp_path):
    """30,000 dollars of KO are held on the second day: 35 % of NAV leave no room for a put of 5,500."""
    body = "def mine(known):\n    return [buy('KO', confidence=.9)] + [sell_put('KO', delta=.25, days=30)] * bool(known.held)"
    plans, orders, held, _ = trade_sessions(tmp_path, with_options(tmp_path, body), (THURSDAY, NEXT_DAY), limits=replace_limits(max_position_weight=0.35))
    assert [d.code for d in plans[1].decisions if "P 55" in d.subject] == ["MAX_POSITION"] and all(r.state is not OrderState.DENIED for r in orders)
    assert {k: int(p.qty) for k, p in held.items()} == {"KO": 500}


def test_a_call_is_never_sold_naked(tmp_path):
    (plan,), orders, _, _ = trade_sessions(tmp_path, with_options(tmp_path, "def mine(known):\n    return [sell_call('KO', delta=.2, days=30)]"))
    assert orders == [] and [(d.subject, d.code) for d in plan.decisions] == [("KO SELL_CALL", "UNCOVERED")]


def test_a_call_is_sold_against_the_shares_that_were_bought_first(tmp_path):
    body = "def mine(known):\n    return [buy('KO', confidence=.9), sell_call('KO', delta=.2, days=30, contracts=2)]"
    _, orders, held, _ = trade_sessions(tmp_path, with_options(tmp_path, body))
    assert [(r.order.side.value, int(r.order.qty), r.order.contract.is_option, r.order.strategy) for r in orders] == [("BUY", 500, False, "mine"), ("SELL", 2, True, "mine")]
    assert sum(int(p.qty) for p in held.values() if p.contract.is_option) == -2


def test_puts_beyond_the_free_cash_are_cut_and_the_book_stays_secured(tmp_path):
    """Four strategies of one wish each would need 80 % of NAV beside the 30 % in shares: what is written stays within the cash."""
    limits, sizing = replace_limits(max_position_weight=1.0), SIZING.model_copy(update={"base_size": 0.9, "max_position_risk": 1.0, "max_portfolio_risk": 1.0})
    body = "def mine(known):\n    return [buy('KO', confidence=.9), sell_put('KO', delta=.25, days=30)]"
    (plan,), orders, held, _ = trade_sessions(tmp_path, with_options(tmp_path, body), limits=limits, sizing=sizing)
    puts = [r for r in orders if r.order.contract.right == "P"]
    shares = sum(p.qty for p in held.values() if not p.contract.is_option)
    assert plan.wishes[0].qty == 16 and shares > 0  # 90 % of 100,000 dollars at 55
    assert sum((r.order.qty * 5500 for r in puts), Decimal(0)) <= 100_000 - shares * 59


def test_refusals_of_an_option_are_decisions(tmp_path):
    body = "def mine(known):\n    return [sell_put('KO', delta=.25, days=900), buy_put('KO', delta=.01, days=30)]"
    (plan,), orders, _, _ = trade_sessions(tmp_path, with_options(tmp_path, body))
    assert ("KO SELL_PUT", "NO_OPTION") in {(d.subject, d.code) for d in plan.decisions} and len(orders) == len(plan.wishes)
