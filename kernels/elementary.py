"""exp, log, the normal distribution and normal draws, branch-free, so that LLVM vectorizes the loops that call them.

    exp(x) = 2**k * e**r,  k = round(x / ln 2)          log(a / b) = k ln 2 + 2 atanh((a - b) / (a + b)) on mantissas
    N(-a) = n(a) * M(a),   M(a) = G((a - 5) / (a + 5)) / (a + 5)  with G a polynomial (a >= 0): relative accuracy in both tails
    N^-1(p): Wichura (1988), algorithm AS 241, PPND16         normals: Box and Muller (1958) on SplitMix64 of a counter

numba's own math.exp, log and erfc are calls into libm, one value at a time. The polynomials are Chebyshev interpolations computed
to 50 digits; truncation is below 1e-16 in each. Twins: numpy.exp, numpy.log, scipy.special.ndtr, log_ndtr and ndtri.
Comparisons are written so that NaN passes through.
"""
import math

import numpy as np
from numba import types
from numba.extending import intrinsic

from ._jit import kernel

LOG2E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # the first has 32 trailing zero bits: k * LN2_HIGH is exact
ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, which is then in the low bits
BITS_TO_FLOAT = 0x4330000000000000  # the bits of 2**52: or-ing a small integer in makes 2**52 + integer
MANTISSA, ONE = 0x000FFFFFFFFFFFFF, 0x3FF0000000000000
SMALLEST = 2.2250738585072014e-308  # smallest normal number
SQRT2 = math.sqrt(2.0)
INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)


@intrinsic
def as_int(typingctx, x):
    """The bits of a float64 as int64."""
    return types.int64(types.float64), lambda context, builder, sig, args: builder.bitcast(args[0], context.get_value_type(types.int64))


@intrinsic
def as_float(typingctx, x):
    """The float64 that has these bits."""
    return types.float64(types.int64), lambda context, builder, sig, args: builder.bitcast(args[0], context.get_value_type(types.float64))


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once."""
    return types.float64(types.float64, types.float64, types.float64), lambda context, builder, sig, args: builder.fma(*args)


@kernel(forceinline=True)
def _exp_parts(x, low):
    """e**r - 1 and 2**(k-1) of exp(x + low), for a |low| far below 1; the argument must lie within -708.3 .. 710."""
    shifted = x * LOG2E + ROUND
    k = shifted - ROUND
    r = fma(-k, LN2_LOW, fma(-k, LN2_HIGH, x)) + low
    r2 = r * r
    r4 = r2 * r2
    a = 0.5000000000000001 + 0.1666666666666667 * r + (0.04166666666662412 + 0.008333333333326134 * r) * r2
    b = 0.0013888888917215586 + 0.00019841269874822307 * r + (2.4801521293463862e-05 + 2.755725539833871e-06 * r) * r2
    c = 2.762008948195459e-07 + 2.5105217695684516e-08 * r
    p = a + r4 * (b + r4 * c)
    return r + r2 * p, as_float((as_int(shifted) + 1022) << 52)


@kernel(forceinline=True)
def exp(x):
    """e**x within 1 ulp; 0 below -708, inf above 709.78."""
    x = -708.3 if x < -708.3 else x
    x = 710.0 if x > 710.0 else x
    part, half = _exp_parts(x, 0.0)
    return (1.0 + part) * half * 2.0


@kernel(forceinline=True)
def expm1(x):
    """e**x - 1, exact in its last digits near 0; -1 below -708, inf above 709.78."""
    x = -708.3 if x < -708.3 else x
    x = 710.0 if x > 710.0 else x
    part, half = _exp_parts(x, 0.0)
    return 2.0 * ((half - 0.5) + half * part)


@kernel(forceinline=True)
def _log_ratio(a, b, k):
    """ln(a / b) + k ln 2 for a, b in [1, 2)."""
    high, low = a > SQRT2 * b, a * SQRT2 < b
    b = 2.0 * b if high else b
    a = 2.0 * a if low else a
    k = k + 1.0 if high else (k - 1.0 if low else k)
    s = (a - b) / (a + b)
    z = s * s
    z2 = z * z
    q = (0.666666666666667 + 0.39999999999898944 * z + (0.2857142862620096 + 0.22222211101577205 * z) * z2
         + z2 * z2 * (0.1818289133623783 + 0.1533165379922582 * z + 0.14617229114009048 * z2))
    return k * LN2_HIGH + (2.0 * s + (s * z * q + k * LN2_LOW))


@kernel(forceinline=True)
def _exponent(bits):
    return as_float((bits >> 52) | BITS_TO_FLOAT) - 4503599627370496.0


@kernel(forceinline=True)
def _mantissa(bits):
    return as_float((bits & MANTISSA) | ONE)


@kernel(forceinline=True)
def log(x):
    """ln(x) within 2 ulp; -inf at 0 and at subnormals, inf at inf, NaN below 0."""
    bits = as_int(x)
    y = _log_ratio(_mantissa(bits), 1.0, _exponent(bits) - 1023.0)
    y = y if x < math.inf else x
    return y if x >= SMALLEST else (-math.inf if x >= 0.0 else math.nan)


@kernel(forceinline=True)
def log_ratio(a, b):
    """ln(a / b) for normal positive a and b, one division, exact near a = b; NaN where either is not (0, inf, NaN, negative)."""
    i, j = as_int(a), as_int(b)
    y = _log_ratio(_mantissa(i), _mantissa(j), _exponent(i) - _exponent(j))
    return y if (a >= SMALLEST and b >= SMALLEST and a < math.inf and b < math.inf) else math.nan


@kernel(forceinline=True)
def mills(a):
    """N(-a) / n(a) for a >= 0, within 3 ulp."""
    inv = 1.0 / (a + 5.0)
    y = (a - 5.0) * inv
    y2 = y * y
    y4 = y2 * y2
    y8 = y4 * y4
    p0 = 1.9280810471531575 - 1.667866595188962 * y + (1.241547061573877 - 0.7859110755463842 * y) * y2
    p1 = 0.41364471573217226 - 0.17325473409133701 * y + (0.05212550242182693 - 0.007503282770439648 * y) * y2
    p2 = -0.0019999620670556138 + 0.0013658588260150296 * y + (-0.00014883252854029768 - 0.00012473429411922815 * y) * y2
    p3 = 4.181269707272043e-05 + 9.971212523126543e-06 * y + (-6.9405498481783575e-06 - 8.29951776733244e-07 * y) * y2
    p4 = 1.0865648093633823e-06 + 8.984895390080813e-08 * y + (-1.6898908396071304e-07 - 1.2601401701289641e-08 * y) * y2
    p5 = 2.324918339616538e-08 + 1.2681778133106914e-09 * y - 1.968820796668673e-09 * y2
    return ((p0 + p1 * y4) + y8 * ((p2 + p3 * y4) + y8 * (p4 + p5 * y4))) * inv


@kernel(forceinline=True)
def npdf(x):
    """The standard normal density; its square is rounded once, so that the far tails keep their digits."""
    a = abs(x)
    a = 40.0 if a > 40.0 else a
    square = a * a
    return INV_SQRT_2PI * _exp_at_least(-0.5 * square, -0.5 * fma(a, a, -square))


@kernel(forceinline=True)
def _exp_at_least(x, low):
    part, half = _exp_parts(-708.3 if x < -708.3 else x, low)
    return (1.0 + part) * half * 2.0


@kernel(forceinline=True)
def ndtr(x):
    """The standard normal distribution function, within a few ulp down to -37.6, where it is 0."""
    a = abs(x)
    a = 40.0 if a > 40.0 else a
    tail = npdf(a) * mills(a)
    return 1.0 - tail if x > 0.0 else tail


@kernel(forceinline=True)
def ndtri(p):
    """The standard normal quantile (AS 241), relative accuracy 1e-15; -inf at 0, inf at 1, NaN outside; subnormal p counts as 2.2e-308."""
    q = p - 0.5
    r = 0.180625 - q * q
    num = (((((((2509.0809287301226727 * r + 33430.575583588128105) * r + 67265.770927008700853) * r + 45921.953931549871457) * r
              + 13731.693765509461125) * r + 1971.5909503065514427) * r + 133.14166789178437745) * r + 3.387132872796366608)
    den = (((((((5226.495278852545925 * r + 28729.085735721942674) * r + 39307.89580009271061) * r + 21213.794301586595867) * r
              + 5394.1960214247511077) * r + 687.1870074920579083) * r + 42.313330701600911252) * r + 1.0)
    middle = q * num / den
    small = p if q < 0.0 else 1.0 - p
    r = math.sqrt(-log(SMALLEST if small < SMALLEST else small))
    s = r - 1.6
    num = (((((((7.7454501427834140764e-4 * s + 0.0227238449892691845833) * s + 0.24178072517745061177) * s + 1.27045825245236838258) * s
              + 3.64784832476320460504) * s + 5.7694972214606914055) * s + 4.6303378461565452959) * s + 1.42343711074968357734)
    den = (((((((1.05075007164441684324e-9 * s + 5.475938084995344946e-4) * s + 0.0151986665636164571966) * s + 0.14810397642748007459) * s
              + 0.68976733498510000455) * s + 1.6763848301838038494) * s + 2.05319162663775882187) * s + 1.0)
    near = num / den
    s = r - 5.0
    num = (((((((2.01033439929228813265e-7 * s + 2.71155556874348757815e-5) * s + 0.0012426609473880784386) * s + 0.026532189526576123093) * s
              + 0.29656057182850489123) * s + 1.7848265399172913358) * s + 5.4637849111641143699) * s + 6.6579046435011037772)
    den = (((((((2.04426310338993978564e-15 * s + 1.4215117583164458887e-7) * s + 1.8463183175100546818e-5) * s + 7.868691311456132591e-4) * s
              + 0.0148753612908506148525) * s + 0.13692988092273580531) * s + 0.59983220655588793769) * s + 1.0)
    tail = near if r <= 5.0 else num / den
    tail = tail if small > 0.0 else (math.inf if small == 0.0 else math.nan)
    tail = -tail if q < 0.0 else tail
    return middle if abs(q) <= 0.425 else tail


@kernel(forceinline=True)
def mix(counter):
    """64 well-mixed bits of a counter (SplitMix64: Steele, Lea and Flood 2014)."""
    z = np.uint64(counter) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel(forceinline=True)
def uniform(bits):
    """A number in (0, 1) from 64 random bits: the middle of one of 2**52 equal cells."""
    return as_float(np.int64(bits >> np.uint64(12)) | ONE) - (1.0 - 2.0**-53)


@kernel(forceinline=True)
def sin_cos_turns(t):
    """sin(2 pi t) and cos(2 pi t) for |t| below 2**40, within 1e-16."""
    shifted = 4.0 * t + ROUND
    f = t - 0.25 * (shifted - ROUND)
    quarter = as_int(shifted)
    z = f * f
    sine = f * (6.283185307179586 + z * (-41.34170224039976 + z * (81.60524927607493 + z * (-76.70585975299814 + z * (
        42.05869392899106 + z * (-15.09464040410568 + z * (3.819788130129942 - z * 0.7116359913221674)))))))
    cosine = 1.0 + z * (-19.739208802178716 + z * (64.93939402266795 + z * (-85.45681720652276 + z * (
        60.24464132887419 + z * (-26.42625090926917 + z * (7.90309171786731 - z * 1.696850020961397))))))
    odd = (quarter & 1) == 1
    s, c = (cosine, sine) if odd else (sine, cosine)
    return (-s if (quarter & 2) == 2 else s), (-c if ((quarter + 1) & 2) == 2 else c)


@kernel(forceinline=True)
def two_normals(key, counter):
    """Two independent standard normals of a counter; `key` from `stream_key`."""
    u, v = uniform(mix(key + np.uint64(2) * counter)), uniform(mix(key + np.uint64(2) * counter + np.uint64(1)))
    radius = math.sqrt(-2.0 * log(u))
    s, c = sin_cos_turns(v)
    return radius * c, radius * s


@kernel
def stream_key(seed, stream):
    """The key of one stream of one seed, to be added to counters."""
    return mix(mix(np.uint64(seed)) ^ (np.uint64(stream) + np.uint64(0x6A09E667F3BCC909)))


@kernel
def _fill_pairs(key, first, second):
    for i in range(second.size):
        first[i], second[i] = two_normals(key, np.uint64(i))


@kernel
def normals(seed, stream, out):
    """Fill a float64 vector with standard normals that depend on (seed, stream, out.size) alone.

    Split work into streams (one for each chunk of paths), never into threads: the numbers are then the same on any machine.
    """
    half = out.size // 2
    key = stream_key(seed, stream)
    _fill_pairs(key, out[:half], out[half:2 * half])
    if out.size % 2:
        out[2 * half] = two_normals(key, np.uint64(half))[0]


@kernel(reassoc=True)
def dot(a, b):
    """Sum of a_i b_i over vectors of one length."""
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@kernel
def exp_array(x, out):
    """`exp` of a vector; `out` is written."""
    for i in range(x.size):
        out[i] = exp(x[i])


@kernel
def log_array(x, out):
    """`log` of a vector; `out` is written."""
    for i in range(x.size):
        out[i] = log(x[i])


@kernel
def ndtr_array(x, out):
    """`ndtr` of a vector; `out` is written."""
    for i in range(x.size):
        out[i] = ndtr(x[i])


@kernel
def ndtri_array(p, out):
    """`ndtri` of a vector; `out` is written."""
    for i in range(p.size):
        out[i] = ndtri(p[i])
