"""otsport: options portfolio management on Interactive Brokers, from notebook to production."""
__version__ = "0.1.0"
