"""American options beside QuantLib: the fast and the accurate collocation, and the approximations that both have.

10,000 options, spot 70 to 140, strike 100, 18 days to 2 years, rates 1 to 8 %, yields 0.5 to 6 %, vols 10 to 60 %. QuantLib is timed as it is
used from Python: a new option and engine on a process whose quotes are set, on the first PART options. The error is the largest
difference in dollars; that of the two collocation jobs is against QuantLib's high precision scheme on the first PART options.
"""
import numpy as np

from otsport.bench.harness import Job, Part

SIZE, PART = 10_000, 200
NAMES = ("spot", "strike", "tau", "rate", "div_yield", "vol", "sign")


def options() -> dict[str, np.ndarray]:
    """The options of every job here; taus are whole days, as QuantLib's are."""
    rng = np.random.default_rng(3)
    spot, rate, div_yield, vol = (rng.uniform(*bounds, SIZE) for bounds in ((70, 140), (0.01, 0.08), (0.005, 0.06), (0.1, 0.6)))
    return dict(zip(NAMES, (spot, np.full(SIZE, 100.0), rng.integers(18, 731, SIZE) / 365, rate, div_yield, vol, rng.choice([-1.0, 1.0], SIZE))))


def quantlib(make_engine, count: int = PART) -> np.ndarray:
    """Prices of the first `count` options by QuantLib; `make_engine(ql, process)`."""
    import QuantLib as ql

    o, today, day_count = options(), ql.Date(1, 1, 2024), ql.Actual365Fixed()
    ql.Settings.instance().evaluationDate = today
    quotes = [ql.SimpleQuote(0.1) for _ in range(4)]
    spot, div_yield, rate, vol = (ql.QuoteHandle(q) for q in quotes)
    process = ql.BlackScholesMertonProcess(
        spot, ql.YieldTermStructureHandle(ql.FlatForward(today, div_yield, day_count)), ql.YieldTermStructureHandle(ql.FlatForward(today, rate, day_count)),
        ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), vol, day_count)))
    prices = np.empty(count)
    for i in range(count):
        for quote, name in zip(quotes, ("spot", "div_yield", "rate", "vol")):
            quote.setValue(float(o[name][i]))
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if o["sign"][i] > 0 else ql.Option.Put, float(o["strike"][i]))
        option = ql.VanillaOption(payoff, ql.AmericanExercise(today, today + round(o["tau"][i] * 365)))
        option.setPricingEngine(make_engine(ql, process))
        prices[i] = option.NPV()
    return prices


def _collocation(name: str, fast: bool, scheme: str, floor: float, tolerance: float) -> Job:
    from otsport.analytics.american import american as price

    o = list(options().values())
    peer = f"QuantLib QdFp {scheme} (on {PART})"
    return Job(name, f"{SIZE:,} options", lambda: price(*o, fast=fast)[0],
               {peer: Part(lambda: quantlib(lambda ql, p: ql.QdFpAmericanEngine(p, getattr(ql.QdFpAmericanEngine, f"{scheme}Scheme")())), SIZE / PART)},
               difference, tolerance, {peer: floor}, lambda: quantlib(lambda ql, p: ql.QdFpAmericanEngine(p, ql.QdFpAmericanEngine.highPrecisionScheme())))


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference in dollars over the options that both have."""
    count = min(ours.size, theirs.size)
    return float(np.max(np.abs(ours[:count] - theirs[:count])))


def american() -> Job:
    """10,000 American options by the fast collocation, at an error below that of QuantLib's fast scheme (about 1e-3)."""
    return _collocation("american", True, "fast", 4.0, 2e-3)


def american_accurate() -> Job:
    """10,000 American options by the accurate collocation, at an error below that of QuantLib's accurate scheme (about 1e-4)."""
    return _collocation("american_accurate", False, "accurate", 6.0, 2e-4)


def _approximation(name: str, method: str, engine: str, tolerance: float) -> Job:
    from otsport.analytics.american import american_approx

    o = list(options().values())
    peer = f"QuantLib {engine} (on {PART})"
    run = Part(lambda: quantlib(lambda ql, p: getattr(ql, f"{engine}ApproximationEngine")(p)), SIZE / PART)
    return Job(name, f"{SIZE:,} options", lambda: american_approx(*o, method), {peer: run}, difference, tolerance, {peer: 60.0})


def american_baw() -> Job:
    """10,000 American options by Barone-Adesi and Whaley; QuantLib stops its iteration at 1e-6 of the strike."""
    return _approximation("american_baw", "baw", "BaroneAdesiWhaley", 2e-4)


def american_bjerksund_stensland() -> Job:
    """10,000 American options by Bjerksund and Stensland (1993), the year that QuantLib has."""
    return _approximation("american_bjerksund_stensland", "bjerksund_stensland_1993", "BjerksundStensland", 1e-9)


JOBS = (american, american_accurate, american_baw, american_bjerksund_stensland)
