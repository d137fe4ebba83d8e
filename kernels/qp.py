"""Portfolio programs: a quadratic risk, a few linear rows, bounds, and one bound on a sum of distances.

    minimize 1/2 x'Px + (c0 + lam c1)'x    subject to    lo <= x <= hi,  A x <= b (some rows equal),  sum |x| <= budget

Block principal pivoting on the optimality conditions (Judice and Pires 1994): guess which bounds and rows bind, solve the
equations that are left, exchange what has the wrong sign, many at once while that helps, one by one where it does not. The
equations are solved for x = alpha + lam beta, so that lam follows in closed form where it stands for a ratio (the largest
c1'x / sqrt(x'Px), Markowitz 1956), or a variance. Cost follows the number of names between their bounds. Nothing is
promised by the pivoting itself: `gap` bounds what the answer can lack, from the answer alone. Twins: Clarabel, PIQP.
"""
import math

import numpy as np

from ._jit import kernel
from .dense import back, cholesky, forward, schur
from .elementary import dot

LOW, HIGH, FREE, KINK = range(4)  # where a weight is
FIXED, RATIO, VARIANCE = range(3)  # what lam stands for
OK, NO_CONVERGENCE, SINGULAR, NO_RATIO = range(4)  # status of an answer
MAX_PIVOTS = 400
PATIENCE = 10  # block exchanges without progress before single ones
ADDED = 12  # weights freed at once, or as many as are free
EDGE = 8  # names free on either side of a first guess
SAME = 1e-13  # relative change of lam that ends the search for it
PRIMAL, DUAL = 1e-13, 1e-12  # a bound or a sign is broken from here on, relative to its scale


@kernel
def _settle(where, side, lo, hi, bent, x):
    """Values of the weights that are not free, and the side of zero that each of them is on."""
    for i in range(len(x)):
        x[i] = lo[i] if where[i] == LOW else hi[i] if where[i] == HIGH else 0.0
        if bent and where[i] != FREE:
            side[i] = np.sign(x[i])


@kernel
def _equations(p, c0, c1, a, b, active, bent, budget, side, free, fixed_x, x0, x1, nu):
    """Weights alpha (x0), beta (x1) and row prices nu (m + 1, 2) for what is free and what binds; False where P is singular there.

    A row that depends on others among the free weights is no longer active.
    """
    k, m = len(free), len(b)
    rows = np.flatnonzero(active)
    r = len(rows)
    bound = np.zeros(len(x0))  # P times what is not free
    for i in range(len(fixed_x)):
        if fixed_x[i] != 0.0:
            for j in range(k):
                bound[free[j]] += p[i, free[j]] * fixed_x[i]
    factor = np.empty((k, k))
    for i in range(k):
        line = p[free[i]]
        for j in range(i + 1):
            factor[i, j] = line[free[j]]
    if not cholesky(factor):
        return False
    z = np.empty((r + 2, k))
    for j in range(k):
        i = free[j]
        for q in range(r):
            z[q, j] = a[rows[q], i] if rows[q] < m else side[i]
        z[r, j] = -c0[i] - bound[i]
        z[r + 1, j] = -c1[i]
    forward(factor, z)
    s, rhs, kept = np.empty((r, r)), np.empty((r, 2)), np.ones(r, dtype=np.bool_)
    for q in range(r):
        for t in range(q + 1):
            s[q, t] = s[t, q] = dot(z[q], z[t])
        left = 0.0
        if rows[q] < m:
            left = b[rows[q]] - dot(a[rows[q]], fixed_x)
        elif bent:
            left = budget
            for i in range(len(fixed_x)):
                left -= abs(fixed_x[i])
        rhs[q, 0], rhs[q, 1] = dot(z[q], z[r]) - left, dot(z[q], z[r + 1])
    schur(s, rhs, kept)
    nu[:] = 0.0
    for q in range(r):
        active[rows[q]] = kept[q]
        nu[rows[q], 0], nu[rows[q], 1] = rhs[q, 0], rhs[q, 1]
        for j in range(k):
            z[r, j] -= rhs[q, 0] * z[q, j]
            z[r + 1, j] -= rhs[q, 1] * z[q, j]
    back(factor, z[r])
    back(factor, z[r + 1])
    x0[:], x1[:] = fixed_x, 0.0
    for j in range(k):
        x0[free[j]], x1[free[j]] = z[r, j], z[r + 1, j]
    return True


@kernel
def _product(p, x, out):
    """out = P x, reading only the rows of what is held."""
    out[:] = 0.0
    for i in range(len(x)):
        if x[i] != 0.0:
            w, line = x[i], p[i]
            for j in range(len(x)):
                out[j] += w * line[j]


@kernel
def product(p, x):
    """P x, reading only the rows of what is held."""
    out = np.empty(len(x))
    _product(p, x, out)
    return out


@kernel
def _next_lam(kind, target, earned, lam, p, c0, c1, x0, x1, scratch):
    """The lam at which these equations meet the target."""
    earned0, earned1 = -dot(c1, x0) + earned, -dot(c1, x1)
    _product(p, x0, scratch)
    least = dot(scratch, x0) + 2.0 * dot(c0, x0)
    if kind == RATIO:
        return (least + target) / earned0 if earned0 > 0.0 else 8.0 * lam
    if earned1 <= 1e-14 * (abs(earned0) + 1e-300):
        return lam * (4.0 if least < target else 0.25)
    cross = 2.0 * (dot(scratch, x1) + dot(c0, x1))
    _product(p, x1, scratch)
    square = dot(scratch, x1)
    room = cross * cross - 4.0 * square * (least - target)
    return (-cross + math.sqrt(room)) / (2.0 * square) if room > 0.0 and least < target else 0.25 * lam


@kernel
def _slopes(x, g, kappa):
    """Slope of the objective on either side of a weight: as it rises, as it falls."""
    up = g + (kappa if x >= 0.0 else -kappa)
    down = g + (kappa if x > 0.0 else -kappa)
    return up, down


@kernel
def _range(i, side, lo, hi, bent):
    """Bounds of a free weight on its side of zero."""
    low, high = lo[i], hi[i]
    if bent and side[i] > 0.0 and low < 0.0:
        low = 0.0
    if bent and side[i] < 0.0 and high > 0.0:
        high = 0.0
    return low, high


@kernel
def _broken(where, side, x, lo, hi, bent, g, kappa, scale, wrong):
    """By how much each weight is outside its range, or pulls away from where it is held; how many do."""
    out = into = 0
    for i in range(len(x)):
        wrong[i] = 0.0
        if where[i] == FREE:
            low, high = _range(i, side, lo, hi, bent)
            beyond = max(low - x[i], x[i] - high)
            if beyond > PRIMAL * (1.0 + abs(x[i])):
                wrong[i] = beyond
                out += 1
        else:
            up, down = _slopes(x[i], g[i], kappa)
            if up < -DUAL * scale and x[i] < hi[i]:
                wrong[i] = -up
                into += 1
            elif down > DUAL * scale and x[i] > lo[i]:
                wrong[i] = down
                into += 1
    return out, into


@kernel
def _release(i, where, side, x, g, kappa):
    """Free a weight, to the side of zero that it is pulled to."""
    up, _ = _slopes(x[i], g[i], kappa)
    side[i] = 1.0 if x[i] > 0.0 or x[i] == 0.0 and up < 0.0 else -1.0
    where[i] = FREE


@kernel
def _hold(i, where, side, x, lo, hi, bent):
    """Hold a weight at the end of its range that it is beyond, or nearest to."""
    low, high = _range(i, side, lo, hi, bent)
    if x[i] - low < high - x[i]:
        where[i] = LOW if low == lo[i] else KINK
    else:
        where[i] = HIGH if high == hi[i] else KINK


@kernel
def _rows_broken(a, b, equal, active, nu_at, x, bent, budget, size, over):
    """By how much rows are beyond their bound, which is infinite where a price has the wrong sign; 0 where a row holds."""
    count, m = 0, len(b)
    for q in range(m + 1 if bent else m):
        over[q] = 0.0
        bound = b[q] if q < m else budget
        beyond = (dot(a[q], x) if q < m else np.abs(x).sum()) - bound
        tol = 10 * PRIMAL * (1.0 + abs(bound))
        if q < m and equal[q]:
            if not active[q] and abs(beyond) > tol:
                over[q] = beyond
        elif active[q] and nu_at[q] < -DUAL * size:
            over[q] = np.inf
        elif not active[q] and beyond > tol:
            over[q] = beyond
        count += over[q] != 0.0
    return count


@kernel
def _make_room(where, side, x, lo, hi, g, kappa, row, over):
    """Free the weight whose move costs least for what it takes off a row that the free weights cannot move."""
    best, at = np.inf, -1
    for i in range(len(x)):
        if where[i] == FREE or row[i] == 0.0:
            continue
        falls = over * row[i] > 0.0
        if (x[i] <= lo[i]) if falls else (x[i] >= hi[i]):
            continue
        up, down = _slopes(x[i], g[i], kappa)
        cost = (-down if falls else up) / abs(row[i])
        if cost < best:
            best, at = cost, i
    if at >= 0:
        where[at] = FREE
        side[at] = -1.0 if x[at] < 0.0 or x[at] == 0.0 and over * row[at] > 0.0 else 1.0


@kernel
def _turn(q, over, a, active, where, side, x, lo, hi, g, kappa):
    """Take a row in or out; where the free weights cannot move it, free one that can."""
    active[q] = over != np.inf
    if active[q] and q < len(a):
        moves = 0
        for i in range(len(x)):
            moves += where[i] == FREE and a[q, i] != 0.0
        if moves < 2:
            _make_room(where, side, x, lo, hi, g, kappa, a[q], over)


@kernel
def _price(p, c0, c1, lam, a, x, nu, nu_at, g):
    """Slope g of the objective with the prices of the rows, and the scale of its parts."""
    _product(p, x, g)
    size = 1e-300
    for i in range(len(x)):
        g[i] += c0[i] + lam * c1[i]
        size = max(size, abs(g[i]), lam * abs(c1[i]))
    for q in range(len(nu_at)):
        nu_at[q] = nu[q, 0] + lam * nu[q, 1]
        if q < len(a) and nu_at[q] != 0.0:
            for i in range(len(x)):
                g[i] += nu_at[q] * a[q, i]
    return size


@kernel
def _moved_lam(kind, target, earned, lam, bracket, p, c0, c1, x0, x1, scratch):
    """The next lam inside the bracket, which is narrowed; and 0 to go on, 1 where the last one was it, 2 where there is none."""
    if kind == FIXED:
        return lam, 1
    new = _next_lam(kind, target, earned, lam, p, c0, c1, x0, x1, scratch)
    if abs(new - lam) <= SAME * lam:
        return lam, 1
    if new > lam:
        bracket[0] = max(bracket[0], lam)
    else:
        bracket[1] = min(bracket[1], lam)
    if not bracket[0] < new < bracket[1]:
        new = math.sqrt(bracket[0] * bracket[1])
    done = 2 if not 1e-12 < new < 1e12 else 1 if bracket[1] - bracket[0] <= 4e-16 * bracket[1] else 0
    return (lam, 2) if done == 2 else (new, done)


@kernel
def pivot(p, c0, c1, lo, hi, a, b, equal, budget, kind, target, earned, lam, where, side, active):
    """Solve the program from a first guess of what binds, which is left as it ends; the guess need not be feasible.

    Parameters
    ----------
    p : (n, n) positive definite; c0, c1, lo, hi : (n,)
    a : (m, n); b : (m,); equal : (m,) bool; budget : inf for none
    kind, target : what lam stands for, and the variance that is met; of a ratio, the variance where x is zero
    earned : what is gained where x is zero; lam : the first guess
    where, side : (n,) int64 and float64; active : (m + 1,) bool, the last for the budget

    Returns
    -------
    x : (n,); nu : (m + 1,) prices of the rows, per unit of the objective at lam; lam; pivots; status
    """
    n, m = len(c0), len(b)
    bent = budget < np.inf
    x0, x1, x, fixed, g, scratch, wrong = np.empty(n), np.empty(n), np.zeros(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    nu, nu_at, over = np.zeros((m + 1, 2)), np.zeros(m + 1), np.zeros(m + 1)
    best, patience, bracket = n + m + 2, PATIENCE, np.array([1e-13, 1e13])
    for step in range(MAX_PIVOTS):
        _settle(where, side, lo, hi, bent, fixed)
        active[:m] |= equal
        free = np.flatnonzero(where == FREE)
        if not _equations(p, c0, c1, a, b, active, bent, budget, side, free, fixed, x0, x1, nu):
            return x, nu_at, lam, step, SINGULAR
        for i in range(n):
            x[i] = x0[i] + lam * x1[i]
        size = _price(p, c0, c1, lam, a, x, nu, nu_at, g)
        kappa = nu_at[m]
        out, into = _broken(where, side, x, lo, hi, bent, g, kappa, size, wrong)
        count = out + into + _rows_broken(a, b, equal, active, nu_at, x, bent, budget, size, over)
        if count == 0:
            lam, done = _moved_lam(kind, target, earned, lam, bracket, p, c0, c1, x0, x1, scratch)
            if done:
                return x, nu_at, lam, step, OK if done == 1 else NO_RATIO
            best, patience = n + m + 2, PATIENCE
            continue
        patience = PATIENCE if count < best else patience - 1
        best = min(best, count)
        single = patience < 0  # then one at a time, always the last
        turned = False
        for q in range(m, -1, -1):
            if over[q] != 0.0 and not (single and turned):
                _turn(q, over[q], a, active, where, side, x, lo, hi, g, kappa)
                turned = True
        if single and turned:
            continue
        least, allowed = 0.0, max(ADDED, len(free))
        if into > allowed:
            least = np.sort(wrong[where != FREE])[-allowed]
        for i in range(n - 1, -1, -1):
            if wrong[i] > 0.0 and where[i] == FREE and abs(x[i]) < np.inf and not (single and turned):
                _hold(i, where, side, x, lo, hi, bent)
                turned = True
            elif wrong[i] > 0.0 and wrong[i] >= least and where[i] != FREE and not (single and turned):
                _release(i, where, side, x, g, kappa)
                turned = True
    return x, nu_at, lam, MAX_PIVOTS, NO_CONVERGENCE


@kernel
def _step(x, goal, where, side, lo, hi, a, b, active, bent, budget):
    """The share of the way to the goal that keeps every constraint; and what stops it: a weight i, a row -1 - q, n for nothing."""
    n, m = len(x), len(b)
    share, at = 1.0, n
    for i in range(n):
        way = goal[i] - x[i]
        if where[i] != FREE or way == 0.0:
            continue
        low, high = _range(i, side, lo, hi, bent)
        room = max((low if way < 0.0 else high) - x[i], 0.0) if way > 0.0 else min(low - x[i], 0.0)
        if room / way < share:
            share, at = room / way, i
    for q in range(m + 1 if bent else m):
        if active[q]:
            continue
        rise = used = 0.0
        for i in range(n):
            weight = a[q, i] if q < m else side[i]
            rise += weight * (goal[i] - x[i])
            used += weight * x[i]
        room = max((b[q] if q < m else budget) - used, 0.0)
        if rise > 1e-15 and room < share * rise:
            share, at = room / rise, -1 - q
    return share, at


@kernel
def descend(p, c0, c1, lo, hi, a, b, equal, budget, kind, target, earned, lam, x, where, side, active):
    """The same program from a feasible x, one exchange at a time and never uphill; parameters and answer as of `pivot`."""
    n, m = len(c0), len(b)
    bent = budget < np.inf
    x0, x1, goal, fixed, g, scratch, wrong = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    nu, nu_at, over = np.zeros((m + 1, 2)), np.zeros(m + 1), np.zeros(m + 1)
    bracket = np.array([1e-13, 1e13])
    for step in range(MAX_PIVOTS + 4 * n):
        for i in range(n):
            fixed[i] = 0.0 if where[i] == FREE else x[i]
        active[:m] |= equal
        free = np.flatnonzero(where == FREE)
        if not _equations(p, c0, c1, a, b, active, bent, budget, side, free, fixed, x0, x1, nu):
            return x, nu_at, lam, step, SINGULAR
        way = 0.0
        for i in range(n):
            goal[i] = x0[i] + lam * x1[i]
            way = max(way, abs(goal[i] - x[i]))
        if way > PRIMAL:
            share, at = _step(x, goal, where, side, lo, hi, a, b, active, bent, budget)
            for i in range(n):
                x[i] = goal[i] if share == 1.0 else x[i] + share * (goal[i] - x[i])
            if 0 <= at < n:
                _hold(at, where, side, x, lo, hi, bent)
                x[at] = lo[at] if where[at] == LOW else hi[at] if where[at] == HIGH else 0.0
                side[at] = np.sign(x[at])
            elif at < 0:
                active[-1 - at] = True
            continue
        size = _price(p, c0, c1, lam, a, goal, nu, nu_at, g)
        kappa = nu_at[m]
        _, into = _broken(where, side, x, lo, hi, bent, g, kappa, size, wrong)
        rows = _rows_broken(a, b, equal, active, nu_at, x, bent, budget, size, over)
        if into + rows == 0:
            lam, done = _moved_lam(kind, target, earned, lam, bracket, p, c0, c1, x0, x1, scratch)
            if done:
                return goal, nu_at, lam, step, OK if done == 1 else NO_RATIO
            continue
        pull, at = 0.0, n
        for i in range(n):
            if where[i] != FREE and wrong[i] > pull:
                pull, at = wrong[i], i
        for q in range(m + 1):
            if over[q] == np.inf and -nu_at[q] > pull:
                pull, at = -nu_at[q], -1 - q
        if 0 <= at < n:
            _release(at, where, side, x, g, kappa)
        elif at < 0:
            active[-1 - at] = False
        else:
            return x, nu_at, lam, step, NO_CONVERGENCE
    return x, nu_at, lam, MAX_PIVOTS, NO_CONVERGENCE


@kernel
def lacking(p, c, x, lo, hi, a, b, equal, budget, nu):
    """What the objective 1/2 x'Px + c'x of x can lack at most, by the prices nu (m + 1,); by how much x breaks a constraint; the slopes.

    For every feasible y, f(x) - f(y) <= g'(x - y) with the slope g taken with the prices; each coordinate is bounded by
    itself, so the sum is a bound whatever the prices are, as long as those of inequalities are not negative.
    """
    n, m = len(c), len(b)
    g = np.empty(n)
    _product(p, x, g)
    gap = broken = 0.0
    for i in range(n):
        g[i] += c[i]
        broken = max(broken, lo[i] - x[i], x[i] - hi[i])
    for q in range(m):
        over = dot(a[q], x) - b[q]
        broken = max(broken, abs(over) if equal[q] else over)
        price = nu[q] if equal[q] else max(nu[q], 0.0)
        gap -= price * over
        for i in range(n):
            g[i] += price * a[q, i]
    kappa = 0.0
    if budget < np.inf:
        kappa = max(nu[m], 0.0)
        gross = np.abs(x).sum()
        broken = max(broken, gross - budget)
        gap += kappa * (budget - gross)
    for i in range(n):  # g y + kappa |y| is least at an end, or at zero
        least = min(g[i] * lo[i] + kappa * abs(lo[i]), g[i] * hi[i] + kappa * abs(hi[i]))
        if lo[i] < 0.0 < hi[i]:
            least = min(least, 0.0)
        gap += max(g[i] * x[i] + kappa * abs(x[i]) - least, 0.0)
    return gap, broken, g


@kernel
def _ascending(key):
    """Places of the keys from the least up, by Shell's sort: it owns the only array that it gives back."""
    n = len(key)
    order = np.empty(n, dtype=np.int64)
    for i in range(n):
        order[i] = i
    gap = n // 2
    while gap > 0:
        for i in range(gap, n):
            k, j = order[i], i
            while j >= gap and key[k] < key[order[j - gap]]:
                order[j] = order[j - gap]
                j -= gap
            order[j] = k
        gap //= 2
    return order


@kernel
def first_guess(p, c0, gain, lo, hi, least, lam):
    """Where the weights may be: the cheapest at their upper bounds until their sum reaches `least`, those around the edge free.

    Cheap is a low slope of the objective at equal weights. Returns where, side, and gain and variance of the guess.
    """
    n = len(c0)
    score, x, where, side = np.zeros(n), lo.copy(), np.zeros(n, dtype=np.int64), np.zeros(n)
    steep = 0.0
    for i in range(n):
        for j in range(n):
            score[j] += p[i, j] / n
        steep = max(steep, abs(gain[i]))
    width = np.max(score) - np.min(score)
    weight = lam if lam > 0.0 else (width / steep if steep > 0.0 else 0.0)
    for i in range(n):
        score[i] += c0[i] - weight * gain[i]
    order = _ascending(score)
    total, edge = lo.sum(), n - 1
    for j in range(n):
        if total >= least:
            edge = j
            break
        i = order[j]
        where[i] = HIGH
        x[i] = min(hi[i], lo[i] + least - total)
        total += hi[i] - lo[i]
    for j in range(max(0, edge - EDGE), min(n, edge + EDGE)):
        i = order[j]
        where[i] = FREE
        side[i] = 1.0 if lo[i] >= 0.0 or j < edge else -1.0
        if hi[i] <= 0.0:
            side[i] = -1.0
    _product(p, x, score)
    return where, side, dot(gain, x), dot(score, x)


@kernel
def usable(a):
    """Where a square matrix has an entry that is not finite (-1, -1 where all are), and how uneven it is, relative to its largest entry."""
    n = len(a)
    uneven = largest = 0.0
    for i in range(n):
        for j in range(i + 1):
            x, y = a[i, j], a[j, i]
            if not (abs(x) < np.inf and abs(y) < np.inf):
                return j, i, 0.0
            uneven = max(uneven, abs(x - y))
            largest = max(largest, abs(x))
    return -1, -1, uneven / largest if largest > 0.0 else 0.0
