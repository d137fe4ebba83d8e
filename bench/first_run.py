"""Time what a newcomer waits for: a fresh clone with empty caches to its report, the second run, and the import.

    python bench/first_run.py            # from the checkout; prints seconds and the bound of each
"""
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOUNDS = {"make run, fresh clone, empty caches": 120.0, "make run again": 20.0, "import otsport, fresh process": 0.3}  # seconds


def seconds(*command: str, cwd: Path, env: dict[str, str]) -> float:
    """Wall seconds of a command that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clone, cache = Path(folder) / "otsport", Path(folder) / "cache"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        env = {k: v for k, v in os.environ.items() if k not in ("OTSPORT_HOME", "NUMBA_CACHE_DIR")}
        env |= {"XDG_CACHE_HOME": str(cache), "PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"}
        first, second = (seconds("make", "run", "ARGS=-p port=4090", cwd=clone, env=env) for _ in range(2))
        python = str(clone / ".venv" / "bin" / "python")
        timed = "import time; t = time.perf_counter(); import otsport; print(time.perf_counter() - t)"
        light = min(float(subprocess.run([python, "-c", timed], capture_output=True, text=True, check=True).stdout) for _ in range(5))
    for (name, bound), measured in zip(BOUNDS.items(), (first, second, light)):
        print(f"{name:<40} {measured:8.3f} s   at most {bound:g} s   {'reached' if measured <= bound else 'MISSED'}")
    sys.exit(any(m > b for b, m in zip(BOUNDS.values(), (first, second, light))))


if __name__ == "__main__":
    main()
