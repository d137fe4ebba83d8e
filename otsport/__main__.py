"""`python -m otsport` is the `otsport` command."""
from otsport.app.cli import main

main()
