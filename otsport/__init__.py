"""otsport: options portfolio management on Interactive Brokers, from notebook to production."""
__version__ = "0.1.0"

_LAZY = {  # name -> module that defines it, imported when first used
    "read_prices": "otsport.data.prices", "read_quotes": "otsport.data.chains", "chain_history": "otsport.data.chain_history",
    "load_prices": "otsport.data.shelf", "load_chains": "otsport.data.shelf", "own_history": "otsport.data.shelf",
}  # fmt: skip


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'otsport' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
