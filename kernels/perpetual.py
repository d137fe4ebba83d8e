"""The most that an American option can be worth: what it is worth if it never expires (Merton 1973, eq. 52; with a yield McDonald and Siegel 1986).

    put = (K - B) (S / B)**beta above B = K beta / (beta - 1),   beta = h - sqrt(h**2 + 2 r / sigma**2),   h = 1/2 - (r - q) / sigma**2
Without interest and with a yield the put that never ends is worth K; below a rate of 0 waiting has no end, and K exp(-r tau) is the bound.
Calls: C(S, K, r, q) = P(K, S, q, r). S, K dollars, tau years, r, q, sigma annual decimals; sigma and tau above 0.
"""
import math

from ._jit import kernel


@kernel
def put_ceiling(S, K, tau, r, q, sigma):
    """No American put of this time to expiry is worth more."""
    if r <= 0.0:
        return K * math.exp(-r * tau)
    half, twice = 0.5 - (r - q) / (sigma * sigma), 2.0 * r / (sigma * sigma)
    root = math.sqrt(half * half + twice)
    beta = -twice / (half + root) if half > 0.0 else half - root  # without cancellation
    edge = K * beta / (beta - 1.0)
    return K - S if S <= edge else (K - edge) * math.exp(beta * math.log(S / edge))


@kernel
def ceiling(S, K, tau, r, q, sigma, phi):
    """No American option of this time to expiry is worth more; phi +1 call, -1 put."""
    return put_ceiling(K, S, tau, q, r, sigma) if phi > 0.0 else put_ceiling(S, K, tau, r, q, sigma)
