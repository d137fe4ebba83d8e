"""The value of a book in one pass: positions, totals, sectors, extremes and drawdown.

    value = qty * multiplier * mark,   unrealized = value - cost,   day = value - previous + moved
    mfe = max(mfe, unrealized),   mae = max(mae, -unrealized)
    nav = cash + sum(value),   unit *= nav / (last nav + flow),   peak = max(peak, unit),   drawdown = unit / peak - 1

Dollars throughout. The unit value is what a dollar of the start has become, so that deposits and withdrawals (`flow`) make
neither gain nor drawdown. Twin: the same lines in NumPy. Nothing is allocated: the caller keeps every array.
"""
import math

import numba

from ._jit import kernel

# rows of `book`, one column a position: what the caller writes ...
QTY, MULTIPLIER, MARK, COST, PREVIOUS, MOVED, REALIZED = range(7)
# ... and what the kernel writes; MFE and MAE start at 0 and are carried on
VALUE, UNREALIZED, DAY, MFE, MAE = range(7, 12)
BOOK_ROWS = 12
# entries of `state`: what the caller writes ...
CASH, FLOW = range(2)
# ... what is carried on, from LAST_NAV = deposits, UNIT = PEAK = 1 ...
LAST_NAV, UNIT, PEAK = range(2, 5)
# ... and the totals that are written
NAV, LONG, SHORT, SUM_UNREALIZED, SUM_DAY, SUM_REALIZED, DRAWDOWN = range(5, 12)
STATE_SIZE = 12


@kernel
def _fill(qty, multiplier, mark, cost, value, unrealized):
    for i in range(qty.size):
        value[i] = qty[i] * multiplier[i] * mark[i]
        unrealized[i] = value[i] - cost[i]


@kernel
def _extremes(unrealized, mfe, mae):
    """A NaN of `unrealized` leaves the extremes as they were."""
    for i in range(unrealized.size):
        mfe[i] = unrealized[i] if unrealized[i] > mfe[i] else mfe[i]
        mae[i] = -unrealized[i] if -unrealized[i] > mae[i] else mae[i]


@kernel(reassoc=True)
def _totals(value, unrealized, previous, moved, realized, day):
    """Sums of value, absolute value, unrealized, day and realized; `day` is written."""
    net = gross = open_ = today = closed = 0.0
    for i in range(value.size):
        day[i] = value[i] - previous[i] + moved[i]
        net += value[i]
        gross += abs(value[i])
        open_ += unrealized[i]
        today += day[i]
        closed += realized[i]
    return net, gross, open_, today, closed


@kernel
def _sectors(value, sector, exposure):
    """Net value by sector into row 0, absolute value into row 1."""
    exposure[:] = 0.0
    for i in range(value.size):
        exposure[0, sector[i]] += value[i]
        exposure[1, sector[i]] += abs(value[i])


@kernel
def _positions(book, sector, exposure, a, z):
    """Values, extremes and sectors of the positions a to z - 1, and their sums."""
    value, unrealized = book[VALUE, a:z], book[UNREALIZED, a:z]
    _fill(book[QTY, a:z], book[MULTIPLIER, a:z], book[MARK, a:z], book[COST, a:z], value, unrealized)
    sums = _totals(value, unrealized, book[PREVIOUS, a:z], book[MOVED, a:z], book[REALIZED, a:z], book[DAY, a:z])
    _extremes(unrealized, book[MFE, a:z], book[MAE, a:z])
    _sectors(value, sector[a:z], exposure)
    return sums


@kernel
def _close(net, gross, state):
    """NAV, long, short, unit value and drawdown from the sums of the book."""
    nav, base = state[CASH] + net, state[LAST_NAV] + state[FLOW]
    state[NAV], state[LONG], state[SHORT] = nav, 0.5 * (gross + net), 0.5 * (gross - net)
    state[DRAWDOWN] = math.nan
    if nav == nav and base > 0.0:
        state[UNIT] *= nav / base
        state[PEAK] = state[UNIT] if state[UNIT] > state[PEAK] else state[PEAK]
        state[DRAWDOWN] = state[UNIT] / state[PEAK] - 1.0
    if nav == nav:
        state[LAST_NAV], state[FLOW] = nav, 0.0


@kernel
def snapshot(book, sector, state, exposure):
    """Value every position and the whole.

    Parameters
    ----------
    book : (12, n) float64, rows as above; the last five are written
    sector : (n,) int64, 0 to m - 1
    state : (12,) float64, entries as above; all but CASH and FLOW are written
    exposure : (2, m) float64, written: net and gross dollars by sector

    Notes
    -----
    A position whose mark is NaN makes its own values, its sector and the totals NaN. The drawdown is NaN where the last NAV
    and the flow are together not positive; UNIT and PEAK then keep their values.
    """
    net, gross, state[SUM_UNREALIZED], state[SUM_DAY], state[SUM_REALIZED] = _positions(book, sector, exposure, 0, sector.size)
    _close(net, gross, state)


@kernel(parallel=True)
def snapshot_parallel(book, sector, state, exposure, sums, exposures):
    """`snapshot` on all threads, for books of more than about 100,000 positions; its totals do not depend on how many threads there are.

    sums (b, 5) and exposures (b, 2, m) are scratch: the positions are taken in b blocks, whose totals are then added in order.
    """
    blocks, n = sums.shape[0], sector.size
    for b in numba.prange(blocks):
        sums[b, 0], sums[b, 1], sums[b, 2], sums[b, 3], sums[b, 4] = _positions(book, sector, exposures[b], b * n // blocks, (b + 1) * n // blocks)
    for b in range(1, blocks):
        sums[0] += sums[b]
        exposures[0] += exposures[b]
    exposure[:] = exposures[0]
    state[SUM_UNREALIZED], state[SUM_DAY], state[SUM_REALIZED] = sums[0, 2], sums[0, 3], sums[0, 4]
    _close(sums[0, 0], sums[0, 1], state)
