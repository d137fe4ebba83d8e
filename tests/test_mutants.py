"""A few careless changes that were once noticed by nothing: each must be noticed now, and an unchanged module must pass."""
import subprocess
import sys
from pathlib import Path

import pytest

from mutants import WATCH, mutants_of, mutated, source_path

ROOT = Path(__file__).resolve().parents[1]
CHOSEN = [  # module, function, what is changed
    ("execution.gate", "check_account", "account not in profile.accounts"),
    ("core.constraints", "leaving_shares", "r.order.side is Side.SELL"),
    ("book.lifecycle", "exercise_shares", "intrinsic(contract, official_close) >= EXERCISE_THRESHOLD"),
]


def chosen(module, where, old):
    """The change that is meant, among all that can be made."""
    return next(m for m in mutants_of(module) if m.where.endswith(where) and " ".join(m.old.split()).startswith(old))


def noticed(mutant) -> bool:
    """Whether the tests of its module fail on it, in a process of its own."""
    code = (f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); import mutants; mutants.warm(); "
            f"m = next(m for m in mutants.mutants_of({mutant.module!r}) if (m.line, m.column, m.new) == ({mutant.line}, {mutant.column}, {mutant.new!r})); "
            f"sys.exit(0 if mutants.run_apart({mutant.module!r}, mutants.mutated(m)) else 9)")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=600).returncode == 9


@pytest.mark.parametrize("module, where, old", CHOSEN, ids=[c[1] for c in CHOSEN])
def test_careless_change_is_noticed(module, where, old):
    assert noticed(chosen(module, where, old))


def test_module_without_a_change_passes_its_tests():
    """The negative control: what is found is the change, and no fault of the harness."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); import mutants; mutants.warm(); sys.exit(0 if mutants.run_apart('book.lifecycle', None) else 9)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=600).returncode == 0


def test_every_watched_module_has_changes_and_stays_python():
    for module in WATCH:
        assert source_path(module).exists() and mutants_of(module), module
    some = mutants_of("execution.gate")
    for mutant in some[:: len(some) // 40 or 1]:
        compile(mutated(mutant), "changed", "exec")
