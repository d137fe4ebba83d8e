"""One way of timing every job: answers compared first, then ours and each peer in turn, medians of warm runs.

A peer whose answer differs from ours by more than the job's tolerance is an error, not a number.
"""
import gc
import importlib
import pkgutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from otsport.core.errors import CheckFailed, InputError

Run = Callable[[], object]
SHORTEST = 2e-3  # seconds; quicker calls are timed several in a row
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
    their ratio is ours / variant. `floors` are the ratios to reach, by peer or variant.
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


def _repeats(run: Run) -> int:
    """How many calls in a row take at least `SHORTEST` seconds."""
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            run()
        if (took := time.perf_counter() - start) >= SHORTEST:
            return count
        count = max(2 * count, int(count * SHORTEST / max(took, 1e-9)) + 1)


def _seconds(run: Run, count: int) -> float:
    """Seconds a call; a quick run first brings its data back into the cache that the run before it has filled."""
    if count > 1:
        run()
    start = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - start) / count


def _medians(runs: dict[str, Run], seconds: float) -> dict[str, float]:
    """Median seconds of each, run in turn until `seconds` have passed and at least `MIN_ROUNDS` times."""
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
                times[name].append(_seconds(run, counts[name]))
    finally:
        if collecting:
            gc.enable()
    return {name: statistics.median(t) for name, t in times.items()}


def measure(job: Job, seconds: float = 3.0) -> dict:
    """`{"ours_ms", "error", "ratio": {peer: times}, "floor": {peer: times}, "peer_ms": {peer: ms}, "size"}` of a job."""
    others = {**job.peers, **job.faster}
    error = _checked_error(job, job.ours(), {name: run() for name, run in others.items()})  # the first calls compile and warm up
    took = _medians({"": job.ours, **others}, seconds)
    ours = took.pop("")
    scale = {name: run.times if isinstance(run, Part) else 1.0 for name, run in others.items()}
    peer_ms = {name: 1e3 * t * scale[name] for name, t in took.items()}
    ratio = {name: ours * 1e3 / ms if name in job.faster else ms / (ours * 1e3) for name, ms in peer_ms.items()}
    return {"ours_ms": 1e3 * ours, "error": error, "ratio": ratio, "floor": dict(job.floors), "peer_ms": peer_ms, "size": job.size}


def plain(results: dict[str, dict]) -> dict[str, dict]:
    """What `--json` writes: `{job: {"ours_ms": x, "error": e, "ratio": {peer: times}}}`."""
    return {name: {key: r[key] for key in ("ours_ms", "error", "ratio")} for name, r in results.items()}


def time_text(ms: float) -> str:
    """Milliseconds in the unit that reads best."""
    return f"{ms * 1e3:.3g} us" if ms < 1 else f"{ms:.3g} ms" if ms < 1e3 else f"{ms / 1e3:.3g} s"


def rows(results: dict[str, dict]) -> list[tuple[str, ...]]:
    """job, size, ours, peer, its time, ratio, at least, error; one row for each peer, texts with units."""
    found = []
    for name, r in results.items():
        for i, (peer, times) in enumerate(r["ratio"].items()):
            floor = r["floor"].get(peer)
            at_least = "" if floor is None else f"{floor:g}x {'reached' if times >= floor else 'MISSED'}"
            head = (name, r["size"], time_text(r["ours_ms"])) if i == 0 else ("", "", "")
            found.append((*head, peer, time_text(r["peer_ms"][peer]), f"{times:,.1f}x", at_least, f"{r['error']:.1e}" if i == 0 else ""))
    return found


HEADS = ("job", "size", "ours", "peer", "its time", "ratio", "at least", "error")


def markdown(results: dict[str, dict]) -> str:
    """The table for a README."""
    lines = [HEADS, ("---",) * len(HEADS), *rows(results)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
