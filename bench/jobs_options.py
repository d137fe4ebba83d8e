"""European options: price with five Greeks, and implied vol, beside NumPy with SciPy and QuantLib."""
from otsport.bench.harness import Job

JOBS: tuple = ()
