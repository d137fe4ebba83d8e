"""The compiled core: numba kernels on plain arrays, no pandas, no other otsport module."""
if __name__ != "otsport.kernels":
    raise ImportError(f"import otsport.kernels, not {__name__}: a cache written under another name breaks the real one")
