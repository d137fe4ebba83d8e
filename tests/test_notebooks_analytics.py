"""The notebooks of analytics pass their own tests; a file of their own, for they take as long as all others."""
from house import ROOT, nbdev


def test_notebooks_pass_their_own_tests():
    nbdev("test", "nbs/analytics", "--n-workers", "1", cwd=ROOT)
