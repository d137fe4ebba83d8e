"""The compiled core: numba kernels on plain arrays, no pandas, no other otsport module.

For callers from other programs: arrays are float64 and C-contiguous unless a docstring says otherwise, of the lengths it names, and those
that are written are made by the caller. Nothing is checked, lengths least of all: an output that is too short is written beyond its end.
Values that cannot be used come back as NaN, with a status where there is a reason to tell. `otsport.analytics` has the checked functions.
"""
if __name__ != "otsport.kernels":
    raise ImportError(f"import otsport.kernels, not {__name__}: a cache written under another name breaks the real one")
