"""Time the first calls of cached kernels in fresh processes, beside the smallest function that numba can cache.

    python bench/cold_start.py           # prints medians of nine processes, in milliseconds, and the bound of each
"""
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FIRST, FURTHER = 350.0, 10.0  # milliseconds
SMALLEST = """
import time, numpy, numba
@numba.njit(cache=True)
def f(x): return x + 1.0
t = time.perf_counter(); f(1.0); print("numba's smallest function", time.perf_counter() - t, sep="=")
"""
KERNELS = """
import time, numpy as np
from otsport.kernels import american, american_approx, kelly, metrics, options, tail
S, K, tau, r, q, sigma, phi = (np.full(8, x) for x in (100.0, 95.0, 0.5, 0.03, 0.01, 0.2, 1.0))
out, status, x = [np.empty(8) for _ in range(6)], np.empty(8, np.int64), 0.01 * np.sin(np.arange(500.0))
var, es = np.empty(2), np.empty(2)
def timed(name, run):
    t = time.perf_counter(); run(); print(name, time.perf_counter() - t, sep="=")
timed("first kernel: greeks", lambda: options.greeks_arrays(S, K, tau, r, q, sigma, phi, *out))
timed("further kernel: bsm", lambda: options.bsm_arrays(S, K, tau, r, q, sigma, phi, *out[:3]))
timed("further kernel: implied vol", lambda: options.implied_vol_arrays(out[0].copy(), S, K, tau, r, q, phi, out[1], status))
timed("further kernel: tails", lambda: tail.tails(x, np.array([0.95, 0.99]), var, es, np.empty(500)))
timed("further kernel: select", lambda: tail.select(x.copy(), 25))
"""


def process(code: str, folder: str) -> dict[str, float]:
    """Milliseconds by name, as a fresh process printed them."""
    script = Path(folder) / f"{abs(hash(code))}.py"
    script.write_text(code)
    env = os.environ | {"NUMBA_CACHE_DIR": folder}
    lines = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, env=env).stdout.splitlines()
    return {name: 1e3 * float(seconds) for name, seconds in (line.split("=") for line in lines)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = [process(SMALLEST, folder) | process(KERNELS, folder) for _ in range(10)][1:]  # the first one compiles
    missed = False
    for name in runs[0]:
        took = statistics.median(run[name] for run in runs)
        bound = FIRST if name.startswith("first") else FURTHER if name.startswith("further") else None
        missed |= bound is not None and took > bound
        print(f"{name:<32} {took:8.1f} ms" + ("" if bound is None else f"   at most {bound:g} ms   {'reached' if took <= bound else 'MISSED'}"))
    sys.exit(missed)


if __name__ == "__main__":
    main()
