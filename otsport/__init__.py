"""otsport: options portfolio management on Interactive Brokers, from notebook to production."""
__version__ = "0.1.0"

_LAZY = {  # what is typed most, loaded when it is first used: name -> module
    "risk": "desk.risk", "stress_test": "desk.stress_test", "diversification": "analytics.diversification", "open_book": "app.lab", "open_watch": "app.cli_watch", "optimal_weights": "desk.returns", "measures": "desk.returns", "tear_sheet": "desk.tear_sheet",
    "read_prices": "data.prices", "read_quotes": "data.chains", "chain_history": "data.chain_history",
    "load_prices": "data.shelf", "load_chains": "data.shelf", "own_history": "data.shelf",
}  # fmt: skip


def __getattr__(name: str):
    """A name of `_LAZY` from its module."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    import_module(f"{__name__}.core.compiling").announce_compiling()
    return found


def __dir__() -> list[str]:
    """Names, those that are loaded when used included."""
    return sorted({*globals(), *_LAZY})
