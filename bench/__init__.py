"""Ours beside the peers: one file of jobs per family, one way of timing them, all behind `otsport bench`."""
import os

if __name__ != "otsport.bench":
    raise ImportError(f"import otsport.bench, not {__name__}: its jobs import the installed package")
# Everything is timed on one thread unless a job says otherwise; BLAS reads these when NumPy is first imported.
for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
