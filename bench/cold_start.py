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
from otsport.analytics import american, kelly, metrics, montecarlo, options, revaluation, var
from otsport.data import ring
x = 0.01 * np.sin(np.arange(1500.0)).reshape(500, 3)
put = (100.0, [90.0, 100.0], 0.5, 0.03, 0.01, 0.2, "P")
def timed(name, run):
    t = time.perf_counter(); run(); print(name, time.perf_counter() - t, sep="=")
timed("first kernel: greeks", lambda: options.bsm_greeks(*put))
timed("further: bsm", lambda: options.bsm(*put))
timed("further: second order", lambda: options.bsm_second_order(*put))
timed("further: implied vol", lambda: options.implied_vol([3.0, 6.0], *put[:5], "P"))
timed("further: american", lambda: american.american(*put))
timed("further: american approximation", lambda: american.american_approx(*put))
timed("further: tree", lambda: american.american_tree(*put))
timed("further: linear value at risk", lambda: var.linear_var(x, np.ones(3)))
timed("further: Monte Carlo", lambda: montecarlo.monte_carlo(np.ones(3), np.zeros(3), 252 * np.cov(x.T) + 0.01 * np.eye(3), scenarios=2000))
timed("further: rolling metrics", lambda: metrics.rolling_metrics(x, 100))
timed("further: kelly", lambda: kelly.kelly(x[:, 0] + 0.001))
timed("further: kelly of many", lambda: kelly.kelly_many(x + 0.001))
timed("further: ring", lambda: ring.encode(np.ones((100, 4))))
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
