"""One way of timing every job: answers compared first, then ours and each peer in turn, medians of warm runs.

A peer whose answer differs from ours by more than the job's tolerance is an error, not a number.
"""
import gc
import importlib
import math
import pkgutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from otsport.core.errors import CheckFailed, InputError

Run = Callable[[], object]
SHORTEST, WARM, SLOW = 2e-3, 0.03, 0.2  # seconds: calls quicker than the first are timed several in a row; see _medians for the others
MIN_ROUNDS, MAX_ROUNDS = 5, 200


@dataclass(frozen=True)
class Part:
    """A slow peer run on a stated part of the work; its time counts `times` times. Say so in the peer's name."""
    run: Run
    times: float

    def __call__(self) -> object:
        """The answer for the part."""
        return self.run()


@dataclass(frozen=True)
class Job:
    """One line of the table: the same work done by us and by others.

    `error(ours, theirs)` is the largest difference of two answers in the unit that `size` or the job's docstring names. `tolerance`
    is one bound, or one for each peer. `reference` gives the answer that the reported error is measured against; without it the
    reported error is the largest difference from a peer. `faster` holds variants of ours that should beat `ours` (two threads):
    their ratio is ours / variant. `floors` are the ratios to reach, by peer or variant. `limits` are promises without a peer
    (bytes, nanoseconds): each gives what is promised and what was measured, its ratio is promised / measured and has to reach 1.
    """
    name: str
    size: str
    ours: Run
    peers: dict[str, Run | Part]
    error: Callable[[object, object], float]
    tolerance: float | dict[str, float]
    floors: dict[str, float] = field(default_factory=dict)
    reference: Run | None = None
    faster: dict[str, Run] = field(default_factory=dict)
    limits: dict[str, Callable[[], tuple[float, float]]] = field(default_factory=dict)


def jobs() -> dict[str, Callable[[], Job]]:
    """Every job of `bench/jobs_*.py` by its name, in order of file and of its JOBS; nothing heavy is imported."""
    import otsport.bench

    names = sorted(m.name for m in pkgutil.iter_modules(otsport.bench.__path__) if m.name.startswith("jobs_"))
    return {make.__name__: make for name in names for make in importlib.import_module(f"otsport.bench.{name}").JOBS}


def chosen(names: list[str]) -> dict[str, Callable[[], Job]]:
    """The named jobs, or all; an unknown name is an `InputError`."""
    known = jobs()
    if unknown := [n for n in names if n not in known]:
        raise InputError(f"job {unknown[0]!r} is not known: the jobs are {', '.join(known)}")
    return {n: known[n] for n in names} if names else known


def _checked_error(job: Job, answer: object, others: dict[str, object]) -> float:
    """The largest difference from the peers (or from the reference), each within its tolerance."""
    largest = 0.0
    for name, theirs in others.items():
        bound = job.tolerance[name] if isinstance(job.tolerance, dict) and name in job.tolerance else job.tolerance
        if isinstance(bound, dict):
            raise InputError(f"{job.name}: no tolerance for {name!r}: give one for each peer and variant")
        error = float(job.error(answer, theirs))
        if not error <= bound:  # NaN is a difference too
            raise CheckFailed(f"{job.name}: {name} differs from ours by {error:.3g}, tolerance {bound:.3g}: its time would mean nothing")
        largest = max(largest, error)
    return float(job.error(answer, job.reference())) if job.reference else largest


def _repeats(run: Run) -> tuple[int, float]:
    """How many calls in a row take at least `SHORTEST` seconds, and how long they took."""
    count = 1
    while (took := _seconds(run, count)) < SHORTEST:
        count = max(2 * count, int(count * SHORTEST / max(took, 1e-9)) + 1)
    return count, took


def _seconds(run: Run, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        run()
    return time.perf_counter() - start


def _medians(runs: dict[str, Run], seconds: float) -> dict[str, float]:
    """Median seconds of each, run in turn until `seconds` have passed and at least `MIN_ROUNDS` times.

    What takes less than `SLOW` first runs untimed for `WARM`: its data come back into the cache, its threads and their cores awake.
    """
    counts = {name: _repeats(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        for done in range(MAX_ROUNDS):
            if done >= MIN_ROUNDS and time.perf_counter() > end:
                break
            for name, run in runs.items():
                count, took = counts[name]
                warm = time.perf_counter() + WARM
                while took < SLOW and time.perf_counter() < warm:
                    run()
                times[name].append(_seconds(run, count) / count)
    finally:
        if collecting:
            gc.enable()
    return {name: statistics.median(t) for name, t in times.items()}


def measure(job: Job, seconds: float = 3.0) -> dict:
    """`{"ours_ms", "error", "ratio": {peer: times}, "floor": {peer: times}, "peer_ms": {peer: ms}, "size", "limits": {limit: numbers}}`."""
    others = {**job.peers, **job.faster}
    error = _checked_error(job, job.ours(), {name: run() for name, run in others.items()})  # the first calls compile and warm up
    took = _medians({"": job.ours, **others}, seconds)
    ours = took.pop("")
    scale = {name: run.times if isinstance(run, Part) else 1.0 for name, run in others.items()}
    peer_ms = {name: 1e3 * t * scale[name] for name, t in took.items()}
    ratio = {name: ours * 1e3 / ms if name in job.faster else ms / (ours * 1e3) for name, ms in peer_ms.items()}
    limits = {name: limit() for name, limit in job.limits.items()}
    ratio |= {name: promised / measured for name, (promised, measured) in limits.items()}
    floors = job.floors | dict.fromkeys(job.limits, 1.0)
    return {"ours_ms": 1e3 * ours, "error": error, "ratio": ratio, "floor": floors, "peer_ms": peer_ms, "size": job.size, "limits": limits}


def plain(results: dict[str, dict]) -> dict[str, dict]:
    """What `--json` writes: `{job: {"ours_ms": x, "error": e, "ratio": {peer: times}}}`."""
    return {name: {key: r[key] for key in ("ours_ms", "error", "ratio")} for name, r in results.items()}


def time_text(ms: float) -> str:
    """Milliseconds in the unit that reads best."""
    return f"{ms * 1e3:.3g} us" if ms < 1 else f"{ms:.3g} ms" if ms < 1e3 else f"{ms / 1e3:.3g} s" if ms < 1e6 else f"{ms / 1e3:,.0f} s"


HEADS = ("job, and what it is measured against", "time", "ours is", "at least", "error")


def rows(results: dict[str, dict]) -> list[tuple[str, ...]]:
    """Texts under `HEADS`: a row for each job with our time, then one for each peer, variant and limit with its own."""
    found = []
    for name, r in results.items():
        found.append((f"{name}: {r['size']}", time_text(r["ours_ms"]), "", "", f"{r['error']:.1e}"))
        for peer, times in r["ratio"].items():
            floor = r["floor"].get(peer)
            at_least = "" if floor is None else f"{floor:g}x {'reached' if times >= floor else 'MISSED'}"
            of = r["limits"].get(peer, (0, 0))
            took = time_text(r["peer_ms"][peer]) if peer in r["peer_ms"] else f"{of[1]:,.6g} of {of[0]:,.6g}"
            found.append((f"   {peer}", took, times_text(times), at_least, ""))
    return found


def nanoseconds(run: Run, per: int) -> float:
    """Median nanoseconds of a run for each of its `per` parts."""
    return 1e9 * _medians({"": run}, 1.0)[""] / per


def times_text(ratio: float) -> str:
    """A ratio, never rounded up to one that was not reached."""
    digits = 0 if ratio >= 100 else 1
    return f"{math.floor(ratio * 10**digits) / 10**digits:,.{digits}f}x"


def markdown(measured: dict[str, dict]) -> str:
    """The table of a README, from what `--json` wrote: a row for each job, every peer with our speed over its."""
    lines = ["| job | what | our time | times as fast as | error |", "|---|---|---|---|---|"]
    for name, make in jobs().items():
        if name in measured:
            r, what = measured[name], " ".join((make.__doc__ or "").split())
            peers = ", ".join(f"{peer} **{times_text(times)}**" for peer, times in r["ratio"].items())
            lines.append(f"| `{name}` | {what} | {time_text(r['ours_ms'])} | {peers} | {r['error']:.0e} |")
    return "\n".join(lines)
